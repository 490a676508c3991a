"""The compute-optimal losses of a budget's architectures, and what they would have been of other seeds."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.interpolate import Akima1DInterpolator

from eutectic.analysis import isoflop
from eutectic.analysis.archs import CELL, columns
from eutectic.analysis.isoflop import FEWEST_SIZES, IsoflopOptimum
from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs
from eutectic.analysis.noise import Noise

NEAR = 4.0  # times smaller or larger than the best size: farther out losses are no parabola
RESAMPLES = 2000
POINTS = 257  # of a curve, at which its least is looked for


@dataclass(frozen=True)
class Minima:
    """optima: of all architectures with runs at a budget, loss_error being over the draws. losses: (1 + RESAMPLES,
    archs), of those that have an optimum, and of draws with normal errors in every run. lowest: the same of all
    `optima`, of the lowest mean of a size, which a curve may dip below between sizes. far: as losses, of models NEAR
    times too small and too large, NaN where no such sizes were trained or `seeds` is false.

    seeds: whether errors are those of seeds, of `degrees`, in curves through every size's mean; else they are of
    `scatter` (nats), by which runs are off parabolas, which are none of theirs, less what an architecture shares with
    the others."""

    budget: float
    optima: tuple[IsoflopOptimum, ...]
    losses: Array
    lowest: Array
    far: tuple[Array, Array]
    scatter: float
    degrees: int
    seeds: bool

    @property
    def archs(self) -> tuple[str, ...]:
        """Those that have an optimum."""
        return tuple(one.arch for one in self.optima if one.status == "optimum")

    @property
    def missing(self) -> dict[str, str]:
        """The others, and why."""
        return {one.arch: one.status for one in self.optima if one.status != "optimum"}

    def of(self, archs: tuple[str, ...]) -> Array:
        """The columns of `losses` of those of these that have an optimum."""
        return self.losses[:, [arch in archs for arch in self.archs]]

    def lowest_of(self, archs: tuple[str, ...]) -> Array:
        """The columns of `lowest` of these."""
        return self.lowest[:, [one.arch in archs for one in self.optima]]

    def reached_by(self, archs: tuple[str, ...]) -> Array:
        """As of(), with those of these that have no optimum at the lowest of the sizes trained."""
        return np.hstack([self.of(archs), self.lowest_of(tuple(arch for arch in archs if arch in self.missing))])


def minima(runs: Runs, budget: float, noise: Noise | None, seed: int = 0) -> Minima:
    """At a budget, of every architecture that has runs there. noise: of seeds, where it is known."""
    tables = {arch: rows for arch in runs.archs if len(rows := runs.select(arch, budget))}
    if noise is None:
        tables = {arch: near(rows) for arch, rows in tables.items()}
    data = {arch: columns(rows, "params", "tokens", "loss") for arch, rows in tables.items()}
    optima = [_through(arch, budget, *own) if noise else isoflop.fit(arch, budget, *own) for arch, own in data.items()]
    found = [one for one in optima if one.status == "optimum"]
    scatter, degrees = (np.nan, noise.degrees) if noise else _scatter(found, tables)
    deviations = {
        arch: noise.of(own[0], budget) if noise else np.full(len(own[0]), scatter) for arch, own in data.items()
    }
    random = np.random.default_rng([seed, int(budget)])  # draws of several budgets are put together
    drawn = [_drawn(one, data[one.arch][0], deviations[one.arch], random) for one in found]
    values = np.stack(drawn, 2) if drawn else np.empty((3, 1 + RESAMPLES, 0))
    lowest = [_lowest(own[0], own[2], deviations[arch], random) for arch, own in data.items()]
    errors = dict(zip((one.arch for one in found), values[0, 1:].std(0).tolist(), strict=True))
    optima = [replace(one, loss_error=errors.get(one.arch)) for one in optima]
    far = values[1], values[2]
    return Minima(budget, tuple(optima), values[0], np.stack(lowest, 1), far, scatter, degrees, noise is not None)


def near(rows: pd.DataFrame) -> pd.DataFrame:
    """An architecture's runs at a budget of sizes up to NEAR times off the one of lowest mean loss; all, where those
    are too few sizes for a parabola."""
    means = rows.groupby("params")["loss"].mean()
    off = np.abs(np.log(rows["params"] / means.index.to_numpy(float)[int(means.to_numpy().argmin())]))
    some = rows[off <= np.log(NEAR) + 1e-9]
    return some if some["params"].nunique() >= FEWEST_SIZES["parabola"] else rows


def _through(arch: str, budget: float, params: Array, tokens: Array, losses: Array) -> IsoflopOptimum:
    """The minimum of the curve through every size's mean: Akima's, or of three sizes the parabola."""
    found = isoflop.fit(arch, budget, params, tokens, losses, method="akima")
    if found.n_sizes != FEWEST_SIZES["akima"] - 1:
        return found
    centre = float(np.exp(np.log(params).mean()))
    z = np.log(params / centre)
    c2, c1, c0 = np.polyfit(z, losses, 2)
    at = -c1 / (2 * c2)
    if not (c2 > 0 and z.min() < at < z.max()):
        return replace(found, status="beyond grid")
    return replace(
        found,
        status="optimum",
        params=centre * float(np.exp(at)),
        tokens=isoflop.tokens_at(at, z, tokens),
        loss=float(c0 - c1**2 / (4 * c2)),
        coefficients=(float(c0), float(c1), float(c2)),
        centre=centre,
        method="parabola",
    )


def _scatter(optima: list[IsoflopOptimum], tables: dict[str, pd.DataFrame]) -> tuple[float, int]:
    """And its degrees of freedom: each architecture's parabola has three coefficients, and so has what they share."""
    if not optima:
        return np.nan, 0
    rows = pd.concat([tables[one.arch][list(CELL)].assign(residual=one.residuals) for one in optima])
    cells = rows.groupby(list(CELL))["residual"]
    shared = cells.transform("size") > 1
    own = rows["residual"] - np.where(shared, cells.transform("mean"), 0.0)
    degrees = len(rows) - 3 * len(optima) - max(0, rows[shared].groupby(list(CELL)).ngroups - 3)
    return (float(np.sqrt((own**2).sum() / degrees)), degrees) if degrees > 0 else (np.nan, 0)


def _lowest(params: Array, losses: Array, deviations: Array, random: np.random.Generator) -> Array:
    """The lowest mean loss of a size, and that of draws with errors in every run: (1 + RESAMPLES,)."""
    errors = random.normal(size=(RESAMPLES, len(losses))) * deviations
    drawn = losses + np.concatenate([np.zeros((1, len(losses))), errors])
    return np.stack([drawn[:, params == size].mean(1) for size in np.unique(params)], 1).min(1)


def _drawn(optimum: IsoflopOptimum, params: Array, deviations: Array, random: np.random.Generator) -> Array:
    """The curve's least loss, and those NEAR times to either side of where that is: (3, 1 + RESAMPLES), of the optimum
    and of the curve refitted to errors of every run. NaN where the optimum's are not among the sizes trained."""
    assert optimum.centre is not None and optimum.coefficients is not None
    z = np.log(params / optimum.centre)
    points = np.linspace(z.min(), z.max(), POINTS)
    knots, counts = np.unique(z, return_counts=True)
    errors = random.normal(size=(len(z), RESAMPLES)) * deviations[:, None]
    errors = np.concatenate([np.zeros((len(z), 1)), errors], 1)
    fitted = np.array(optimum.coefficients)[:, None]
    if optimum.method == "akima":
        means = np.stack([errors[z == knot].sum(0) / count for knot, count in zip(knots, counts, strict=True)])
        curve = np.asarray(Akima1DInterpolator(optimum.knots, fitted + means)(points))
    else:
        moved = fitted + np.linalg.pinv(np.vander(z, 3, increasing=True)) @ errors
        curve = np.vander(points, 3, increasing=True) @ moved
    best = curve.argmin(0)
    least = curve.min(0)
    least[0] = optimum.loss
    far = np.round(np.log(NEAR) / (points[1] - points[0])).astype(int)
    sides = []
    for at in (best - far, best + far):
        inside = optimum.method == "akima" and 0 <= at[0] < POINTS
        lost = curve[np.clip(at, 0, POINTS - 1), np.arange(len(at))]
        sides.append(lost if inside else np.full(len(at), np.nan))
    return np.stack([least, *sides])
