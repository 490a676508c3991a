"""The best size at a budget: a parabola in the logarithm of parameters (Hoffmann et al. 2022, approach 2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class IsoflopOptimum:
    """The minimum of loss against size at one budget.

    status: `optimum`; `beyond grid` where the parabola's minimum lies outside the sizes trained; `no minimum` where it
    opens downwards; `too few sizes` under four of them. params, tokens and loss are of the minimum for an optimum and
    None otherwise; the intervals are at 95% by the delta method with Student's t. coefficients: c0 + c1 z + c2 z^2 with
    z = ln(params / centre). residuals: nats per token, of every run. best_loss is the lowest trained.
    """

    arch: str
    budget: float
    status: str
    n_runs: int
    n_sizes: int
    best_loss: float
    best_params: float
    params: float | None = None
    params_interval: tuple[float, float] | None = None
    tokens: float | None = None
    loss: float | None = None
    loss_interval: tuple[float, float] | None = None
    loss_error: float | None = None
    coefficients: tuple[float, float, float] | None = None
    centre: float | None = None
    residuals: tuple[float, ...] = ()

    def predict(self, params: Array) -> Array:
        """The parabola's loss at these sizes."""
        assert self.coefficients is not None and self.centre is not None
        z = np.log(params / self.centre)
        c0, c1, c2 = self.coefficients
        return c0 + z * (c1 + z * c2)


def fit(arch: str, budget: float, params: Array, tokens: Array, losses: Array) -> IsoflopOptimum:
    """Fit one architecture at one budget. Equal sizes (seeds) are separate points."""
    best = int(np.argmin(losses))
    summary = (len(losses), len(np.unique(params)), float(losses[best]), float(params[best]))
    if summary[1] < 4:
        return IsoflopOptimum(arch, budget, "too few sizes", *summary)
    centre = float(np.exp(np.log(params).mean()))
    z = np.log(params / centre)
    design = np.vander(z, 3, increasing=True)
    solution, *_ = np.linalg.lstsq(design, losses)
    c0, c1, c2 = (float(c) for c in solution)
    residuals = losses - design @ solution
    shape = {"coefficients": (c0, c1, c2), "centre": centre, "residuals": tuple(float(r) for r in residuals)}
    if c2 <= 0:
        return IsoflopOptimum(arch, budget, "no minimum", *summary, **shape)  # type: ignore[arg-type]
    z_best = -c1 / (2 * c2)
    if not z.min() <= z_best <= z.max():
        return IsoflopOptimum(arch, budget, "beyond grid", *summary, **shape)  # type: ignore[arg-type]

    degrees = len(losses) - 3
    covariance = residuals @ residuals / degrees * np.linalg.inv(design.T @ design)
    t = float(stats.t.ppf((1 + LEVEL) / 2, degrees))
    at_best = np.array([1.0, z_best, z_best**2])  # also the gradient of the minimum's height (envelope theorem)
    loss = float(at_best @ solution)
    loss_error = float(np.sqrt(at_best @ covariance @ at_best))
    slope = np.array([0.0, -1 / (2 * c2), c1 / (2 * c2**2)])
    z_error = float(np.sqrt(slope @ covariance @ slope))
    order = np.argsort(z)
    tokens_best = np.exp(np.interp(z_best, z[order], np.log(tokens)[order]))
    return IsoflopOptimum(
        arch,
        budget,
        "optimum",
        *summary,
        params=float(centre * np.exp(z_best)),
        params_interval=(float(centre * np.exp(z_best - t * z_error)), float(centre * np.exp(z_best + t * z_error))),
        tokens=float(tokens_best),
        loss=loss,
        loss_interval=(loss - t * loss_error, loss + t * loss_error),
        loss_error=loss_error,
        **shape,  # type: ignore[arg-type]
    )
