"""What a tuning's runs say: the best learning rate and batch of each cell, and their laws beside those published."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from eutectic.analysis.hyper import SETTINGS, HyperOptimum, Window, optima
from eutectic.analysis.hyper_law import PUBLISHED, HyperLaw, PublishedLaw, law
from eutectic.analysis.load import Runs
from eutectic.analysis.shared_curvature import share

# cells of one size a budget lie near a line of params and tokens, which fixes one exponent of each target
TARGETS = {"lr": ("params",), "batch": ("tokens",)}
BOTH = ("params", "tokens")
# a study's trials are few, its batches powers of two, and a model that learns to look back in one run and not in the
# next is a third of a nat the better for it
WINDOW = Window(widest=0.5)
FEWEST = 6  # cells of a law in both: three coefficients and as many degrees of freedom
FIXED = math.log10(2)  # of an exponent: wrong by this, a law is off by a factor of 2 a decade away


@dataclass(frozen=True)
class Beside:
    """A published law at our cells: its value at their geometric mean, and its exponents: its own beside a law in
    params and tokens, the one along our cells beside a law in one of them."""

    source: str
    value: float
    exponents: dict[str, float]


@dataclass(frozen=True)
class TunedLaw:
    """target (`lr`; `batch`, in tokens) as a product of powers of `over` (`params`, `tokens`) for one architecture.

    The learning rate's is over both where the cells tell one from the other: they are not on one curve but of
    several budgets, of which some hold several, they are at least FEWEST, and the 95% interval of each exponent reaches
    no further than FIXED to either side, so that a decade in one variable alone leaves the best setting known to a
    factor of 2. Otherwise it is over params. Along the cells params and tokens grow together, so that a single exponent
    holds what either does to the target.
    cells: how many have an optimum in the target. fitted: None where they are fewer than three.
    """

    arch: str
    target: str
    over: tuple[str, ...]
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

    def over(self, arch: str, target: str) -> tuple[str, ...]:
        """The variables of an architecture's law of the target, or of such laws where it has none."""
        law = self.law(arch, target)
        return TARGETS[target] if law is None else tuple(law.exponents)

    def cells(self, arch: str, target: str) -> list[HyperOptimum]:
        """An architecture's cells that have an optimum in the target."""
        return [cell for cell in self.optima if cell.group == arch and target in cell.values]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def tuned(runs: Runs) -> Tuned:
    """Fit every cell of the runs, and the laws of each architecture through its cells."""
    rows = table(runs)
    found = share(optima(rows, WINDOW), rows)
    budgets = runs.tried.groupby(["arch", "params", "tokens"])["budget"].first().to_dict()
    laws = []
    for arch in runs.archs:
        for target in TARGETS:
            cells = [o for o in found if o.group == arch and target in o.values]
            held = {budgets[arch, cell.params, cell.tokens] for cell in cells}
            laws.append(_law(arch, target, cells, several=1 < len(held) < len(cells)))
    return Tuned(tuple(found), tuple(laws))


def table(runs: Runs) -> pd.DataFrame:
    """What hyper.optima takes, of all runs that ended; batches in tokens."""
    rows = runs.tried
    columns = ["params", "tokens", "loss", *(name for name in SETTINGS if name != "batch")]
    return rows[columns].assign(group=rows["arch"], batch=rows["batch_size"] * rows["seq_len"])


def _law(arch: str, target: str, cells: Sequence[HyperOptimum], several: bool) -> TunedLaw:
    """several: whether the cells are of several budgets, of which some hold more than one."""
    fitted = _in_both(cells) if target == "lr" and several else None
    fitted = fitted or law(cells, target, TARGETS[target])
    if fitted is None:
        return TunedLaw(arch, target, TARGETS[target], len(cells), None, ())
    published = tuple(_beside(theirs, fitted, cells) for theirs in PUBLISHED if theirs.target == target)
    return TunedLaw(arch, target, tuple(fitted.exponents), len(cells), fitted, published)


def _in_both(cells: Sequence[HyperOptimum]) -> HyperLaw | None:
    """The learning rate's law in params and tokens, where it fixes both exponents."""
    fitted = law(cells, "lr", BOTH)
    if fitted is None or fitted.n < FEWEST:
        return None
    widths = [high - low for low, high in (fitted.intervals[name] for name in BOTH)]
    return fitted if max(widths) <= 2 * FIXED else None


def _beside(theirs: PublishedLaw, ours: HyperLaw, cells: Sequence[HyperOptimum]) -> Beside:
    at = {name: np.array([getattr(cell, name) for cell in cells]) for name in BOTH}
    values, exponents = np.log(theirs.predict(at)), theirs.exponents
    if len(ours.exponents) == 1:
        (name,) = ours.exponents
        exponents = {name: float(np.polyfit(np.log(at[name]), values, 1)[0])}
    return Beside(theirs.source, float(np.exp(values.mean())), exponents)
