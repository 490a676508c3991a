"""A run's state in one safetensors file: weights, AdamW's moments, and the log so far. No pickle, written whole."""

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from eutectic import files

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """How far a run is: optimizer steps taken, seconds spent, rows of its curve, sum of the losses since the last."""

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    total: float = 0.0


def save(path: Path, run_id: str, model: nn.Module, optimizer: torch.optim.AdamW, progress: Progress) -> None:
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"model/{name}"] = parameter.data.contiguous()
        for moment in MOMENTS:
            tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment].contiguous()
    metadata = {"run_id": run_id, "progress": json.dumps(dataclasses.asdict(progress))}
    with files.replacing(path) as scratch:
        save_file(tensors, scratch, metadata)


def load(path: Path, run_id: str, model: nn.Module, optimizer: torch.optim.AdamW) -> Progress:
    """Restore a run's state in place and say how far it was; the start where there is no checkpoint.

    A file that cannot be read or is another run's is set aside, and the run starts over.
    """
    if not path.exists():
        return Progress()
    try:
        with safe_open(path, "pt") as file:
            if file.metadata()["run_id"] != run_id:
                raise ValueError("another run's")
            progress = Progress(**json.loads(file.metadata()["progress"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        aside = files.set_aside(path).name
        print(f"checkpoint {path} cannot be used ({error}); set aside as {aside}, starting over.", file=sys.stderr)
        return Progress()
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.copy_(tensors[f"model/{name}"])
        moments = {moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in MOMENTS}
        step = torch.tensor(float(progress.step), device=parameter.device)
        optimizer.state[parameter] = {"step": step, **moments}
    return progress


def save_weights(path: Path, config: str, model: nn.Module) -> None:
    """The trained weights alone, with the run's config as the only metadata: the format does not order several."""
    with files.replacing(path) as scratch:
        weights = {name: p.data.contiguous() for name, p in model.named_parameters()}
        save_file(weights, scratch, {"config": config})
