"""How the best learning rate and batch move with parameters and tokens: power laws through the optima of hyper.py."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from eutectic.analysis.hyper import HyperOptimum, Window, optima
from eutectic.analysis.isoflop import LEVEL

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PublishedLaw:
    """target = constant * params^a * tokens^b; batches in tokens. A law in compute is written with C = 6 N D."""

    source: str
    target: str
    constant: float
    exponents: dict[str, float]

    def predict(self, at: Mapping[str, Array]) -> Array:
        return self.constant * np.prod([at[name] ** power for name, power in self.exponents.items()], axis=0)


WINDOWS = (Window(0.02), Window(), Window(0.1), Window(math.inf, 2), Window(math.inf, 3), Window(0.05, 3))
_UNKNOWN = (math.nan, math.nan)
STEP_LAW = "Step Law (Li et al. 2025)"
PUBLISHED = (
    PublishedLaw(STEP_LAW, "lr", 1.79, {"params": -0.713, "tokens": 0.307}),
    PublishedLaw(STEP_LAW, "batch", 0.58, {"tokens": 0.571}),
    PublishedLaw("DeepSeek LLM (2024)", "lr", 0.3118 * 6**-0.1250, {"params": -0.1250, "tokens": -0.1250}),
    PublishedLaw("DeepSeek LLM (2024)", "batch", 0.2920 * 6**0.3271, {"params": 0.3271, "tokens": 0.3271}),
    PublishedLaw("Porian et al. (2024)", "lr", 0.0047 * 108e6 ** (1 / 3), {"params": -1 / 3}),
)


@dataclass(frozen=True)
class HyperLaw:
    """target = coefficient * product of (x / centre)^exponent, fitted to ln target over `n` cells.

    centre: the cells' geometric means, where the coefficient is best known. intervals: of the exponents and of
    `coefficient`, at 95% with Student's t. covariance: of (ln coefficient, exponents). scatter: the standard deviation
    of ln target between cells beyond what their errors explain; dispersion: the mean square of residuals in units of
    the cells' errors, 1 where those explain them. residuals: ln(optimum / law). weights: of the cells, 1 / variance.
    """

    target: str
    coefficient: float
    centre: dict[str, float]
    exponents: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    covariance: tuple[tuple[float, ...], ...]
    n: int
    scatter: float
    dispersion: float
    residuals: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def constant(self) -> float:
        """The coefficient as papers quote it, at one parameter and one token."""
        return float(self.predict({name: np.ones(1) for name in self.centre})[0])

    def predict(self, at: Mapping[str, Array]) -> Array:
        """The target at these params and tokens, each (points,)."""
        row = np.array([np.log(self.coefficient), *self.exponents.values()])
        return np.exp(_rows(at, self.centre) @ row)

    def band(self, at: Mapping[str, Array]) -> tuple[Array, Array]:
        """The law's own 95% interval at these params and tokens, without the scatter of a single cell."""
        margin = self.margin(at)
        return self.predict(at) * np.exp(-margin), self.predict(at) * np.exp(margin)

    def margin(self, at: Mapping[str, Array], scatter: float = 0.0) -> Array:
        """Half the width of the 95% interval of ln target; with the law's `scatter`, of a single cell's."""
        rows = _rows(at, self.centre)
        variance = np.einsum("ij,jk,ik->i", rows, np.array(self.covariance), rows)
        t = float(stats.t.ppf((1 + LEVEL) / 2, self.n - rows.shape[1]))
        return t * np.sqrt(variance + scatter**2)

    def excludes(self, name: str, value: float) -> bool:
        """Whether the interval of an exponent leaves this value out."""
        low, high = self.intervals[name]
        return not low <= value <= high


def law(found: Sequence[HyperOptimum], target: str, over: Sequence[str]) -> HyperLaw | None:
    """Fit ln target (`lr` or `batch`) = k + sum of exponent * ln x to the cells whose status is `optimum`.

    `over` names the x, of `params` and `tokens`. None where the cells are not more than the coefficients, or do not fix
    them (one size; tokens in proportion to params). Cells are weighted by 1 / (error^2 + scatter^2): the errors alone
    would let the few cells with the sharpest quadratics carry the law while cells disagree by more than their errors;
    no weights would count a cell that hardly knows its optimum like the others. The scatter is Paule and Mandel's
    (1982), the intervals Knapp and Hartung's (2003), which keep their coverage with few cells.
    """
    x, y, errors = _cells(found, target, over)
    if len(y) <= len(over) + 1:
        return None
    centre = {name: float(np.exp(np.log(values).mean())) for name, values in x.items()}
    design = _rows(x, centre)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    degrees = len(y) - design.shape[1]
    variance = np.maximum(errors, 1e-9) ** 2  # a quadratic through its points exactly has an error of rounding, or none
    scatter = _scatter(design, y, variance)
    weights = 1 / (variance + scatter)
    solution, square = _weighted(design, y, weights)
    covariance = square / degrees * np.linalg.inv((design.T * weights) @ design)
    margin = stats.t.ppf((1 + LEVEL) / 2, degrees) * np.sqrt(np.diag(covariance))
    low, high = solution - margin, solution + margin
    low[0], high[0] = np.exp([low[0], high[0]])
    return HyperLaw(
        target=target,
        coefficient=float(np.exp(solution[0])),
        centre=centre,
        exponents=dict(zip(over, map(float, solution[1:]), strict=True)),
        intervals={name: (float(a), float(b)) for name, a, b in zip(("coefficient", *over), low, high, strict=True)},
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        n=len(y),
        scatter=float(np.sqrt(scatter)),
        dispersion=_weighted(design, y, 1 / variance)[1] / degrees,
        residuals=tuple(map(float, y - design @ solution)),
        weights=tuple(map(float, weights)),
    )


def bootstrap(
    found: Sequence[HyperOptimum], fitted: HyperLaw, resamples: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95% percentile intervals of a law's exponents from cells drawn with replacement, each with its weight in the law.

    Beside the law's own intervals they show what rests on few cells. They are no better: with fewer than some twenty
    cells percentiles are too narrow. Draws that do not fix the exponents are left out.
    """
    x, y, _ = _cells(found, fitted.target, list(fitted.exponents))
    design = _rows(x, fitted.centre)
    drawn = np.random.default_rng(seed).multinomial(len(y), np.full(len(y), 1 / len(y)), resamples)
    weights = drawn * np.array(fitted.weights)
    normal = np.einsum("bi,ij,ik->bjk", weights, design, design)
    kept = np.linalg.matrix_rank(normal, hermitian=True) == design.shape[1]
    right = np.einsum("bi,ij,i->bj", weights, design, y)[kept]
    exponents = np.linalg.solve(normal[kept], right[..., None])[:, 1:, 0]
    low, high = np.quantile(exponents, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(fitted.exponents, low, high, strict=True)}


def by_window(runs: pd.DataFrame, windows: Sequence[Window], target: str, over: Sequence[str]) -> pd.DataFrame:
    """A law refitted to a table of runs (see hyper.optima) through each of these windows.

    One row per window and variable: excess, factor; cells, how many have an optimum, of how many (`of`); exponent, low,
    high (95%), boot_low, boot_high (cells drawn with replacement), scatter and dispersion of the law, NaN where it
    cannot be fitted; published, the Step Law's exponent, where that is in the same variables, and excluded, whether
    [low, high] leaves it out.
    """
    theirs = next(p for p in PUBLISHED if (p.source, p.target) == (STEP_LAW, target))
    published = theirs.exponents if set(theirs.exponents) == set(over) else {}
    rows = []
    for window in windows:
        found = optima(runs, window)
        fitted = law(found, target, over)
        resampled = bootstrap(found, fitted) if fitted else {}
        cells = sum(target in cell.values for cell in found)
        for name in over:
            row: dict[str, Any] = {"excess": window.excess, "factor": window.factor, "cells": cells, "of": len(found)}
            row |= {"variable": name, "exponent": fitted.exponents[name] if fitted else math.nan}
            row |= dict(zip(("low", "high"), fitted.intervals[name] if fitted else _UNKNOWN, strict=True))
            row |= dict(zip(("boot_low", "boot_high"), resampled.get(name, _UNKNOWN), strict=True))
            row |= {"scatter": fitted.scatter if fitted else math.nan}
            row |= {"dispersion": fitted.dispersion if fitted else math.nan, "published": published.get(name)}
            excluded = fitted is not None and name in published and fitted.excludes(name, published[name])
            rows.append(row | {"excluded": excluded})
    return pd.DataFrame(rows)


def _cells(found: Sequence[HyperOptimum], target: str, over: Sequence[str]) -> tuple[dict[str, Array], Array, Array]:
    """x by name, ln target and its standard errors, each (cells,), of the cells with an optimum in the target."""
    cells = [o for o in found if target in o.values]
    x = {name: np.array([getattr(o, name) for o in cells]) for name in over}
    return x, np.log([o.values[target] for o in cells]), np.array([o.errors[target] for o in cells])


def _rows(at: Mapping[str, Array], centre: Mapping[str, float]) -> Array:
    """(points, 1 + variables): 1 and each ln(x / centre)."""
    columns = [np.log(np.asarray(at[name], float) / middle) for name, middle in centre.items()]
    return np.column_stack([np.ones_like(columns[0]), *columns])


def _weighted(design: Array, y: Array, weights: Array) -> tuple[Array, float]:
    """Weighted least squares: the solution and the weighted sum of squared residuals."""
    root = np.sqrt(weights)
    solution: Array = np.linalg.lstsq(design * root[:, None], y * root)[0].astype(np.float64)
    return solution, float(weights @ (y - design @ solution) ** 2)


def _scatter(design: Array, y: Array, variance: Array) -> float:
    """The between-cell variance t at which the weighted squares equal their degrees of freedom; 0 where they are less.

    Paule and Mandel (1982). The squares fall with t, and at the unweighted mean square they are below the degrees.
    """
    degrees = len(y) - design.shape[1]
    if _weighted(design, y, 1 / variance)[1] <= degrees:
        return 0.0
    low, high = 0.0, _weighted(design, y, np.ones_like(y))[1] / degrees
    for _ in range(60):
        middle = (low + high) / 2
        above = _weighted(design, y, 1 / (variance + middle))[1] > degrees
        low, high = (middle, high) if above else (low, middle)
    return high
