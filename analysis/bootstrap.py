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
KINDS = ("pairs", "cluster", "wild")
FEWEST_CLUSTERS = 8
FEWEST_CONVERGED = 0.9


@dataclass(frozen=True)
class Resamples:
    """theta: (count, p), the law's parameters in every resample, NaN where it did not converge; converged: the share."""

    kind: str
    theta: Array
    converged: float


def weights(clusters: Sequence[Sequence[object]], count: int, seed: int) -> list[Array]:
    """How often each row is drawn, (count, n) for each table: whole clusters with replacement, the same ones in every
    table, so that what tables share (a seed, a budget) cancels in their comparison. clusters: a label per row."""
    labels = sorted({str(label) for table in clusters for label in table})
    times = np.random.default_rng(seed).multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=count)
    index = {label: k for k, label in enumerate(labels)}
    return [times[:, [index[str(label)] for label in table]].astype(float) for table in clusters]


def resample(
    fit: Fit, count: int, seed: int, kind: str = "pairs", clusters: Sequence[object] | None = None
) -> Resamples:
    """Refit `count` times from the fit's solution, each to the solver's tolerance.

    pairs: rows drawn with replacement. cluster: whole clusters (e.g. seeds, runs) are; clusters gives each row's.
    wild: rows stay, and each residual, enlarged for its leverage, keeps or changes its sign (Rademacher).
    Raises Refused for fewer than eight clusters and where under nine in ten resamples converge.
    """
    if kind == "wild":
        y, draws = _wild(fit, count, seed), np.ones((1, fit.n))
    else:
        labels = list(range(fit.n)) if clusters is None or kind == "pairs" else clusters
        if kind == "cluster" and len(set(labels)) < FEWEST_CLUSTERS:
            raise Refused(
                f"a cluster bootstrap needs {FEWEST_CLUSTERS} clusters or more and there are {len(set(labels))}; "
                "use pairs or wild."
            )
        y, draws = fit.problem.y[None], weights([labels], count, seed)[0]
    return refit(fit, y, draws, kind)


def refit(fit: Fit, y: Array, draws: Array, kind: str) -> Resamples:
    """Resamples for given observations (scaled, as fit.problem.y) and draws, (count or 1, n) each."""
    count = max(len(y), len(draws))
    ends = solver.descend(fit.problem, fit.loss_fn, np.tile(fit.centred, (count, 1)), y, draws)
    converged = ends.converged
    if converged.mean() < FEWEST_CONVERGED:
        raise Refused(f"only {converged.sum()} of {count} resamples of {fit.law.name} converged; it has no intervals.")
    theta = np.where(converged[:, None], fit.problem.to_law(ends.theta), np.nan)
    return Resamples(kind, theta, float(converged.mean()))


def _wild(fit: Fit, count: int, seed: int) -> Array:
    """Observations (count, n): fitted values with residuals of random sign, over 1 - leverage (HC3)."""
    total, _, gradient = fit.problem.evaluate(fit.centred[None])
    q, _ = np.linalg.qr(gradient[0].T)
    enlarged = fit.residuals / (1 - np.clip((q**2).sum(1), 0, 0.9))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(count, fit.n))
    return np.exp(total + signs * enlarged)


def interval(values: Array, degrees: int, log: bool = False) -> tuple[float, float]:
    """Percentiles of resampled values at 95%, widened about their median as Student's t with the fit's degrees of
    freedom is wider than the normal. log: widen ratios, for positive quantities."""
    finite = values[~np.isnan(values)]
    low, middle, high = np.quantile(finite, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    wider = float(stats.t.ppf((1 + LEVEL) / 2, degrees) / stats.norm.ppf((1 + LEVEL) / 2))
    if log:
        return float(middle * (low / middle) ** wider), float(middle * (high / middle) ** wider)
    return float(middle + (low - middle) * wider), float(middle + (high - middle) * wider)
