"""Weights that runs begin from instead of drawn ones, in a sweep's folder, with what led to them.

NAME/starts/SHA256.safetensors     written whole, named for its weights; runs name it in their configs (`start`)
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from eutectic import files
from eutectic.errors import UserError
from eutectic.train import checkpoint


@dataclass(frozen=True)
class Origin:
    """What decides a start: the parent run, the hash of its weights, the layout that they were grafted to, and the
    tokens of the regression that was asked for."""

    parent: str
    parent_sha256: str
    layout: str
    tokens: int


@dataclass(frozen=True)
class Start:
    """parent_flops: all compute behind the parent's weights, None where nobody knows; graft_flops: of the regression;
    both by the runs' convention. Losses are validation losses. layers: what became of each new mixer, as
    inference/graft.py reports it.
    """

    origin: Origin
    parent_flops: float | None
    parent_loss: float
    graft_flops: float
    start_loss: float
    layers: list[dict[str, Any]]


def begin(model: nn.Module, sweep: Path, sha256: str) -> dict[str, Any]:
    """Give a model the weights of a start. Returns the columns of `runs` that it fills.

    Raises UserError where it is not in the sweep's folder, or not the weights that it is named for.
    """
    path = _path(sweep, sha256)
    try:
        with safe_open(path, "pt") as file:
            start, weights = _told(file), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except checkpoint.BROKEN as error:
        raise UserError(f"cannot read the start {path} ({error}); graft again, which writes it.") from None
    if checkpoint.sha256_of(weights) != sha256:
        raise UserError(f"the weights in {path} are not those it is named for; delete it and graft again.")
    model.load_state_dict(weights)
    fields = {name: getattr(start, name) for name in ("parent_flops", "parent_loss", "graft_flops", "start_loss")}
    return {"parent": start.origin.parent, **fields}


def write(model: nn.Module, sweep: Path, start: Start) -> str:
    """Keep a model's weights as a start. Returns their hash."""
    weights: dict[str, Tensor] = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    path = _path(sweep, sha256 := checkpoint.sha256_of(weights))
    files.make_folder(path.parent)
    with files.replacing(path) as scratch:
        save_file(weights, scratch, {"start": json.dumps(dataclasses.asdict(start), sort_keys=True)})
    return sha256


def find(sweep: Path, origin: Origin) -> tuple[str, Start] | None:
    """The start of this origin that is there, with its hash: a GPU might not regress to the same bits again."""
    for path in sorted((sweep / "starts").glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                start = _told(file)
        except checkpoint.BROKEN:
            continue  # it is written again, or whoever begins from it says so
        if start.origin == origin:
            return path.stem, start
    return None


def _path(sweep: Path, sha256: str) -> Path:
    return sweep / "starts" / f"{sha256}.safetensors"


def _told(file: Any) -> Start:
    fields = json.loads(file.metadata()["start"])
    return Start(**fields | {"origin": Origin(**fields["origin"])})
