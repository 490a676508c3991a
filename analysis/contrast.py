"""The best of some against the best of others, where which is best has to be told from the same runs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from eutectic.analysis.bootstrap import LEVEL
from eutectic.analysis.claims import Verdict
from eutectic.analysis.compare import Estimate
from eutectic.analysis.laws import Array


def best_of(ours: Array, theirs: Array, degrees: int) -> Estimate:
    """The least of ours minus the least of theirs. Both (1 + count, n): losses, and resamples of them.

    The least of several is lower than what it stands for, the more so the more there are, and a resample of the least
    is so again. The interval is therefore that of all pairs' differences at once (max-t: Romano and Wolf 2005): they
    hold their truths together in 95%, and the least over ours of the most over theirs rises with each of them.
    """
    gaps = ours[:, :, None] - theirs[:, None]
    value, drawn = gaps[0], gaps[1:][~np.isnan(gaps[1:]).any((1, 2))]
    errors = drawn.std(0)
    farthest = (np.abs(drawn - value) / errors).max((1, 2))
    wider = stats.t.ppf((1 + LEVEL) / 2, degrees) / stats.norm.ppf((1 + LEVEL) / 2)
    margin = float(np.quantile(farthest, LEVEL) * wider) * errors
    low, middle, high = (float(one.max(1).min()) for one in (value - margin, value, value + margin))
    return Estimate(middle, low, high)


def worst(estimates: Sequence[Estimate]) -> Estimate:
    """The largest of several: what is said of it holds at each (intersection-union)."""
    return Estimate(*(max(getattr(one, name) for one in estimates) for name in ("value", "low", "high")))


def negative(estimates: Sequence[Estimate]) -> Verdict:
    """Whether all of these are below zero: supported where every interval is, contradicted where every one is above."""
    if not estimates:
        return "not tested"
    if all(one.high < 0 for one in estimates):
        return "supported"
    return "contradicted" if all(one.low > 0 for one in estimates) else "undecided"


def contenders(losses: Array, degrees: int) -> NDArray[np.bool_]:
    """Which of several may be the best: those that no other is below, by the intervals of all pairs at once. losses:
    (1 + count, n)."""
    low = np.array([best_of(losses[:, [k]], np.delete(losses, k, 1), degrees).low for k in range(losses.shape[1])])
    return np.asarray(low <= 0)
