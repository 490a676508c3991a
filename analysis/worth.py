"""What an architecture's compute is worth by the lowest losses of its sizes, without a law of sizes and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eutectic.analysis.compare import Estimate, estimate
from eutectic.analysis.laws import Array
from eutectic.analysis.minima import Minima

BEYOND = 1.0  # lengths of a line that it is carried on


@dataclass(frozen=True)
class Worth:
    """multipliers: by budget, the share of the reference's FLOPs with which `arch` reaches the loss of the reference's
    best size. budgets: at which `arch` was trained."""

    arch: str
    reference: str
    multipliers: dict[float, Estimate]
    budgets: tuple[float, ...]

    def extrapolated(self, budget: float) -> bool:
        """Whether the FLOPs that the architecture takes lie outside of its budgets."""
        return not min(self.budgets) <= self.multipliers[budget].value * budget <= max(self.budgets)


def worth(found: Sequence[Minima]) -> tuple[Worth, ...]:
    """Of every architecture trained at two budgets and more, against attention, or else the first, at the budgets where
    both were. found: with seeds' noise, by budget.

    Of each size the mean counts, not a curve through them, which dips where models next to the best one train badly.
    The lowest ln L goes in straight lines with ln C from budget to budget, and beyond them along the nearest by at most
    its own length (BEYOND): farther above the multiplier is infinite, as where that line does not fall, and below 0.
    """
    losses: dict[str, dict[float, Array]] = {}
    for one in found:
        for optimum, drawn in zip(one.optima, one.lowest.T, strict=True):
            losses.setdefault(optimum.arch, {})[one.budget] = np.log(drawn)
    reference = "attn" if "attn" in losses else next(iter(losses), "")
    told = []
    for arch, own in losses.items():
        if arch == reference or len(own) < 2:
            continue
        log_c, log_l = np.log(list(own)), np.stack(list(own.values()), 1)
        multipliers = {
            budget: estimate(np.exp(_reaching(log_c, log_l, wanted)) / budget, found[0].degrees)
            for budget, wanted in losses[reference].items()
            if budget in own
        }
        told.append(Worth(arch, reference, multipliers, tuple(own)))
    return tuple(told)


def _reaching(log_c: Array, log_l: Array, wanted: Array) -> Array:
    """ln C at which each of the curves (draws, budgets) is at the loss wanted of it (draws,)."""
    line = (log_l[:, 1:-1] > wanted[:, None]).sum(1)  # between which budgets, the first of which it begins at
    draws = np.arange(len(wanted))
    length, fall = np.diff(log_c)[line], log_l[draws, line] - log_l[draws, line + 1]
    along = np.full(len(wanted), np.inf)
    np.divide(log_l[draws, line] - wanted, fall, out=along, where=fall > 0)
    along[along > 1 + BEYOND], along[along < -BEYOND] = np.inf, -np.inf
    return log_c[line] + along * length
