"""Profile likelihood: how much worse the best fit gets as one parameter is held ever farther from its estimate."""

from copy import copy
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eutectic.analysis import solve as solver
from eutectic.analysis.fit import Fit
from eutectic.analysis.laws import Array, BoundGroup, BoundRepeated, BoundTerm
from eutectic.analysis.problem import Problem
from eutectic.analysis.solve import Refused

LEVEL = 0.95
# distances from the estimate, in standard errors: close where intervals end, then ever wider for long tails
OUTWARD = np.concatenate([np.arange(0.0, 4.0, 0.25), 4.0 * 1.3 ** np.arange(10)])
ROOM = 30.0  # of a coefficient's logarithm, to either side of its estimate


@dataclass(frozen=True)
class Profile:
    """Of one parameter, named and measured as in the law's formula.

    interval: at 95%; None at a side where the objective never rises enough: the data leave it open. grid: (points,)
    values it was held at, ascending, the estimate among them. rise: (points,) of the least objective there above the
    estimate's, in units of its noise; NaN where the refit did not converge. critical: the rise that ends the interval.
    """

    parameter: str
    estimate: float
    interval: tuple[float | None, float | None]
    grid: Array
    rise: Array
    critical: float


def profile(fit: Fit, parameter: str) -> Profile:
    """Hold the parameter on a grid about its estimate and minimize over the rest (Bates & Watts 1988, section 6.1).

    The rise is compared with F's quantile of 1 and n - p degrees of freedom: exact for least squares of a linear law
    with normal errors; a robust quasi-likelihood ratio for Huber's loss and absolute deviations (Heritier & Ronchetti
    1994). Raises Refused where the law meets all points exactly, and where a refit next to the interval's end, or any
    of an open side, does not converge.
    """
    if fit.rms < solver.EXACT:
        raise Refused(f"the profile of {parameter} has no interval: the points lie on the law exactly, without noise.")
    problem, k, ones = _own(fit), fit.law.names.index(parameter), np.ones((1, fit.n))
    square, bend = _noise(fit)
    jacobian = problem.evaluate(fit.theta[None])[2][0]
    if fit.loss_fn.name == "ls":
        jacobian = jacobian * fit.y / np.exp(fit.residuals)
    covariance = square / bend**2 * np.linalg.inv(jacobian @ jacobian.T)
    held = fit.theta[k] + np.concatenate([-OUTWARD[:0:-1], OUTWARD]) * np.sqrt(covariance[k, k])
    held = held[(held >= problem.low[k]) & (held <= problem.high[k])]
    # the others start along the valley, as far as it is straight
    starts = fit.theta + (held - fit.theta[k])[:, None] * covariance[k] / covariance[k, k]
    ends = solver.descend(problem, fit.loss_fn, starts, fit.y[None], ones, fixed=np.arange(len(fit.theta)) == k)
    rise = np.where(ends.converged, 2 * (ends.value - fit.objective) / (square / bend), np.nan)
    critical, middle = float(stats.f.ppf(LEVEL, 1, fit.degrees)), int(np.flatnonzero(held == fit.theta[k])[0])
    low = _crossing(parameter, held[middle::-1], rise[middle::-1], critical)
    high = _crossing(parameter, held[middle:], rise[middle:], critical)
    natural = np.exp if fit.law.parameters[k].logarithmic else np.positive
    interval = (None if low is None else float(natural(low)), None if high is None else float(natural(high)))
    return Profile(parameter, fit.values[parameter], interval, natural(held), rise, critical)


def _uncentred(term: BoundTerm) -> BoundTerm:
    return BoundTerm(term.design + term.centre[:, None], np.zeros_like(term.centre), term.intercept)


def _own(fit: Fit) -> Problem:
    """The fit's problem in its law's own parameters, so that one can be held: not centred, observations not scaled."""

    def plain(term: BoundTerm | BoundRepeated | BoundGroup) -> BoundTerm | BoundRepeated | BoundGroup:
        if isinstance(term, BoundTerm):
            return _uncentred(term)
        if isinstance(term, BoundGroup):
            return BoundGroup([_uncentred(inner) for inner in term.terms], term.gamma)
        own = copy(term)
        own.mean, own.centre = 0.0, np.zeros_like(term.centre)
        return own

    own = copy(fit.problem)
    own.scale, own.y, own.terms = 1.0, fit.y, [plain(term) for term in fit.problem.terms]
    coefficients = np.array([p.kind == "coefficient" for p in fit.law.parameters])
    own.low = np.where(coefficients, fit.theta - ROOM, own.low)
    own.high = np.where(coefficients, fit.theta + ROOM, own.high)
    return own


def _noise(fit: Fit) -> tuple[float, float]:
    """The loss's first derivative squared, a degree of freedom, and its mean second derivative, over the residuals.

    Where few residuals lie within Huber's delta the second is uncertain (one over it is the sparsity of quantile
    regression), so the residuals are smoothed by a normal kernel of Silverman's width; absolute deviations are the
    limit of small delta.
    """
    if fit.loss_fn.name in ("ls", "ls-log"):
        return 4 * fit.objective / fit.degrees, 2.0
    errors, delta = fit.residuals, fit.loss_fn.delta
    quartiles = np.quantile(errors, [0.25, 0.75])
    width = 1.06 * np.ptp(quartiles) / 1.349 * fit.n**-0.2
    within = np.mean(stats.norm.cdf((delta - errors) / width) - stats.norm.cdf((-delta - errors) / width))
    unit = delta if fit.loss_fn.name == "lad" else 1.0
    return float((np.clip(errors, -delta, delta) ** 2).sum() / fit.degrees / unit**2), float(within / unit)


def _crossing(parameter: str, held: Array, rise: Array, critical: float) -> float | None:
    """Where the rise passes critical, outward from the estimate; None where it does not. Its root is nearly linear."""
    beyond = np.flatnonzero(rise >= critical)
    around = slice(beyond[0] - 1, beyond[0] + 1) if len(beyond) else slice(None)
    if np.isnan(rise[around]).any():
        raise Refused(f"the profile of {parameter} has no interval: refits with it held did not all converge.")
    if not len(beyond):
        return None
    return float(np.interp(np.sqrt(critical), np.sqrt(np.maximum(rise[around], 0.0)), held[around]))
