"""One solver for every law: starts screened at once, the best polished together by damped Newton steps, and certified.

A batch of problems that share their data but differ in start, weights or observations is one call: a search from many
starts and a bootstrap are the same loop.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eutectic.analysis.laws import EXPONENTS, Array, BoundTerm
from eutectic.analysis.losses import LossFn
from eutectic.analysis.problem import Local, Problem
from eutectic.errors import UserError

Mask = NDArray[np.bool_]
POLISHED, STRAYED = 12, 20
MANY, AFIELD = 12, 200  # of laws of more parameters than MANY: some of their best minima took 1 start in 20
PART = 250  # rows of a large table that starts are first polished on
STEPS = 300
PATIENCE = 60  # of a search
ROUNDS = 10  # of all STEPS, where hardly any start has come to an end by then
CELLS = 60_000  # observations at once, over all problems: arrays that fit a core's cache
FLAT = 1e-6  # gradient, over the sum of its observations' absolute parts, that counts as zero
EXACT = 1e-11  # rms error, relatively, of data without noise
SAME_VALUE, SAME_PLACE = 1e-6, 1e-3
CONDITION = 1e10  # of laws that their runs determine it is 1e2 to 1e5; without noise two sizes give 1e28
NEGLIGIBLE = 1e-4  # share of the fitted value


class Refused(UserError):
    """The data do not determine what was asked for; the message says what is missing."""


@dataclass(frozen=True)
class Certificate:
    """How a minimum was reached.

    gradient: largest entry, each over the sum of its observations' absolute parts. starts: polished in all; converged:
    of them; share_best: share of all that ended in the best; basins: distinct ends. condition: of the Hessian of least
    squares, J J', scaled to a unit diagonal. Whether the runs determine a parameter is asked of the law: the loss's own
    Hessian may be singular where few residuals lie within delta. at_bounds: parameters at the edge of their range, or
    of terms that came to nothing. refusal: empty where the result stands.
    """

    gradient: float
    starts: int
    converged: int
    share_best: float
    basins: int
    condition: float
    at_bounds: tuple[str, ...]
    refusal: str


@dataclass(frozen=True)
class Descent:
    """theta (batch, p); value, the objective, and flatness, the relative gradient, (batch,)."""

    theta: Array
    value: Array
    flatness: Array

    @property
    def converged(self) -> Mask:
        return self.flatness <= FLAT


def descend(
    problem: Problem,
    loss: LossFn,
    theta: Array,
    y: Array,
    weights: Array,
    fixed: Mask | None = None,
    patience: int = STEPS,
) -> Descent:
    """Minimize from each row of theta. y, weights: (batch or 1, n). fixed: (p,) booleans, parameters held. patience:
    steps without one more at its minimum, after which rows still under way are given up."""
    parts = []
    chunk = max(1, CELLS // len(problem.y))
    for first in range(0, len(theta), chunk):
        rows = slice(first, first + chunk)
        own_y, own_w = (v[rows] if len(v) > 1 else v for v in (y, weights))
        part = theta[rows]
        with np.errstate(over="ignore", invalid="ignore"):  # a step too far overflows, and is not taken
            for stage in loss.stages:
                part, local = _newton(problem, stage, part, own_y, own_w, fixed, patience)
        if len(loss.stages) > 1:
            total = problem.evaluate(part)[0]
            local.value = (own_w * loss.value(total, own_y)).sum(1)
        parts.append((part, local.value, flatness(problem, part, local, own_y, own_w, fixed)))
    return Descent(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def descend_far(problem: Problem, loss: LossFn, theta: Array, y: Array, weights: Array) -> Descent:
    """As descend, and on from wherever a row is still under way, for up to ROUNDS times as many steps: along a valley
    that is nearly flat they are short."""
    ends = descend(problem, loss, theta, y, weights)
    for _ in range(ROUNDS):
        rows = np.flatnonzero(~ends.converged)
        if not len(rows):
            break
        own_y, own_w = (v[rows] if len(v) > 1 else v for v in (y, weights))
        further = descend(problem, loss, ends.theta[rows], own_y, own_w)
        for name in ("theta", "value", "flatness"):
            getattr(ends, name)[rows] = getattr(further, name)
    return ends


def flatness(problem: Problem, theta: Array, local: Local, y: Array, weights: Array, fixed: Mask | None) -> Array:
    """Largest gradient entry over its absolute parts; zero where a bound holds it or nothing is left to fit."""
    free = _free(problem, theta, local.gradient, fixed)
    size = np.where(free, np.abs(local.gradient) / np.maximum(local.parts, 1e-300), 0.0).max(1)
    total, _, _ = problem.evaluate(theta)
    rms = np.sqrt((weights * (total - np.log(y)) ** 2).sum(1) / weights.sum(1))
    return np.where(rms < EXACT, 0.0, size)


def _free(problem: Problem, theta: Array, gradient: Array, fixed: Mask | None) -> Mask:
    """Parameters neither held nor pushed against a bound."""
    held = ((theta <= problem.low) & (gradient > 0)) | ((theta >= problem.high) & (gradient < 0))
    return ~held if fixed is None else ~(held | fixed)


def _newton(
    problem: Problem, loss: LossFn, start: Array, y: Array, weights: Array, fixed: Mask | None, patience: int
) -> tuple[Array, Local]:
    """Newton steps damped by Marquardt's rule, each taken only where it descends, within the bounds."""
    theta = np.clip(start, problem.low, problem.high)
    local = problem.newton(theta, y, weights, loss)
    damping = np.full(len(theta), 0.1)
    still, last = np.ones(len(theta), bool), STEPS
    for count in range(STEPS):
        rows = np.flatnonzero(still)
        if not len(rows) or count - last > patience:
            break
        at, here = theta[rows], local.take(rows)
        free = _free(problem, at, here.gradient, fixed)
        step = _step(here, damping[rows], free)
        trial = np.clip(at - step, problem.low, problem.high)
        own_y, own_w = (v[rows] if len(v) > 1 else v for v in (y, weights))
        there = problem.newton(trial, own_y, own_w, loss)
        better = there.value < here.value
        theta[rows[better]] = trial[better]
        local.put(rows[better], there.take(np.flatnonzero(better)))
        damping[rows] = np.where(better, np.maximum(damping[rows] / 8, 1e-14), damping[rows] * 6)
        promised = np.abs((here.gradient * step).sum(1))
        settled = (promised < 1e-15 * here.value) & (damping[rows] < 1.0)
        exact = local.value[rows] < len(y[0]) * EXACT**2
        still[rows] = ~(settled | exact | (damping[rows] > 1e12))
        last = last if still[rows].all() else count
    return theta, local


def _step(local: Local, damping: Array, free: Mask) -> Array:
    """(H + damping diag)^-1 gradient in the free parameters, zero in the others."""
    hessian = local.hessian * (free[:, :, None] & free[:, None, :])
    ridge = np.where(free, damping[:, None] * local.steep + 1e-30, 1.0)
    p = hessian.shape[1]
    hessian[:, range(p), range(p)] += ridge
    gradient = np.where(free, local.gradient, 0.0)
    try:
        return np.asarray(np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0], np.float64)
    except np.linalg.LinAlgError:
        return gradient / np.maximum(local.steep, 1e-30)


def starts(problem: Problem, loss: LossFn, seed: int, parent: Array | None) -> Array:
    """Where to polish from: the best of a grid, or the parent law's solution, and strays from it by seed."""
    law, names = problem.law, problem.names
    if law.parent is None:
        best = _screen(problem, loss)[:POLISHED]
    else:
        theirs = solve(Problem(law.parent, problem.x, problem.y), loss, seed)[0] if parent is None else parent
        where = [names.index(name) for name in law.parent.names]
        best = np.array([[p.neutral for p in law.parameters]])
        best[:, where] = theirs
    stray = np.array([p.stray for p in law.parameters])
    count = STRAYED if len(names) <= MANY else AFIELD
    random = np.random.default_rng(seed).normal(size=(count, len(names)))
    return np.concatenate([best, best[:1] + stray * random])


def _screen(problem: Problem, loss: LossFn) -> Array:
    """The grid of exponents, best first, the coefficients of each by linear least squares of relative errors.

    (Variable projection: given its exponents a sum of terms is linear in its coefficients.)
    """
    parameters = problem.law.parameters
    exponents = [k for k, p in enumerate(parameters) if p.kind == "exponent"]
    grid = np.array(list(itertools.product(EXPONENTS, repeat=len(exponents)))).reshape(-1, len(exponents))
    theta = np.tile([p.neutral for p in parameters], (len(grid), 1))
    theta[:, exponents] = grid
    columns = np.stack([np.exp(term.value(theta)) / problem.y for term in problem.terms], -1)  # (grid, n, terms)
    normal = columns.transpose(0, 2, 1) @ columns
    size = normal.shape[1]
    normal[:, range(size), range(size)] *= 1 + 1e-10
    solution = np.linalg.solve(normal, columns.sum(1)[:, :, None])[:, :, 0]
    for k, term in enumerate(problem.terms):
        assert isinstance(term, BoundTerm)  # laws without a parent have no others
        theta[:, term.intercept] = np.log(np.maximum(solution[:, k], 1e-3))
    total = problem.evaluate(theta)[0]
    return theta[np.argsort(loss.value(total, problem.y).sum(1), kind="stable")]


def _search(problem: Problem, loss: LossFn, begin: Array, counts: NDArray[np.int64]) -> Descent:
    """The ends of starts, so many behind each. Once two come to the best minimum those still under way are given up."""
    y, weights = problem.y[None], np.ones((1, len(problem.y)))
    ends = descend(problem, loss, begin, y, weights, None, PATIENCE)
    if counts[_at_best(problem, loss, ends)].sum() < 2:
        ends = descend_far(problem, loss, ends.theta, y, weights)
    return ends


def _at_best(problem: Problem, loss: LossFn, ends: Descent) -> Mask:
    """Ends in the lowest minimum that any converged to."""
    lowest = np.where(ends.converged, ends.value, np.inf).min()
    return ends.converged & (ends.value <= lowest * (1 + SAME_VALUE) + _exact(problem, loss))


def _exact(problem: Problem, loss: LossFn) -> float:
    """The objective of data without noise, to rounding; all lower ones are equal."""
    return float(loss.value(np.full(1, EXACT), np.ones(1))[0]) * len(problem.y)


def _ahead(problem: Problem, loss: LossFn, begin: Array, seed: int) -> tuple[Array, NDArray[np.int64]]:
    """Starts polished on a random part of a large table, to be finished on the whole: one for each place that some
    converge to, and how many do."""
    rows = np.random.default_rng(seed).choice(len(problem.y), PART, replace=False)
    part = Problem(problem.law, {name: v[rows] for name, v in problem.x.items()}, problem.y[rows] * problem.scale)
    ends = _search(part, loss, part.from_law(problem.to_law(begin)), np.ones(len(begin), np.int64))
    theta = ends.theta[ends.converged] if ends.converged.any() else ends.theta
    near = np.abs(theta[:, None] - theta[None]).max(2) < SAME_PLACE
    first, counts = np.unique(near.argmax(1), return_counts=True)
    return problem.from_law(part.to_law(theta[first])), counts


def solve(
    problem: Problem, loss: LossFn, seed: int = 0, parent: Array | None = None
) -> tuple[Array, float, Certificate]:
    """The best minimum found from the starts: centred theta (p,), the objective's sum, and its certificate.

    parent: the parent law's centred theta at the same data, where it is known.
    """
    begin = starts(problem, loss, seed, parent)
    tried, counts = len(begin), np.ones(len(begin), np.int64)
    if len(problem.y) > 2 * PART:
        begin, counts = _ahead(problem, loss, begin, seed)
    ends = _search(problem, loss, begin, counts)
    order = np.argsort(np.where(ends.converged, ends.value, np.inf), kind="stable")
    best = order[0] if ends.converged.any() else np.nanargmin(ends.value)
    return ends.theta[best], float(ends.value[best]), _certify(problem, loss, ends, tried, counts, int(best))


def _certify(
    problem: Problem, loss: LossFn, ends: Descent, tried: int, counts: NDArray[np.int64], best: int
) -> Certificate:
    """tried: starts in all; counts: behind each end."""
    theta, exact = ends.theta[best], _exact(problem, loss)
    converged = np.flatnonzero(ends.converged)
    found: list[int] = []
    for k in converged[np.argsort(ends.value[converged], kind="stable")]:
        if not any(
            ends.value[k] - ends.value[f] <= SAME_VALUE * abs(ends.value[f]) + exact
            or np.abs(ends.theta[k] - ends.theta[f]).max() < SAME_PLACE
            for f in found
        ):
            found.append(int(k))
    lowest = _at_best(problem, loss, ends)
    same, plateau = int(counts[lowest].sum()), _plateau(problem, theta, ends.theta[lowest])
    edge = (theta <= problem.low) | (theta >= problem.high) | _vanished(problem, theta)
    at_bounds = tuple(name for name, ended in zip(problem.names, edge, strict=True) if ended)
    condition = _condition(problem.evaluate(theta[None])[2][0])
    return Certificate(
        gradient=float(ends.flatness[best]),
        starts=tried,
        converged=int(counts[converged].sum()),
        share_best=same / tried,
        basins=len(found),
        condition=condition,
        at_bounds=at_bounds,
        refusal=_refusal(float(ends.flatness[best]), same, condition, at_bounds, plateau),
    )


def _plateau(problem: Problem, best: Array, theta: Array) -> bool:
    """Whether ends of equal objective, (k, p), are further from the best in what they fit than its standard error:
    absolute deviations from two bunches of runs, say, are the same wherever a law passes between them."""
    fitted = problem.evaluate(best[None])[0]
    error = np.sqrt(np.mean((fitted - np.log(problem.y)) ** 2) * theta.shape[1] / len(problem.y))
    return bool(np.abs(problem.evaluate(theta)[0] - fitted).max(initial=0.0) > max(error, 10 * EXACT))


def _vanished(problem: Problem, theta: Array) -> Mask:
    """Coefficients of terms that are next to nothing at every observation."""
    shares = problem.evaluate(theta[None])[1][:, 0].max(1)
    out = np.zeros(len(theta), bool)
    for term, share in zip(problem.terms, shares, strict=True):
        if share < NEGLIGIBLE:
            out[[inner.intercept for inner in getattr(term, "terms", [term])]] = True
    return out


def _condition(jacobian: Array) -> float:
    """Of J J' scaled to a unit diagonal, from J (p, n)."""
    length = np.linalg.norm(jacobian, axis=1, keepdims=True)
    if not (length > 0).all():
        return float("inf")
    values = np.linalg.svd(jacobian / length, compute_uv=False)
    return float((values[0] / values[-1]) ** 2) if values[-1] > 0 else float("inf")


def _refusal(gradient: float, same: int, condition: float, at_bounds: tuple[str, ...], plateau: bool) -> str:
    if at_bounds:
        return f"{' and '.join(at_bounds)} ended at the edge of what it may be: these runs do not determine it"
    if gradient > FLAT:
        return f"no start converged (relative gradient {gradient:.1e})"
    if condition > CONDITION:
        return f"these runs do not determine every parameter (condition of the Hessian {condition:.1e})"
    if plateau:
        return (
            "laws further apart than their error do equally well by this loss function: give it a larger delta "
            "(--delta), or use squares (--loss-fn ls-log), and see that no column which groups the runs is left out"
        )
    if same < 2:
        return "only one start reached the best minimum, so that a better one may have been missed"
    return ""
