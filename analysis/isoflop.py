"""The best size at a budget: a curve of loss against the logarithm of parameters, and its minimum (approach 2).

The parabola is Hoffmann et al. 2022's, section 3.2. Loss curves are steeper on one side of their minimum wherever the
exponents of N and D differ, and a parabola, which cannot be, is off by more the wider its grid: use `cubic` on grids
wider than 4x either side, or `akima` (Porian et al. 2024, section 2.2) where losses are known far better than curves.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.interpolate import Akima1DInterpolator

Array = NDArray[np.float64]
Method = Literal["parabola", "cubic", "akima"]
LEVEL = 0.95
FEWEST_SIZES: dict[Method, int] = {"parabola": 4, "cubic": 5, "akima": 4}


@dataclass(frozen=True)
class IsoflopOptimum:
    """The minimum of loss against size at one budget.

    status: `optimum`; `beyond grid` where the curve is lowest at an end of the sizes trained or outside them; `no
    minimum` where it has none; `too few sizes` under FEWEST_SIZES of them. params, tokens and loss are of the minimum
    for an optimum and None otherwise; the intervals are at 95% by the delta method with Student's t, and None for
    `akima`, which passes through every mean and so knows no error. With z = ln(params / centre), coefficients are c0,
    c1, ... of c0 + c1 z + c2 z^2 (+ c3 z^3), or, for `akima`, the mean losses at the z in `knots`. residuals: nats per
    token, of every run. best_loss is the lowest trained.
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
    coefficients: tuple[float, ...] | None = None
    centre: float | None = None
    residuals: tuple[float, ...] = ()
    method: Method = "parabola"
    knots: tuple[float, ...] = ()

    def predict(self, params: Array) -> Array:
        """The curve's loss at these sizes; for `akima`, nan outside those trained."""
        assert self.coefficients is not None and self.centre is not None
        z = np.log(params / self.centre)
        if self.method == "akima":
            return np.asarray(Akima1DInterpolator(self.knots, self.coefficients)(z))
        return np.asarray(np.polynomial.polynomial.polyval(z, self.coefficients), np.float64)


def fit(
    arch: str, budget: float, params: Array, tokens: Array, losses: Array, *, method: Method = "parabola"
) -> IsoflopOptimum:
    """Fit one architecture at one budget: arrays of (n_runs,). Equal sizes (seeds) are separate points."""
    best, n_sizes = int(np.argmin(losses)), len(np.unique(params))
    summary = (len(losses), n_sizes, float(losses[best]), float(params[best]))
    if n_sizes < FEWEST_SIZES[method]:
        return IsoflopOptimum(arch, budget, "too few sizes", *summary, method=method)
    centre = float(np.exp(np.log(params).mean()))
    blank = IsoflopOptimum(arch, budget, "no minimum", *summary, centre=centre, method=method)
    z = np.log(params / centre)
    found, at = _akima(blank, z, losses) if method == "akima" else _polynomial(blank, z, losses)
    if found.status != "optimum":
        return found
    return replace(found, params=centre * float(np.exp(at)), tokens=tokens_at(at, z, tokens))


def tokens_at(at: float, z: Array, tokens: Array) -> float:
    """The tokens that a budget leaves a model of the size `at`, between those trained; z, at: logarithms of sizes."""
    order = np.argsort(z)
    return float(np.exp(np.interp(at, z[order], np.log(tokens)[order])))


def outside(one: IsoflopOptimum, other: IsoflopOptimum) -> bool:
    """Whether the best size of one is outside the 95% interval of the other's; where either has none, it is not."""
    if one.params is None or other.params_interval is None:
        return False
    low, high = other.params_interval
    return not low <= one.params <= high


def _polynomial(blank: IsoflopOptimum, z: Array, losses: Array) -> tuple[IsoflopOptimum, float]:
    """Least squares; `blank` with all that the fit says, and the z of its minimum (nan where it has none)."""
    assert blank.centre is not None
    design = np.vander(z, 3 if blank.method == "parabola" else 4, increasing=True)
    solution, *_ = np.linalg.lstsq(design, losses)
    residuals = losses - design @ solution
    drawn = replace(blank, coefficients=_floats(solution), residuals=_floats(residuals))
    at = _local_minimum(*solution[1:])
    if np.isnan(at):
        return drawn, at
    powers = np.arange(len(solution))
    at_best = at**powers  # also the gradient of the minimum's height (envelope theorem)
    loss = float(at_best @ solution)
    ends = np.vander([z.min(), z.max()], len(solution), increasing=True) @ solution
    if not z.min() < at < z.max() or ends.min() < loss:
        return replace(drawn, status="beyond grid"), at
    degrees = len(losses) - len(solution)
    covariance = residuals @ residuals / degrees * np.linalg.inv(design.T @ design)
    t = float(stats.t.ppf((1 + LEVEL) / 2, degrees))
    loss_error = float(np.sqrt(at_best @ covariance @ at_best))
    # the slope is zero at the minimum: as the coefficients move it, the curvature moves the minimum back
    slope = powers * at ** np.maximum(powers - 1, 0)
    curvature = powers * (powers - 1) * at ** np.maximum(powers - 2, 0) @ solution
    margin = t * float(np.sqrt(slope @ covariance @ slope)) / curvature
    return replace(
        drawn,
        status="optimum",
        params_interval=(float(blank.centre * np.exp(at - margin)), float(blank.centre * np.exp(at + margin))),
        loss=loss,
        loss_interval=(loss - t * loss_error, loss + t * loss_error),
        loss_error=loss_error,
    ), at


def _local_minimum(c1: float, c2: float, c3: float = 0.0) -> float:
    """Where c1 z + c2 z^2 + c3 z^3 has its local minimum, nan where it has none; no cancellation as c3 goes to zero."""
    discriminant = c2**2 - 3 * c1 * c3
    if discriminant <= 0 or (c3 == 0 and c2 <= 0):
        return np.nan
    root = np.sqrt(discriminant)
    return float(-c1 / (c2 + root) if c2 > 0 else (root - c2) / (3 * c3))


def _akima(blank: IsoflopOptimum, z: Array, losses: Array) -> tuple[IsoflopOptimum, float]:
    """Interpolation of the mean losses; `blank` with all that it says, and the z of its minimum (nan at an end)."""
    knots, which = np.unique(z, return_inverse=True)
    means = np.bincount(which, losses) / np.bincount(which)
    drawn = replace(blank, coefficients=_floats(means), knots=_floats(knots), residuals=_floats(losses - means[which]))
    if np.argmin(means) in (0, len(means) - 1):
        return replace(drawn, status="beyond grid"), np.nan
    curve = Akima1DInterpolator(knots, means)
    # a mean inside is the lowest, so the curve's minimum is inside too, and stationary; roots holds a nan for a flat
    stationary = curve.derivative().roots(extrapolate=False)
    at = float(stationary[np.nanargmin(curve(stationary))])
    return replace(drawn, status="optimum", loss=float(curve(at))), at


def _floats(values: NDArray[np.floating[Any]]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
