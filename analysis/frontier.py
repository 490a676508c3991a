"""Power laws of the compute-optimal frontier: loss, parameters and tokens against compute."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from eutectic.analysis.isoflop import LEVEL, IsoflopOptimum

Array = NDArray[np.float64]
Interval = tuple[float, float]
REFERENCE = 1e12  # FLOPs at which the coefficient is quoted: near the data, where it is best known


@dataclass(frozen=True)
class PowerLaw:
    """y = coefficient * (C / 1e12)^exponent, fitted to ln y against ln C by least squares over `n` points.

    interval: the exponent's, at 95%. centre: the geometric mean of the computes fitted. errors: the standard errors of
    ln y at `centre` and of the exponent, which do not covary. Two points leave no degree of freedom, so that interval
    and errors are None.
    """

    coefficient: float
    exponent: float
    interval: Interval | None
    n: int
    residuals: tuple[float, ...]
    centre: float
    errors: tuple[float, float] | None

    def predict(self, compute: Array) -> Array:
        return self.coefficient * (compute / REFERENCE) ** self.exponent

    def band(self, compute: Array) -> tuple[Array, Array] | None:
        """The 95% interval of the law's value (not of a new point) at these C: delta method, Student's t of n - 2.

        It knows the scatter about the line only: beyond the data it holds as far as the power law does. None where
        `errors` is.
        """
        if self.errors is None:
            return None
        margin = _t(self.n) * np.hypot(self.errors[0], self.errors[1] * np.log(compute / self.centre))
        value = self.predict(compute)
        return value * np.exp(-margin), value * np.exp(margin)


def power_law(compute: Sequence[float] | Array, values: Sequence[float] | Array) -> PowerLaw | None:
    """None where there are fewer than two budgets."""
    if len(np.unique(compute)) < 2:
        return None
    x, y = np.log(np.array(compute) / REFERENCE), np.log(np.array(values))
    line = stats.linregress(x, y)
    slope, n = float(line.slope), len(x)
    residuals = y - line.intercept - slope * x
    interval = errors = None
    if n > 2:
        deviation = float(np.sqrt(residuals @ residuals / (n - 2)))
        errors = (deviation / float(np.sqrt(n)), deviation / float(np.sqrt(((x - x.mean()) ** 2).sum())))
        interval = (slope - _t(n) * errors[1], slope + _t(n) * errors[1])
    return PowerLaw(
        coefficient=float(np.exp(line.intercept)),
        exponent=slope,
        interval=interval,
        n=n,
        residuals=tuple(float(r) for r in residuals),
        centre=REFERENCE * float(np.exp(x.mean())),
        errors=errors,
    )


def _t(n: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, n - 2))


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


@dataclass(frozen=True)
class Agreement:
    """Two approaches' estimates of one quantity, e.g. the exponent of N*, or N* at a compute.

    verdict: `disagree` where their intervals do not overlap, else `agree`. Two 95% intervals that just touch are about
    2.8 standard errors of the difference apart, so `agree` is not evidence that the approaches are equal. ratio: the
    second value over the first.
    """

    verdict: Literal["agree", "disagree"]
    ratio: float


def agreement(first: tuple[float, Interval], second: tuple[float, Interval]) -> Agreement:
    """Compare two (value, interval) pairs of the same quantity."""
    (value, (low, high)), (other, (other_low, other_high)) = first, second
    overlap = low <= other_high and other_low <= high
    return Agreement("agree" if overlap else "disagree", other / value)
