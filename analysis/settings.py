"""The learning rate and batch to train a model with: by tuned laws where there are any, else as the runs' own were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eutectic.analysis.compare import Estimate
from eutectic.analysis.frontier import PowerLaw, power_law
from eutectic.analysis.hyper import HyperOptimum
from eutectic.analysis.hyper_law import HyperLaw
from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs
from eutectic.analysis.tuned import TARGETS, tuned

NAN = float("nan")


@dataclass(frozen=True)
class Cell:
    """A model and a number of tokens that were tuned. twice: nats that twice or half the best setting costs there."""

    params: float
    tokens: float
    twice: float


@dataclass(frozen=True)
class Basis:
    """What a learning rate or batch rests on: a power law in `over` (`params` or `tokens`).

    tuned: through the best settings of this architecture's cells (params and tokens) that have one, of which there are
    `optima`; otherwise through what the runs fitted were trained with. varied: cells with several settings, of so many
    (`cells`). beyond: decades of `over` above what the law goes through, negative below it, 0 between. nearest: of the
    cells with an optimum the one most like the answer.
    """

    tuned: bool
    over: str
    optima: int
    varied: int
    cells: int
    beyond: float
    nearest: Cell | None


@np.errstate(over="ignore", divide="ignore")  # intervals of sizes, and laws far from their cells, may be infinite
def settings(
    runs: Runs, arch: str, size: Mapping[str, Estimate], tuning: Runs | None = None
) -> dict[str, tuple[Estimate, Basis]]:
    """Peak `lr`, and `batch` in tokens, for a model of this architecture. size: its `params` and `tokens`. tuning: the
    runs whose laws these are by, the runs themselves by default."""
    rows, found = runs.select(arch), tuned(tuning or runs)
    cells = [cell for cell in found.optima if cell.group == arch]
    trained = {"lr": rows["lr"], "batch": rows["batch_size"] * rows["seq_len"]}
    chosen = {}
    for target, over in TARGETS.items():
        best, law = found.cells(arch, target), found.law(arch, target)
        if law is None:
            through = rows[over].to_numpy(np.float64)
            value = _along(power_law(through, trained[target].to_numpy(np.float64)), size[over])
        else:
            through = np.array([getattr(cell, over) for cell in best])
            value = _tuned(law, over, size[over])
        basis = Basis(
            law is not None,
            over,
            len(best),
            sum(target in cell.best for cell in cells),
            len(cells),
            beyond(size[over].value, through),
            _nearest(best, target, size),
        )
        chosen[target] = value, basis
    return chosen


def beyond(value: float, trained: Sequence[float] | Array | pd.Series) -> float:
    """Decades above the largest of these, negative below the smallest, 0 between."""
    return float(np.log10(value / np.clip(value, np.min(trained), np.max(trained))))


def _along(law: PowerLaw | None, x: Estimate) -> Estimate:
    """A power law's value at x, with the interval that x's leaves; NaN where it has no law."""
    if law is None:
        return Estimate(NAN, NAN, NAN)
    value, *ends = (float(v) for v in law.predict(np.array([x.value, x.low, x.high])))
    return Estimate(value, min(ends), max(ends))


def _tuned(law: HyperLaw, over: str, x: Estimate) -> Estimate:
    """The best setting of one model at x: the law's error there, the scatter of cells about it and x's own interval.

    They are independent, so that their distances from the value add as squares on each side, in logarithms: the method
    of variance estimates recovery (MOVER, Zou and Donner 2008).
    """
    value, *ends = (float(v) for v in law.predict({over: np.array([x.value, x.low, x.high])}))
    own = float(law.margin({over: np.array([x.value])}, law.scatter)[0])
    low, high = (np.hypot(own, np.log(end / value)) for end in sorted(ends))
    return Estimate(value, float(value * np.exp(-low)), float(value * np.exp(high)))


def _nearest(cells: Sequence[HyperOptimum], target: str, size: Mapping[str, Estimate]) -> Cell | None:
    def apart(cell: HyperOptimum) -> float:
        return sum(np.log(getattr(cell, name) / estimate.value) ** 2 for name, estimate in size.items())

    best = min(cells, key=apart, default=None)
    return None if best is None else Cell(best.params, best.tokens, best.cost(target))
