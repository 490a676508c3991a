"""The learning rate and batch to train a model with: by tuned laws where there are any, else as the runs' own were."""

import math
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
class Beyond:
    """Decades of a variable above what a law goes through, negative below it, 0 between."""

    over: str
    decades: float


@dataclass(frozen=True)
class Basis:
    """What a learning rate or batch rests on: a power law in `over` (`params`, `tokens` or both).

    tuned: through the best settings of this architecture's cells (params and tokens) that have one, of which there are
    `optima`; otherwise through what the runs fitted were trained with. varied: cells with several settings, of so many
    (`cells`). beyond: the variable of `over` that is furthest from what the law goes through, and how far. nearest: of
    the cells with an optimum the one most like the answer.
    """

    tuned: bool
    over: tuple[str, ...]
    optima: int
    varied: int
    cells: int
    beyond: Beyond
    nearest: Cell | None


# intervals of sizes, and laws far from their cells, may be infinite
@np.errstate(over="ignore", divide="ignore", invalid="ignore")
def settings(
    runs: Runs, arch: str, size: Mapping[str, Estimate], tuning: Runs | None = None
) -> dict[str, tuple[Estimate, Basis]]:
    """Peak `lr`, and `batch` in tokens, for a model of this architecture. size: its `params` and `tokens` at one
    compute, where the most of one leave the least of the other. tuning: the runs whose laws these are by, the runs
    themselves by default."""
    rows, found = runs.select(arch), tuned(tuning or runs)
    cells = [cell for cell in found.optima if cell.group == arch]
    trained = {"lr": rows["lr"], "batch": rows["batch_size"] * rows["seq_len"]}
    chosen = {}
    for target in TARGETS:
        best, law, over = found.cells(arch, target), found.law(arch, target), found.over(arch, target)
        if law is None:
            (name,) = over
            through = {name: rows[name].to_numpy(np.float64)}
            value = _along(power_law(through[name], trained[target].to_numpy(np.float64)), size[name])
        else:
            through = {name: np.array([getattr(cell, name) for cell in best]) for name in over}
            value = _tuned(law, size)
        away = [Beyond(name, beyond(size[name].value, x)) for name, x in through.items()]
        basis = Basis(
            law is not None,
            over,
            len(best),
            sum(target in cell.best for cell in cells),
            len(cells),
            max(away, key=lambda end: abs(end.decades)),
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


def _tuned(law: HyperLaw, size: Mapping[str, Estimate]) -> Estimate:
    """The best setting of one model: the law's error there, the scatter of cells about it and the size's own interval.

    They are independent, so that their distances from the value add as squares on each side, in logarithms: the method
    of variance estimates recovery (MOVER, Zou and Donner 2008). Of the size, the most parameters go with the fewest
    tokens.
    """
    params, tokens = size["params"], size["tokens"]
    at = {
        "params": np.array([params.value, params.low, params.high]),
        "tokens": np.array([tokens.value, tokens.high, tokens.low]),
    }
    value, *ends = (float(v) for v in law.predict(at))
    if np.isnan(ends).any():  # no parameters to any number of tokens: what one does without end, the other undoes
        ends = [0.0, math.inf]
    own = float(law.margin({name: x[:1] for name, x in at.items()}, law.scatter)[0])
    low, high = (np.hypot(own, np.log(end / value)) for end in sorted(ends))
    return Estimate(value, float(value * np.exp(-low)), float(value * np.exp(high)))


def _nearest(cells: Sequence[HyperOptimum], target: str, size: Mapping[str, Estimate]) -> Cell | None:
    def apart(cell: HyperOptimum) -> float:
        return sum(np.log(getattr(cell, name) / estimate.value) ** 2 for name, estimate in size.items())

    best = min(cells, key=apart, default=None)
    return None if best is None else Cell(best.params, best.tokens, best.cost(target))
