"""Decisions a law makes: the best size, tokens, loss and attention share at a compute budget, at the true cost."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eutectic.analysis.laws import Array, Inputs, Law, Term

GOLDEN = (np.sqrt(5) - 1) / 2
REACH = 100.0  # ln N is looked for this far about ln C, whatever the units of N and D
ITERATIONS = 45  # of that range: 1e-7 of ln N
SHARES = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True)
class Cost:
    """Training FLOPs a token: exp(k0 + k1 ln N + k2 r + k3 r ln N), of one architecture (k2 = k3 = 0) or of a mix.

    error: largest |ln(true / this)| over the runs it was fitted to.
    """

    coefficients: tuple[float, float, float, float] = (float(np.log(6.0)), 1.0, 0.0, 0.0)  # C = 6 N D
    error: float = 0.0

    def log(self, log_n: Array, share: Array | float = 0.0) -> Array:
        k0, k1, k2, k3 = self.coefficients
        return k0 + k1 * log_n + share * (k2 + k3 * log_n)


def fit_cost(params: Array, tokens: Array, flops: Array, share: Array | None = None) -> Cost:
    """Least squares on the logarithms of what runs did cost. share: where it varies, it enters."""
    z, target = np.log(params), np.log(flops / tokens)
    columns = [np.ones_like(z), z]
    if share is not None and np.ptp(share) > 0:
        columns += [share, share * z]
    design = np.stack(columns, 1)
    solution = np.linalg.lstsq(design, target)[0]
    error = float(np.abs(target - design @ solution).max())
    padded = np.concatenate([solution, np.zeros(4 - len(solution))])
    return Cost((float(padded[0]), float(padded[1]), float(padded[2]), float(padded[3])), error)


@dataclass(frozen=True)
class Optimum:
    """params, tokens, loss at the compute-optimal size; share: the best attention share, where the law has one.

    All of one shape: that of theta's batch and of the compute asked for, broadcast.
    """

    params: Array
    tokens: Array
    loss: Array
    share: Array | None = None


def optimum(law: Law, theta: Array, cost: Cost, compute: Array, share: Array | float | None = None) -> Optimum:
    """The size of least loss at each compute (FLOPs), tokens being what it leaves. theta: (..., p), coefficients as
    logarithms; compute: broadcasts with theta's batch, e.g. theta (1000, 1, p) and compute (5,)."""
    shape = np.broadcast_shapes(theta.shape[:-1], np.shape(compute), np.shape(share if share is not None else 0.0))
    log_c = np.broadcast_to(np.log(compute), shape)
    mix = 0.0 if share is None else share

    def inputs(log_n: Array) -> dict[str, Array]:
        log_d = log_c - cost.log(log_n, mix)
        x = {"N": np.exp(log_n), "D": np.exp(log_d)}
        return x if share is None else x | {"r": np.broadcast_to(np.asarray(share, float), shape)}

    if all(isinstance(term, Term) for term in law.terms):
        best = np.clip(_balance(law, theta, inputs, shape), log_c - REACH, log_c + REACH)
    else:
        best = _golden(lambda z: law.log(theta, inputs(z)), log_c - REACH, log_c + REACH)
    at = inputs(np.where(np.isnan(theta).any(-1), np.nan, best))
    return Optimum(at["N"], at["D"], np.exp(law.log(theta, at)))


def best_share(law: Law, theta: Array, cost: Cost, compute: Array) -> Optimum:
    """Of attention, and the optimum there: the least of 41 shares from 0 to 1, refined by the parabola through its
    neighbours; exactly 0 or 1 where that end is best."""
    shape = np.broadcast_shapes(theta.shape[:-1], np.shape(compute))
    grid = SHARES.reshape(-1, *[1] * len(shape))
    losses = optimum(law, theta, cost, compute, grid).loss
    k = losses.argmin(0)
    inner = np.clip(k, 1, len(SHARES) - 2)[None]
    left, middle, right = (np.take_along_axis(losses, inner + step, 0)[0] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
    refined = np.clip(SHARES[inner[0]] + np.clip(shift, -1, 1) * (SHARES[1] - SHARES[0]), 0.0, 1.0)
    # losses that bend downwards have their least at an end, and no parabola refines it
    share = np.where(np.isnan(bend), np.nan, np.where(bend > 0, refined, SHARES[k]))
    found = optimum(law, theta, cost, compute, share)
    return Optimum(found.params, found.tokens, found.loss, share)


def _balance(law: Law, theta: Array, inputs: Callable[[Array], Inputs], shape: tuple[int, ...]) -> Array:
    """ln N where the term in N falls as fast as that in D rises: both logarithms are linear in ln N at a compute."""
    named = law.named(theta)
    (in_n,), (in_d,) = ([t for t in law.terms if isinstance(t, Term) and v in t.powers] for v in "ND")
    at_zero, at_one = inputs(np.zeros(shape)), inputs(np.ones(shape))
    (fall, down), (rise, up) = (
        (t.log(named, at_zero), t.log(named, at_one) - t.log(named, at_zero)) for t in (in_n, in_d)
    )
    with np.errstate(invalid="ignore", divide="ignore"):  # a term that does not fall, or rise, has no balance: NaN
        return (fall + np.log(-down) - rise - np.log(up)) / (up - down)


def _golden(value: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """The minimum of a function of one hump downwards, in every cell of an array at once."""
    inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_inner, at_outer = value(inner), value(outer)
    for _ in range(ITERATIONS):
        left = at_inner < at_outer
        low, high = np.where(left, low, inner), np.where(left, outer, high)
        fresh = np.where(left, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        at_fresh = value(fresh)
        inner, outer = np.where(left, fresh, outer), np.where(left, inner, fresh)
        at_inner, at_outer = np.where(left, at_fresh, at_outer), np.where(left, at_inner, at_fresh)
    return (low + high) / 2
