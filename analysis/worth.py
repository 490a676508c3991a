"""What an architecture's compute is worth by the minima of its runs, without a law of sizes and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eutectic.analysis.compare import Estimate, estimate
from eutectic.analysis.laws import Array
from eutectic.analysis.minima import Minima


@dataclass(frozen=True)
class Worth:
    """multipliers: by budget, the share of the reference's FLOPs with which `arch` reaches its compute-optimal loss.
    budgets: at which `arch` has an optimum itself."""

    arch: str
    reference: str
    multipliers: dict[float, Estimate]
    budgets: tuple[float, ...]

    def extrapolated(self, budget: float) -> bool:
        """Whether the FLOPs that the architecture takes lie outside of its budgets."""
        return not min(self.budgets) <= self.multipliers[budget].value * budget <= max(self.budgets)


def worth(minima: Sequence[Minima]) -> tuple[Worth, ...]:
    """Of every architecture with two optima and more, against attention, or else the first, at the budgets where both
    have one. minima: with seeds' noise, by budget.

    ln L of optima goes in straight lines with ln C from budget to budget, and beyond them along the nearest, as far as
    that is long: above, the multiplier is infinite, and below 0. In draws in which losses do not fall there is none.
    """
    losses: dict[str, dict[float, Array]] = {}
    for one in minima:
        for arch, drawn in zip(one.archs, one.losses.T, strict=True):
            losses.setdefault(arch, {})[one.budget] = np.log(drawn)
    reference = "attn" if "attn" in losses else next(iter(losses), "")
    found = []
    for arch, own in losses.items():
        shared = [budget for budget in own if budget in losses[reference]]
        if arch == reference or len(own) < 2:
            continue
        curve = np.log(list(own)), np.stack(list(own.values()), 1)
        needed = {budget: np.exp(_reaching(*curve, losses[reference][budget])) / budget for budget in shared}
        multipliers = {budget: estimate(values, minima[0].degrees) for budget, values in needed.items()}
        found.append(Worth(arch, reference, multipliers, tuple(own)))
    return tuple(found)


def _reaching(log_c: Array, log_l: Array, wanted: Array) -> Array:
    """ln C at which each of the curves (draws, budgets) is at the loss wanted of it (draws,)."""
    k = (log_l[:, 1:-1] > wanted[:, None]).sum(1)  # of the line that it is on
    draws = np.arange(len(wanted))
    length, fall = np.diff(log_c)[k], log_l[draws, k] - log_l[draws, k + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (log_l[draws, k] - wanted) / fall
    along = np.where(along > 2, np.inf, np.where(along < -1, -np.inf, along))
    return np.where((np.diff(log_l) < 0).all(1), log_c[k] + along * length, np.nan)
