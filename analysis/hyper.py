"""The best settings of one model size and token count, first learning rate and batch: a quadratic in their logarithms.

The lowest of a noisy grid of runs is a coarse optimum: it moves in the grid's steps, and it is the luckiest of the runs
near the minimum. Here the runs near the lowest fix a quadratic with a cross term, by least squares, and the optimum is
its stationary point.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from eutectic.analysis.isoflop import LEVEL

Array = NDArray[np.float64]
LAWFUL = ("lr", "batch")  # the settings whose best values follow laws
SETTINGS = (*LAWFUL, "weight_decay", "warmup_fraction", "init_scale")
_LEVEL = 1e-9  # nats per squared e-folding that are rounding
_SAME = 1e-12  # nats by which sums of losses differ in rounding
UNDECIDED = TOO_FEW, NO_MINIMUM = "too few points", "no minimum"
BEYOND = "beyond grid"
_ROUNDING = 0.01  # grids are written with three digits: a run at 2.005 times the lowest is within a factor of 2


@dataclass(frozen=True)
class Window:
    """The runs of a cell that its quadratic is fitted to.

    A run is in if its loss is at most `excess` nats above the cell's lowest and each of its settings is within `factor`
    (to 1%) of that of the run with the lowest loss. Wide windows average more noise away; narrow ones ask less of the
    quadratic, which is too tame above the best learning rate, where training becomes unstable.

    widest: where those runs do not decide whether there is a minimum (UNDECIDED), or have it outside of themselves
    though the lowest has other runs on every side, those others are taken in one by one as their losses rise, up to so
    many nats above the lowest. A steep setting leaves two of its values within `excess`, through which no quadratic can
    be put. 0: never.
    """

    excess: float = 0.05
    factor: float = math.inf
    widest: float = 0.0

    def widened(self, losses: Array) -> Iterator["Window"]:
        """Itself, and with each further run that it may take in."""
        yield self
        known = losses[np.isfinite(losses)]
        above = np.sort(known - known.min(initial=np.inf))
        for excess in above[(above > self.excess) & (above <= self.widest)]:
            yield replace(self, excess=float(excess) + _SAME)

    def keep(self, z: Array, losses: Array) -> NDArray[np.bool_]:
        """Mask of the runs, from ln settings (runs, settings), NaN where there is none, and losses (runs,), infinite
        where a run diverged."""
        best = int(np.argmin(losses))
        near = (np.abs(z - z[best]) <= math.log(self.factor) + _ROUNDING).all(1)
        return near & np.isfinite(losses) & (losses <= losses[best] + self.excess)


@dataclass(frozen=True)
class HyperOptimum:
    """The minimum of loss over the settings that vary among the runs of one (group, params, tokens).

    status: `optimum`; `beyond grid` where the stationary point lies outside the range of the runs used in any setting;
    `no minimum` where the Hessian is not positive definite; `too few points` where the distinct settings used are not
    more than the quadratic's coefficients, or do not fix them. excess: nats above best_loss within which runs were
    used, more than the window's where it had to be widened. Where it is a further setting than learning rate and
    batch whose best value these runs do not hold, all further ones are kept at their geometric mean over the runs used:
    they have no values then, and the optimum is that of the others. n_runs counts the cell's runs, n_used those in the
    window; best and best_loss are of the run with the lowest loss. For an optimum: values in the units given; errors,
    standard errors of ln value by the delta method; intervals at 95% with Student's t; loss and loss_error in nats per
    token at the minimum.
    coefficients: of 1, z, and the products z_i z_j (i <= j), with z = ln(value / centre). hessian: nats per squared
    e-folding. residuals: nats per token, of the runs used.
    """

    group: str
    params: float
    tokens: float
    status: str
    n_runs: int
    n_used: int
    best_loss: float
    best: dict[str, float]
    values: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    loss: float | None = None
    loss_error: float | None = None
    centre: dict[str, float] = field(default_factory=dict)
    coefficients: tuple[float, ...] = ()
    hessian: tuple[tuple[float, ...], ...] = ()
    residuals: tuple[float, ...] = ()
    excess: float = 0.0
    shared: bool = False

    def predict(self, settings: Mapping[str, Array]) -> Array:
        """The quadratic's loss at these settings, each (points,)."""
        z = np.stack([np.log(settings[name] / middle) for name, middle in self.centre.items()], -1)
        return design(z) @ np.array(self.coefficients)

    def cost(self, setting: str, factor: float = 2.0) -> float:
        """Nats lost by a setting that is off by this factor either way, the others kept at the optimum."""
        which = list(self.centre).index(setting)
        return self.hessian[which][which] * math.log(factor) ** 2 / 2


def optima(runs: pd.DataFrame, window: Window) -> list[HyperOptimum]:
    """The optimum of every cell of a table of runs with columns params, tokens, loss and SETTINGS.

    Settings may be missing; a column `group` (an architecture, say) separates cells. A cell is all runs of equal
    group, params and tokens; a setting that does not vary in it is left out of its quadratic. Units are the caller's.
    """
    keys = [name for name in ("group", "params", "tokens") if name in runs]
    found = []
    for _, cell in runs.groupby(keys):
        first = cell.iloc[0]
        group = str(first["group"]) if "group" in keys else ""
        varied = {name: cell[name].to_numpy(float) for name in SETTINGS if name in cell and cell[name].nunique() > 1}
        found.append(
            fit(group, float(first["params"]), float(first["tokens"]), varied, cell["loss"].to_numpy(float), window)
        )
    return found


def fit(
    group: str, params: float, tokens: float, settings: Mapping[str, Array], losses: Array, window: Window
) -> HyperOptimum:
    """Fit one cell: settings by name and losses, each (runs,). Equal settings (seeds) are separate points; a run with a
    setting of 0, or one not known, is none."""
    z, losses = points(settings, losses)
    best = int(np.argmin(losses))
    cell = HyperOptimum(
        group=group,
        params=params,
        tokens=tokens,
        status=TOO_FEW,
        n_runs=len(losses),
        n_used=0,
        best_loss=float(losses[best]),
        best={name: float(values[best]) for name, values in settings.items()},
    )
    known = z[np.isfinite(z).all(1)]
    enclosed = (known.min(0, initial=np.inf) < z[best]) & (z[best] < known.max(0, initial=-np.inf))
    widening = (*UNDECIDED, BEYOND) if enclosed.all() else UNDECIDED
    for wide in window.widened(losses):
        keep = wide.keep(z, losses)
        found = _fitted(replace(cell, n_used=int(keep.sum()), excess=wide.excess), z[keep], losses[keep])
        if found.status not in widening:
            break
    return found


def points(settings: Mapping[str, Array], losses: Array) -> tuple[Array, Array]:
    """ln settings (runs, settings), NaN where there is none, and losses (runs,), infinite where a run is no point."""
    table = np.stack(list(settings.values()), -1) if settings else np.empty((len(losses), 0))
    z = np.log(np.where(table > 0, table, np.nan))
    return z, np.where(np.isfinite(losses) & np.isfinite(z).all(1), losses, np.inf)


def _fitted(cell: HyperOptimum, z: Array, losses: Array) -> HyperOptimum:
    """The cell with the quadratic of these runs and its minimum, as far as they fix them."""
    names = list(cell.best)
    n_coefficients = (len(names) + 1) * (len(names) + 2) // 2
    if len(np.unique(z, axis=0)) <= n_coefficients:
        return cell
    middle = z.mean(0)
    z = z - middle
    fitted = least_squares(design(z), losses)
    return cell if fitted is None else with_quadratic(cell, z, middle, fitted)


@dataclass(frozen=True)
class Quadratic:
    """coefficients and their covariance, of `degrees` degrees of freedom; residuals: nats, of a cell's runs."""

    coefficients: Array
    covariance: Array
    degrees: int
    residuals: Array


def least_squares(rows: Array, losses: Array) -> Quadratic | None:
    """Of a design's rows (runs, coefficients); None where they do not fix the coefficients, or fix no more."""
    degrees = len(rows) - rows.shape[1]
    if degrees < 1 or np.linalg.matrix_rank(rows) < rows.shape[1]:
        return None
    solution: Array = np.linalg.lstsq(rows, losses)[0].astype(np.float64)
    residuals = losses - rows @ solution
    covariance = residuals @ residuals / degrees * np.linalg.inv(rows.T @ rows)
    return Quadratic(solution, covariance, degrees, residuals)


def with_quadratic(cell: HyperOptimum, z: Array, middle: Array, fitted: Quadratic) -> HyperOptimum:
    """The cell with a quadratic and its minimum, where it has one. z: of the runs used, about their mean `middle`."""
    names = list(cell.best)
    hessian = _hessian(fitted.coefficients, len(names))
    cell = replace(
        cell,
        centre=_named(names, np.exp(middle)),
        coefficients=tuple(map(float, fitted.coefficients)),
        hessian=tuple(tuple(map(float, row)) for row in hessian),
        residuals=tuple(map(float, fitted.residuals)),
    )
    free, lawful = list(range(len(names))), [k for k, name in enumerate(names) if name in LAWFUL]
    status, at = _stationary(fitted.coefficients, hessian, z, free)
    if status != "optimum" and 0 < len(lawful) < len(names):
        free = lawful
        status, at = _stationary(fitted.coefficients, hessian, z, free)
    return _with_minimum(cell, at, free, fitted) if status == "optimum" else replace(cell, status=status)


def _stationary(solution: Array, hessian: Array, z: Array, free: list[int]) -> tuple[str, Array]:
    """Status and place of the minimum over the free settings, the others at 0. z: of the runs used, centred."""
    at, block = np.zeros(z.shape[1]), hessian[np.ix_(free, free)]
    if np.linalg.eigvalsh(block)[0] <= _LEVEL:
        return NO_MINIMUM, at
    at[free] = -np.linalg.solve(block, solution[1 : len(at) + 1][free])
    inside = (z.min(0) <= at) & (at <= z.max(0))
    return "optimum" if inside.all() else BEYOND, at


def _with_minimum(cell: HyperOptimum, at: Array, free: list[int], fitted: Quadratic) -> HyperOptimum:
    """The cell with its minimum over the free settings, at ln(value / centre) = at, and its errors."""
    names, covariance = [name for k, name in enumerate(cell.centre) if k in free], fitted.covariance
    # the gradient stays zero at the minimum: H dz + (derivative of the design row) dc = 0
    moves = np.linalg.inv(np.array(cell.hessian)[np.ix_(free, free)]) @ _slope(at)[free]
    errors = np.sqrt(np.diag(moves @ covariance @ moves.T))
    margins = stats.t.ppf((1 + LEVEL) / 2, fitted.degrees) * errors
    middle = np.log([cell.centre[name] for name in names]) + at[free]
    low, high = np.exp(middle - margins), np.exp(middle + margins)
    row = design(at[None])[0]  # also the derivative of the minimum's height (envelope theorem)
    return replace(
        cell,
        status="optimum",
        values=_named(names, np.exp(middle)),
        errors=_named(names, errors),
        intervals={name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)},
        loss=float(row @ np.array(cell.coefficients)),
        loss_error=float(np.sqrt(row @ covariance @ row)),
    )


def design(z: Array) -> Array:
    """(points, settings) -> (points, coefficients): 1, each z, each product z_i z_j with i <= j."""
    pairs = combinations_with_replacement(range(z.shape[1]), 2)
    return np.column_stack([np.ones(len(z)), z, *(z[:, i] * z[:, j] for i, j in pairs)])


def _slope(z: Array) -> Array:
    """The derivative of a design row by each setting, at z (settings,): (settings, coefficients)."""
    unit = np.eye(len(z))
    pairs = combinations_with_replacement(range(len(z)), 2)
    return np.column_stack([np.zeros(len(z)), unit, *(unit[i] * z[j] + unit[j] * z[i] for i, j in pairs)])


def _hessian(coefficients: Array, n_settings: int) -> Array:
    hessian = np.zeros((n_settings, n_settings))
    pairs = combinations_with_replacement(range(n_settings), 2)
    for (i, j), c in zip(pairs, coefficients[n_settings + 1 :], strict=True):
        hessian[i, j] += c
        hessian[j, i] += c
    return hessian


def _named(names: list[str], values: Array) -> dict[str, float]:
    return dict(zip(names, map(float, values), strict=True))
