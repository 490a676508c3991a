"""Cells that a sweep was asked for and left out, for its recipe allows fewer passes over the text, kept in its folder.

NAME/left_out.json     a list of Cell; one that is planned after all goes from it
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from eutectic import files
from eutectic.config import RunConfig
from eutectic.sweeps import claim

FILE = "left_out.json"


@dataclass(frozen=True, order=True)
class Cell:
    """epochs: passes over the training text that a run would take; allowed: the most that the recipe would have."""

    arch: str
    n_layers: int
    d_model: int
    budget: float
    epochs: float
    allowed: float


def read(folder: Path) -> list[Cell]:
    """Those of a sweep's folder; none where it does not tell."""
    return [Cell(**fields) for fields in files.read_json(folder / FILE) or []]


def keep(cells: Iterable[Cell], planned: Iterable[RunConfig], folder: Path) -> None:
    """Add what a plan left out to what earlier ones did, less what is planned by now."""
    with claim.alone(folder / "open"):
        before = read(folder)
        kept = {(cell.arch, cell.n_layers, cell.d_model, cell.budget): cell for cell in [*before, *cells]}
        for run in planned:
            kept.pop((run.model.layout, run.model.n_layers, run.model.d_model, run.budget), None)
        if (now := sorted(kept.values())) != before:
            files.write_json(folder / FILE, [asdict(cell) for cell in now])
