"""Power laws of the compute-optimal frontier: loss, parameters and tokens against compute."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from eutectic.analysis.isoflop import LEVEL, IsoflopOptimum

Array = NDArray[np.float64]
REFERENCE = 1e12  # FLOPs at which the coefficient is quoted: near the data, where it is best known


@dataclass(frozen=True)
class PowerLaw:
    """y = coefficient * (C / 1e12)^exponent, fitted to ln y against ln C by least squares over `n` points.

    interval: the exponent's, at 95%; None where two points leave no degree of freedom.
    """

    coefficient: float
    exponent: float
    interval: tuple[float, float] | None
    n: int
    residuals: tuple[float, ...]

    def predict(self, compute: Array) -> Array:
        return self.coefficient * (compute / REFERENCE) ** self.exponent


def power_law(compute: Sequence[float], values: Sequence[float]) -> PowerLaw | None:
    """None where there are fewer than two budgets."""
    if len(set(compute)) < 2:
        return None
    x, y = np.log(np.array(compute) / REFERENCE), np.log(np.array(values))
    line = stats.linregress(x, y)
    interval = None
    if len(x) > 2:
        margin = float(stats.t.ppf((1 + LEVEL) / 2, len(x) - 2) * line.stderr)
        interval = (float(line.slope) - margin, float(line.slope) + margin)
    residuals = tuple(float(r) for r in y - line.intercept - line.slope * x)
    return PowerLaw(float(np.exp(line.intercept)), float(line.slope), interval, len(x), residuals)


@dataclass(frozen=True)
class Frontier:
    """How the optimum of an architecture moves with compute; a law is None where fewer than two budgets have one."""

    arch: str
    loss: PowerLaw | None
    params: PowerLaw | None
    tokens: PowerLaw | None


def frontier(arch: str, optima: Sequence[IsoflopOptimum]) -> Frontier:
    """Laws through the budgets whose status is `optimum`."""
    found = [o for o in optima if o.arch == arch and o.status == "optimum"]
    budgets = [o.budget for o in found]
    laws = [power_law(budgets, [getattr(o, name) for o in found]) for name in ("loss", "params", "tokens")]
    return Frontier(arch, *laws)
