"""L(N, D) = E + A / N^alpha + B / D^beta by Huber loss on ln L (Hoffmann et al. 2022, approach 3, eq. 3)."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Array = NDArray[np.float64]
DELTA = 1e-3
POLISHED = 5
FEWEST_POINTS = 8
# starts: ln A and ln B at the data's geometric mean size, ln E, and the exponents
_GRID = {
    "a": np.linspace(-4, 2, 7),
    "b": np.linspace(-4, 2, 7),
    "e": np.linspace(-1, 1.5, 6),
    "alpha": np.array([0.1, 0.3, 0.5, 0.8, 1.2]),
    "beta": np.array([0.1, 0.3, 0.5, 0.8, 1.2]),
}


@dataclass(frozen=True)
class ParametricLaw:
    """E (nats), A, B, alpha, beta; huber: the objective's sum; residuals: ln(observed / fitted) of each run.

    gradient: largest entry of the objective's gradient at the solution, near zero where it is a minimum.
    starts_agreeing: how many of the polished starts ended within 1e-6 of the best objective, relatively.
    allocation: the exponent of N in the compute-optimal split, beta / (alpha + beta).
    identified: whether every term is worth more than 1e-3 nats somewhere in the data and both exponents are positive.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    huber: float
    gradient: float
    starts_agreeing: int
    n: int
    identified: bool
    residuals: tuple[float, ...]

    @property
    def allocation(self) -> float:
        return self.beta / (self.alpha + self.beta)

    def predict(self, params: Array, tokens: Array) -> Array:
        return self.E + self.A / params**self.alpha + self.B / tokens**self.beta


def fit(params: Array, tokens: Array, losses: Array) -> ParametricLaw | None:
    """None for fewer than eight runs: five unknowns need more.

    A grid of starts is screened at once, the best five of it are polished by L-BFGS with the exact gradient. N and D
    enter relative to their geometric means, which keeps ln A and ln B of the order of ln L and well apart from the
    exponents.
    """
    if len(losses) < FEWEST_POINTS:
        return None
    n0, d0 = (float(np.exp(np.log(v).mean())) for v in (params, tokens))
    log_n, log_d, log_l = np.log(params / n0), np.log(tokens / d0), np.log(losses)
    starts = np.array(list(itertools.product(*_GRID.values())))
    screened = np.concatenate(
        [objective(part.T[..., None], log_n, log_d, log_l)[0] for part in np.array_split(starts, 64)]
    )
    ends = [_polish(starts[i], log_n, log_d, log_l) for i in np.argsort(screened, kind="stable")[:POLISHED]]
    best = min(ends, key=lambda end: float(end.fun))
    a, b, e, alpha, beta = (float(v) for v in best.x)
    value, gradient = objective(best.x[:, None], log_n, log_d, log_l)
    agreeing = sum(bool(end.fun <= best.fun * (1 + 1e-6)) for end in ends)
    terms = np.exp(a - alpha * log_n), np.exp(b - beta * log_d), np.full_like(log_l, np.exp(e))
    identified = alpha > 0 and beta > 0 and all(term.max() > 1e-3 for term in terms)
    residuals = log_l - np.log(sum(terms))
    return ParametricLaw(
        E=float(np.exp(e)),
        A=float(np.exp(a) * n0**alpha),
        B=float(np.exp(b) * d0**beta),
        alpha=alpha,
        beta=beta,
        huber=float(value),
        gradient=float(np.abs(gradient).max()),
        starts_agreeing=agreeing,
        n=len(losses),
        identified=bool(identified),
        residuals=tuple(float(r) for r in residuals),
    )


def objective(theta: Array, log_n: Array, log_d: Array, log_l: Array) -> tuple[Array, Array]:
    """Sum of Huber(ln fitted - ln observed) and its gradient in theta = (a, b, e, alpha, beta).

    theta may carry a last axis of 1 after any batch axis: (5, 1), or (5, starts, 1) for many starts at once.
    """
    a, b, e, alpha, beta = theta
    terms = np.stack(np.broadcast_arrays(a - alpha * log_n, b - beta * log_d, e + 0 * log_n))
    top = terms.max(0)
    weights = np.exp(terms - top)
    total = weights.sum(0)
    error = top + np.log(total) - log_l
    small = np.abs(error) <= DELTA
    value = np.where(small, error**2 / 2, DELTA * (np.abs(error) - DELTA / 2)).sum(-1)
    pull = np.clip(error, -DELTA, DELTA) * weights / total
    gradient = np.stack([pull[0], pull[1], pull[2], -pull[0] * log_n, -pull[1] * log_d]).sum(-1)
    return value, gradient


def _polish(start: Array, log_n: Array, log_d: Array, log_l: Array) -> optimize.OptimizeResult:
    options = {"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 20}
    return optimize.minimize(  # type: ignore[call-overload]
        _scaled, start, (log_n, log_d, log_l), "L-BFGS-B", jac=True, options=options
    )


def _scaled(theta: Array, log_n: Array, log_d: Array, log_l: Array) -> tuple[float, Array]:
    """The objective over delta squared, of order one, so that the optimizer's tolerances mean what they say."""
    value, gradient = objective(theta[:, None], log_n, log_d, log_l)
    return float(value) / DELTA**2, gradient / DELTA**2
