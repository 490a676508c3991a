"""The best share of attention at a budget, from each layout's isoFLOP optimum."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eutectic.analysis.isoflop import LEVEL, IsoflopOptimum

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
    coefficients: tuple[float, float, float] | None = None


def hybrid_optimum(budget: float, optima: Sequence[IsoflopOptimum], share_of: dict[str, float]) -> HybridOptimum | None:
    """None where no layout has an isoFLOP optimum at this budget."""
    usable = [o for o in optima if o.budget == budget and o.status == "optimum"]
    if not usable:
        return None
    usable.sort(key=lambda o: share_of[o.arch])
    shares = np.array([share_of[o.arch] for o in usable])
    losses = np.array([float(o.loss or np.nan) for o in usable])
    errors = tuple(float(o.loss_error or 0.0) for o in usable)
    best = int(np.argmin(losses))
    ends = [float(loss) for share, loss in zip(shares, losses, strict=True) if share in (0.0, 1.0)]
    gain = min(ends) - float(losses[best]) if {0.0, 1.0} <= set(shares.tolist()) else None
    summary = (
        tuple(float(s) for s in shares),
        tuple(o.arch for o in usable),
        tuple(float(v) for v in losses),
        errors,
        usable[best].arch,
        float(shares[best]),
        float(losses[best]),
        gain,
    )
    if len(np.unique(shares)) < FEWEST_SHARES:
        return HybridOptimum(budget, "best of those tried", *summary)
    if shares[best] in (shares.min(), shares.max()):
        return HybridOptimum(budget, "boundary", *summary)
    design = np.vander(shares, 3, increasing=True)
    inverse = np.linalg.pinv(design)
    solution = inverse @ losses
    _, c1, c2 = (float(c) for c in solution)
    at = -c1 / (2 * c2)
    degrees = len(losses) - 3
    residuals = losses - design @ solution
    # a loss is off by its own isoFLOP fit's error and by the parabola's
    variance = np.array(errors) ** 2 + residuals @ residuals / degrees
    covariance = inverse @ np.diag(variance) @ inverse.T
    slope = np.array([0.0, -1 / (2 * c2), c1 / (2 * c2**2)])
    margin = float(stats.t.ppf((1 + LEVEL) / 2, degrees) * np.sqrt(slope @ covariance @ slope))
    if c2 <= 0 or not shares.min() < at - margin < at + margin < shares.max():
        return HybridOptimum(budget, "best of those tried", *summary)
    return HybridOptimum(
        budget,
        "optimum",
        *summary,
        share=at,
        interval=(at - margin, at + margin),
        coefficients=(float(solution[0]), c1, c2),
    )
