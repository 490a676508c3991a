"""A trained run as a folder that needs nothing else: config.json, model.safetensors, tokenizer.json.

Where the model is a Llama, the folder is one that Hugging Face's libraries read. config.json has, under `eutectic`, the
run, the tokenizer's name, and a hash of all three files' contents, by which the folder is known to be whole.
"""

import dataclasses
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import eutectic
from eutectic import files
from eutectic.arch.importers import llama
from eutectic.config import RunConfig, canonical_json
from eutectic.errors import UserError
from eutectic.train import checkpoint, tokenizer
from eutectic.train.tokenizer import Tokenizer

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"


@dataclasses.dataclass(frozen=True)
class Exported:
    run: RunConfig
    weights: Mapping[str, Tensor]
    tokenizer: Tokenizer


def write(exported: Exported, folder: Path) -> None:
    """The folder, whole or not at all. Raises UserError where it exists, or a mixer is not eutectic's own."""
    run = exported.run
    if run.mixers:
        raise UserError(
            f"run {run.run_id} has mixers from elsewhere ({', '.join(run.mixers)}), whose code no exported folder "
            "would have; copy the sweep's folder instead."
        )
    if folder.exists():
        raise UserError(f"{folder} exists; name a folder that does not, or remove it.")
    config: dict[str, Any] = {"model_type": "eutectic"}
    weights = dict(exported.weights)
    if llama.is_llama(run.model):
        config, weights = llama.invert(run.model, weights)
    definition = exported.tokenizer.definition or tokenizer.bytes_definition()
    told = {"version": eutectic.__version__, "tokenizer": exported.tokenizer.name, "run": run.to_dict()}
    end, *others = run.data.ends
    config |= {"bos_token_id": run.data.begin, "eos_token_id": [end, *others] if others else end}
    config |= {"max_position_embeddings": run.data.seq_len}
    config["eutectic"] = told | {"sha256": _sha256(config | {"eutectic": told}, weights, definition)}
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=files.make_folder(folder.resolve().parent)))
    try:
        save_file(weights, scratch / WEIGHTS, {"format": "pt"})
        (scratch / TOKENIZER).write_text(definition)
        files.write_json(scratch / CONFIG, config)
        scratch.chmod(0o755)
        (scratch / WEIGHTS).chmod(0o644)  # which is written for its owner alone
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def is_exported(folder: Path) -> bool:
    return isinstance(files.read_object(folder / CONFIG).get("eutectic"), dict)


def read(folder: Path) -> Exported:
    """What write() wrote. Raises UserError for a folder that is not whole, or not as it was written."""
    config = files.read_object(folder / CONFIG)
    told = dict(config["eutectic"])
    try:
        weights, definition = load_file(folder / WEIGHTS), (folder / TOKENIZER).read_text()
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{folder} cannot be read ({error}); copy or export it again.") from None
    if told.pop("sha256", None) != _sha256(config | {"eutectic": told}, weights, definition):
        raise UserError(f"{folder} is not as it was exported; copy or export it again.")
    run, name = RunConfig.from_dict(told["run"]), told["tokenizer"]
    if config["model_type"] == "llama":
        weights = llama.convert(config, weights)[1]
    if name == "bytes":
        return Exported(run, weights, tokenizer.make(name, lambda: iter(())))
    return Exported(run, weights, tokenizer.from_definition(name, definition, run.data.begin, run.data.ends))


def _sha256(config: dict[str, Any], weights: Mapping[str, Tensor], definition: str) -> str:
    parts = canonical_json(config), checkpoint.sha256_of(weights), definition
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
