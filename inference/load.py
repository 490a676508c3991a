"""A trained model and its tokenizer from where a sweep, an export or another library left them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from eutectic import files
from eutectic.arch.importers import checkpoint as importers
from eutectic.arch.mixers.hyena import ModalFilter
from eutectic.arch.model import Model, build
from eutectic.config import ModelConfig, RunConfig
from eutectic.errors import UserError
from eutectic.inference import export
from eutectic.train import checkpoint, shards, tokenizer
from eutectic.train.tokenizer import Tokenizer


@dataclass(frozen=True)
class Trained:
    """run: None of a model from elsewhere. Raises UserError where the tokenizer has tokens that the model has not."""

    model: Model
    shape: ModelConfig
    tokenizer: Tokenizer
    run: RunConfig | None = None

    def __post_init__(self) -> None:
        last = max(self.tokenizer.vocab_size - 1, self.tokenizer.begin, *self.tokenizer.ends)
        if last >= self.shape.vocab_size:
            raise UserError(
                f"the model's tokenizer has a token {last}, and the model {self.shape.vocab_size} tokens; put the "
                "tokenizer.json and config.json beside it that it was trained with."
            )


def load(path: Path, cache: Path, prepare: Callable[[RunConfig], None] = lambda run: None) -> Trained:
    """The model of a run's folder or weights, or of a folder that was exported or that Hugging Face's libraries wrote,
    in float32 on the CPU.

    cache: where the run's tokens are, and its tokenizer with them. prepare: is called before a run's model is made.
    Raises UserError where there is no such model, its files are damaged, or they are not what they say.
    """
    weights = path / "weights.safetensors" if path.is_dir() else path
    if weights.is_file():
        run, tensors = checkpoint.load_weights(weights)
        prepare(run)
        model = build(run.model, run.seed)
        fill(model, tensors, f"{weights}, of {run.model.layout},")
        return Trained(model, run.model, shards.tokenizer_of(run.data, cache), run)
    if export.is_exported(path):
        found = export.read(path)
        model = build(found.run.model, found.run.seed)
        fill(model, found.weights, f"{path}, of {found.run.model.layout},")
        return Trained(model, found.run.model, found.tokenizer, found.run)
    if (path / "config.json").is_file():
        if not (path / "tokenizer.json").is_file():
            raise UserError(
                f"{path} has a model and no tokenizer.json, by which it reads text; put its tokenizer there."
            )
        made = tokenizer.from_definition(path.name, (path / "tokenizer.json").read_text(), *_special(path))
        shape, model = importers.read(path)
        return Trained(model, shape, made)
    raise UserError(
        f"no model at {path}; name a run that is trained, e.g. results/NAME/runs/RUN, or a folder with config.json, "
        "model.safetensors and tokenizer.json."
    )


def fill(model: Model, weights: Mapping[str, Tensor], what: str) -> None:
    """Give a model these weights. Raises UserError, with the differences, where they are not a model's of its shape,
    and with the channel, where a modal filter of theirs is not stable."""
    own = model.state_dict()
    lines = [f"{name} is not there" for name in own if name not in weights]
    lines += [f"{name} is none of the model's" for name in weights if name not in own]
    for name in own.keys() & weights.keys():
        if own[name].shape != weights[name].shape:
            lines.append(f"{name} is {tuple(weights[name].shape)} and not {tuple(own[name].shape)}")
    if lines:
        shown = "".join(f"\n  {line}" for line in sorted(lines)[:8])
        raise UserError(f"{what} does not fit the model in {len(lines)} tensors, such as:{shown}")
    model.load_state_dict(dict(weights))
    for path, module in model.named_modules():
        if isinstance(module, ModalFilter):
            stable = (module.poles()[0].real.exp() < 1).all(1)  # as sizes are in float32
            if not stable.all():
                raise UserError(
                    f"{what} has a pole that is not within the unit circle in channel {int((~stable).nonzero()[0])} of "
                    f"{path}; bring it there, or train that run again."
                )


def _special(folder: Path) -> tuple[int, list[int]]:
    """The token that a text begins with, that which ends it where there is none, and those that end it."""
    config = files.read_object(folder / "config.json")
    end = config.get("eos_token_id")
    ends: list[Any] = end if isinstance(end, list) else [end]
    if not ends or not all(isinstance(token, int) for token in ends):
        raise UserError(f"{folder}/config.json has no eos_token_id, the token that ends a text; add it.")
    begin = config.get("bos_token_id")
    return (begin if isinstance(begin, int) else ends[0]), ends
