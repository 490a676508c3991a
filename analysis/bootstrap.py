"""Resampling: what a fit, or a decision made from fits, would have been on other runs of the same kind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eutectic.analysis import solve as solver
from eutectic.analysis.fit import Fit
from eutectic.analysis.laws import Array
from eutectic.analysis.solve import Refused

LEVEL = 0.95
FEWEST_CLUSTERS = 8
FEWEST_CONVERGED = 0.9
HIGHEST_LEVERAGE = 0.9


@dataclass(frozen=True)
class Resamples:
    """theta: (count, p), the law's parameters by resample, NaN where not converged; converged: the share of all."""

    kind: str
    theta: Array
    converged: float


def weights(clusters: Sequence[object], count: int, seed: int) -> Array:
    """How often each row is drawn, (count, n): whole clusters with replacement. clusters: a label per row."""
    labels, index = np.unique([str(label) for label in clusters], return_inverse=True)
    chances = np.full(len(labels), 1 / len(labels))
    return np.random.default_rng(seed).multinomial(len(labels), chances, size=count)[:, index].astype(float)


def signs(tables: Sequence[Sequence[object]], count: int, seed: int) -> list[Array]:
    """A sign (Rademacher) per label and resample, (count, n) for each table: rows of equal label share theirs, within
    a table and across tables, so that what they have in common (a seed, a design point) cancels in a comparison."""
    labels, index = np.unique([str(label) for table in tables for label in table], return_inverse=True)
    drawn = np.random.default_rng(seed).choice([-1.0, 1.0], size=(count, len(labels)))[:, index]
    return np.split(drawn, np.cumsum([len(table) for table in tables])[:-1], axis=1)


def resample(
    fit: Fit, count: int, seed: int, kind: str = "pairs", clusters: Sequence[object] | None = None
) -> Resamples:
    """Refit `count` times from the fit's solution, each to the solver's tolerance.

    pairs: rows drawn with replacement. cluster: whole clusters (e.g. seeds, runs) are; clusters gives each row's.
    wild: rows stay, and each residual, enlarged for its leverage, keeps or changes its sign (Rademacher).
    Raises Refused for fewer than eight clusters and where under nine in ten resamples converge.
    """
    rows: Sequence[object] = range(fit.n)
    if kind == "wild":
        return wild(fit, signs([rows], count, seed)[0])
    if kind == "cluster":
        rows = rows if clusters is None else clusters
        if len(set(rows)) < FEWEST_CLUSTERS:
            raise Refused(
                f"a cluster bootstrap needs {FEWEST_CLUSTERS} clusters or more and there are {len(set(rows))}; "
                "use pairs or wild."
            )
    return _refit(fit, fit.problem.y[None], weights(rows, count, seed), kind)


def wild(fit: Fit, drawn: Array) -> Resamples:
    """Refit to the fitted values with each residual, enlarged for its leverage (HC3), of the sign drawn. (count, n)"""
    total, _, gradient = fit.problem.evaluate(fit.centred[None])
    q, _ = np.linalg.qr(gradient[0].T)
    enlarged = fit.residuals / (1 - np.clip((q**2).sum(1), 0, HIGHEST_LEVERAGE))
    return _refit(fit, np.exp(total + drawn * enlarged), np.ones((1, fit.n)), "wild")


def _refit(fit: Fit, y: Array, draws: Array, kind: str) -> Resamples:
    """For given observations (scaled, as fit.problem.y) and draws, (count or 1, n) each."""
    count = max(len(y), len(draws))
    ends = solver.descend_far(fit.problem, fit.loss_fn, np.tile(fit.centred, (count, 1)), y, draws)
    converged = ends.converged
    if converged.mean() < FEWEST_CONVERGED:
        raise Refused(f"only {converged.sum()} of {count} resamples of {fit.law.name} converged; it has no intervals.")
    theta = np.where(converged[:, None], fit.problem.to_law(ends.theta), np.nan)
    return Resamples(kind, theta, float(converged.mean()))


def interval(values: Array, degrees: int, log: bool = False) -> tuple[float, float]:
    """Percentiles of resampled values at 95%, widened about their median as Student's t with the fit's degrees of
    freedom is wider than the normal. log: widen ratios, for positive quantities.

    Values may be infinite, or 0 where log: beyond all that was looked at. No distance to those can be widened, so the
    percentiles are then the ones at which t's ends lie under the normal, which is the same of normal values, and an
    end is open (infinite, or 0) where that many resamples are.
    """
    known = values[~np.isnan(values)]
    t = float(stats.t.ppf((1 + LEVEL) / 2, degrees))
    if np.isinf(known).any() or (log and (known <= 0).any()):
        low, high = np.quantile(known, stats.norm.cdf(np.array([-t, t])), method="nearest")
        return float(low), float(high)
    low, middle, high = np.quantile(known, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    wider = t / float(stats.norm.ppf((1 + LEVEL) / 2))
    if log:
        return float(middle * (low / middle) ** wider), float(middle * (high / middle) ** wider)
    return float(middle + (low - middle) * wider), float(middle + (high - middle) * wider)
