"""What a tuning's runs say: the best learning rate and batch of each cell, and their laws beside those published."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from eutectic.analysis.hyper import SETTINGS, HyperOptimum, Window, optima
from eutectic.analysis.hyper_law import PUBLISHED, HyperLaw, law
from eutectic.analysis.load import Runs

# cells of one size a budget lie near a line of params and tokens, which fixes one exponent of each target
TARGETS = {"lr": "params", "batch": "tokens"}


@dataclass(frozen=True)
class Beside:
    """A published law at our cells: its value at their geometric mean, and its exponent along them."""

    source: str
    value: float
    exponent: float


@dataclass(frozen=True)
class TunedLaw:
    """target (`lr`; `batch`, in tokens) as a power of `over` (`params`, `tokens`) for one architecture.

    cells: how many have an optimum in the target. fitted: None where they are fewer than three. Along the cells params
    and tokens grow together, so the exponent holds what either does to the target.
    """

    arch: str
    target: str
    over: str
    cells: int
    fitted: HyperLaw | None
    published: tuple[Beside, ...]


@dataclass(frozen=True)
class Tuned:
    """optima: one of each architecture, params and tokens, batches in tokens; laws: two of each architecture."""

    optima: tuple[HyperOptimum, ...]
    laws: tuple[TunedLaw, ...]

    def law(self, arch: str, target: str) -> HyperLaw | None:
        return next((law.fitted for law in self.laws if (law.arch, law.target) == (arch, target)), None)

    def cells(self, arch: str, target: str) -> list[HyperOptimum]:
        """An architecture's cells that have an optimum in the target."""
        return [cell for cell in self.optima if cell.group == arch and target in cell.values]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def tuned(runs: Runs, window: Window | None = None) -> Tuned:
    """Fit every cell of the runs, and the laws of each architecture through its cells."""
    found = optima(table(runs), window or Window())
    return Tuned(
        tuple(found),
        tuple(_law(arch, target, [o for o in found if o.group == arch]) for arch in runs.archs for target in TARGETS),
    )


def table(runs: Runs) -> pd.DataFrame:
    """What hyper.optima takes, of all runs that ended; batches in tokens."""
    rows = runs.tried
    columns = ["params", "tokens", "loss", *(name for name in SETTINGS if name != "batch")]
    return rows[columns].assign(group=rows["arch"], batch=rows["batch_size"] * rows["seq_len"])


def _law(arch: str, target: str, found: Sequence[HyperOptimum]) -> TunedLaw:
    cells, over = [o for o in found if target in o.values], TARGETS[target]
    fitted = law(cells, target, [over])
    published: list[Beside] = []
    if fitted is not None:
        at = {name: np.array([getattr(o, name) for o in cells]) for name in ("params", "tokens")}
        for theirs in (p for p in PUBLISHED if p.target == target):
            values = np.log(theirs.predict(at))
            slope = np.polyfit(np.log(at[over]), values, 1)[0]
            published.append(Beside(theirs.source, float(np.exp(values.mean())), float(slope)))
    return TunedLaw(arch, target, over, len(cells), fitted, tuple(published))
