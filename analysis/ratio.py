"""The best share of attention at a budget, from each layout's isoFLOP optimum."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy import stats

from eutectic.analysis.isoflop import LEVEL, IsoflopOptimum

Array = NDArray[np.float64]
FEWEST_SHARES = 5


@dataclass(frozen=True)
class HybridOptimum:
    """Loss at its best size against attention share, at one budget.

    verdict: `optimum` where five or more shares have an isoFLOP optimum and the parabola through them has its minimum,
    with its whole interval, inside; `boundary` where five or more were trained and the lowest loss is at an end;
    otherwise `best of those tried`. share and interval (95%, delta method) are of the parabola, for an optimum only.
    gain: nats the best trained share is below the better of its two ends, None unless both ends were trained.
    """

    budget: float
    verdict: str
    shares: tuple[float, ...]
    archs: tuple[str, ...]
    losses: tuple[float, ...]
    errors: tuple[float, ...]
    best_arch: str
    best_share: float
    best_loss: float
    gain: float | None
    share: float | None = None
    interval: tuple[float, float] | None = None
    coefficients: tuple[float, ...] | None = None


def hybrid_optimum(
    budget: float, optima: Sequence[IsoflopOptimum], share_of: dict[str, float], degree: int = 2
) -> HybridOptimum | None:
    """The minimum over the share of a polynomial (degree 2, or 3, which takes a share more to judge) through the
    losses; None where no layout has an isoFLOP optimum at this budget."""
    usable = [o for o in optima if o.budget == budget and o.status == "optimum"]
    if not usable:
        return None
    usable.sort(key=lambda o: share_of[o.arch])
    shares = np.array([share_of[o.arch] for o in usable])
    losses = np.array([float(o.loss or np.nan) for o in usable])
    errors = np.array([float(o.loss_error or 0.0) for o in usable])
    best = int(np.argmin(losses))
    ends = [float(loss) for share, loss in zip(shares, losses, strict=True) if share in (0.0, 1.0)]
    found = HybridOptimum(
        budget,
        "best of those tried",
        tuple(shares.tolist()),
        tuple(o.arch for o in usable),
        tuple(losses.tolist()),
        tuple(errors.tolist()),
        usable[best].arch,
        float(shares[best]),
        float(losses[best]),
        min(ends) - float(losses[best]) if {0.0, 1.0} <= set(shares.tolist()) else None,
    )
    if len(np.unique(shares)) < FEWEST_SHARES + degree - 2:
        return found
    if shares[best] in (shares.min(), shares.max()):
        return replace(found, verdict="boundary")
    coefficients, at, margin = _minimum(shares, losses, errors, degree)
    if not shares.min() < at - margin < at + margin < shares.max():
        return found
    return replace(
        found, verdict="optimum", share=at, interval=(at - margin, at + margin), coefficients=tuple(coefficients)
    )


def _minimum(shares: Array, losses: Array, errors: Array, degree: int) -> tuple[list[float], float, float]:
    """Coefficients by rising power, the local minimum (NaN where there is none) and half its 95% interval."""
    design = np.vander(shares, degree + 1, increasing=True)
    inverse = np.linalg.pinv(design)
    solution = inverse @ losses
    curve = Polynomial(solution)
    at = next(
        (float(r.real) for r in curve.deriv().roots() if abs(r.imag) < 1e-12 and curve.deriv(2)(r.real) > 0), np.nan
    )
    degrees = len(losses) - degree - 1
    residuals = losses - design @ solution
    # a loss is off by its own isoFLOP fit's error and by the polynomial's
    variance = errors**2 + residuals @ residuals / degrees
    covariance = inverse @ np.diag(variance) @ inverse.T
    powers = np.arange(1, degree + 1)
    # where the slope is zero: d(at) = -d(slope) / curvature
    slope = np.concatenate([[0.0], -powers * at ** (powers - 1) / curve.deriv(2)(at)])
    margin = float(stats.t.ppf((1 + LEVEL) / 2, degrees) * np.sqrt(slope @ covariance @ slope))
    return solution.tolist(), at, margin
