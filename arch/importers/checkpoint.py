"""Models from folders as Hugging Face writes them: config.json and weights in safetensors, whole or in shards.

Such files carry no hash: that a file has its length, and a tensor its name and shape, is all that can be held to them.
"""

import importlib
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from eutectic import files
from eutectic.arch.model import Model
from eutectic.config import ModelConfig
from eutectic.errors import UserError

# config.json's model_type -> the module here that converts it
IMPORTERS = {
    "llama": "llama",
    "mistral": "mistral",
    "mamba": "mamba",
    "mamba2": "mamba2",
    "qwen3_next": "qwen3_next",
    "xlstm": "xlstm",
}

LAYER_NUMBER = re.compile(r"\.(?:layers|blocks)\.(\d+)\.")


def load(folder: Path) -> Model:
    """The model in `folder`, in float32 whatever its weights are stored in.

    Raises UserError for a file that is missing or cannot be read, a model type or feature that eutectic does not have.
    """
    return read(folder)[1]


def read(folder: Path) -> tuple[ModelConfig, Model]:
    """load(), with the model's shape."""
    config = _json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in IMPORTERS:
        raise UserError(f"{folder} holds a model of type {kind!r}; eutectic reads {', '.join(IMPORTERS)}.")
    importer = importlib.import_module(f"eutectic.arch.importers.{IMPORTERS[kind]}")
    theirs = _weights(folder)
    try:
        shape, weights = importer.convert(config, theirs)
    except KeyError as error:
        raise UserError(f"{folder} lacks {error}, which a {kind} checkpoint has; download it anew.") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder}/config.json has a value of another kind ({error}); download it anew.") from None
    depth = 1 + max(int(number) for name in theirs for number in LAYER_NUMBER.findall(name))
    if depth != shape.n_layers:
        raise UserError(
            f"{folder} has weights of {depth} layers and a config.json of {shape.n_layers}; download it anew."
        )
    model = Model(shape)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{folder}'s weights are not those of its config.json ({reason}); download it anew.") from None
    return shape, model


def _weights(folder: Path) -> dict[str, Tensor]:
    """All tensors by name, from the shards that the index names or from the one file."""
    index = folder / "model.safetensors.index.json"
    names = sorted(set(_json(index)["weight_map"].values())) if index.exists() else ["model.safetensors"]
    weights: dict[str, Tensor] = {}
    for name in names:
        try:
            weights |= load_file(folder / name)
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot read the weights {folder / name} ({error}); download them anew.") from None
    return weights


def _json(path: Path) -> dict[str, Any]:
    found = files.read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path} is missing or is not JSON; name a folder with config.json and model.safetensors.")
    return found
