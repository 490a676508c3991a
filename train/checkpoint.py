"""A run's state in one safetensors file: weights, AdamW's moments, and the log so far. No pickle, written whole."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from eutectic import files
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.train.parallel import ALONE, Ranks

MOMENTS = ("exp_avg", "exp_avg_sq")
BROKEN = (SafetensorError, OSError, KeyError, TypeError, ValueError)  # what reading a damaged file raises


@dataclass
class Progress:
    """How far a run is: optimizer steps taken, seconds spent, rows of its curve, sum of the losses since the last."""

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    total: float = 0.0


def save(
    path: Path,
    run_id: str,
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    progress: Progress,
    ranks: Ranks = ALONE,
) -> None:
    """The file does not tell how many ranks wrote it."""
    named = list(model.named_parameters())
    states = [(f"{moment}/{name}", optimizer.state[p][moment]) for name, p in named for moment in MOMENTS]
    tensors = _gathered([*((f"model/{name}", p.data) for name, p in named), *states], ranks)
    metadata = {"run_id": run_id, "progress": json.dumps(dataclasses.asdict(progress))}
    if ranks.first:
        with files.replacing(path) as scratch:
            save_file(tensors, scratch, metadata)


def _gathered(tensors: Iterable[tuple[str, Tensor]], ranks: Ranks) -> dict[str, Tensor]:
    """Whole tensors in the first rank's host memory; nothing on the others, though all must ask."""
    found = {}
    for name, tensor in tensors:
        full = ranks.whole(tensor)
        if ranks.first:
            found[name] = full.cpu().contiguous()
    return found


def load(path: Path, run_id: str, model: nn.Module, optimizer: torch.optim.AdamW, ranks: Ranks = ALONE) -> Progress:
    """Restore a run's state in place and say how far it was; the start where there is no checkpoint.

    A file that cannot be read or is another run's is set aside, and the run starts over.
    """
    with ranks.first_ahead():
        found = _read(path, run_id)
    if found is None:
        return Progress()
    progress, tensors = found
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.copy_(ranks.shared_as(parameter, tensors[f"model/{name}"]))
        moments = {moment: ranks.shared_as(parameter, tensors[f"{moment}/{name}"]) for moment in MOMENTS}
        step = torch.tensor(float(progress.step), device=parameter.device)
        optimizer.state[parameter] = {"step": step, **moments}
    return progress


def _read(path: Path, run_id: str) -> tuple[Progress, dict[str, Tensor]] | None:
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            if file.metadata()["run_id"] != run_id:
                raise ValueError("another run's")
            progress = Progress(**json.loads(file.metadata()["progress"]))
            return progress, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except BROKEN as error:
        aside = files.set_aside(path).name
        print(f"checkpoint {path} cannot be used ({error}); set aside as {aside}, starting over.", file=sys.stderr)
        return None


def save_weights(path: Path, config: str, model: nn.Module, ranks: Ranks = ALONE) -> None:
    """The trained weights alone, with one string of metadata, for the format does not order several: the run's config
    and a hash of the weights, as JSON."""
    weights = _gathered(((name, p.data) for name, p in model.named_parameters()), ranks)
    if ranks.first:
        with files.replacing(path) as scratch:
            told = {"config": json.loads(config), "sha256": sha256_of(weights)}
            save_file(weights, scratch, {"run": json.dumps(told, sort_keys=True)})


def load_weights(path: Path) -> tuple[RunConfig, dict[str, Tensor]]:
    """What save_weights wrote. Raises UserError for a file that is not whole, or not as it was written."""
    try:
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["run"])
            config, weights = RunConfig.from_dict(told["config"]), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            written = told["sha256"]
    except BROKEN as error:
        raise UserError(f"cannot read the weights {path} ({error}); train that run again.") from None
    if sha256_of(weights) != written:
        raise UserError(f"the weights in {path} are not those that were written; train that run again.")
    return config, weights


def sha256_of(weights: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and numbers, in whatever order they come."""
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()
