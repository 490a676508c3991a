"""A law's objective at data, for many parameters at once: its value, gradient and Hessian, exact."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eutectic.analysis.laws import Array, Inputs, Law, log_sum
from eutectic.analysis.losses import LossFn

Index = NDArray[np.intp]


class Problem:
    """A law at data, with observations near one. x: (n,) arrays by variable; y: (n,) observations."""

    def __init__(self, law: Law, x: Inputs, y: Array):
        self.law, self.names, self.x = law, law.names, x
        self.scale = float(np.exp(np.log(y).mean()))
        self.y = y / self.scale
        self.terms = [term.bind(self.names, x) for term in law.terms]
        self.low, self.high = np.array([p.bounds for p in law.parameters]).T

    def to_law(self, theta: Array) -> Array:
        """From centred features and scaled observations to the law's own parameters. theta: (batch, p)."""
        out = theta.copy()
        for term in self.terms:
            for inner in getattr(term, "terms", [term]):
                out[:, inner.intercept] -= theta @ inner.centre
        for term in self.terms:
            # a group raised to a power bears the observations' scale within it
            power = theta[:, term.gamma] if hasattr(term, "gamma") else 1.0
            for inner in getattr(term, "terms", [term]):
                out[:, inner.intercept] += np.log(self.scale) / power
        return out

    def from_law(self, theta: Array) -> Array:
        """The inverse of to_law."""
        shift = self.to_law(np.array(theta)) - theta
        return theta - shift

    def evaluate(self, theta: Array) -> tuple[Array, Array, Array]:
        """ln of the fitted values (batch, n), terms' shares of them (terms, batch, n), gradient (batch, p, n)."""
        logs = np.stack([term.value(theta) for term in self.terms])
        total = log_sum(logs)
        shares = np.exp(logs - total)
        gradient = sum(share[:, None] * term.slope(theta) for share, term in zip(shares, self.terms, strict=True))
        return total, shares, gradient

    def newton(self, theta: Array, y: Array, weights: Array, loss: LossFn) -> "Local":
        """Objective and its derivatives at theta. y, weights: (batch or 1, n)."""
        total, shares, gradient = self.evaluate(theta)
        first, second, above = loss.derivatives(total, y)
        first, second = weights * first, weights * second
        hessian = (gradient * (second - first)[:, None]) @ gradient.transpose(0, 2, 1)
        for share, term in zip(shares, self.terms, strict=True):
            hessian += term.curvature(theta, first * share)
        parts = np.abs(first)[:, None] * np.abs(gradient)
        return Local(
            (weights * loss.value(total, y)).sum(1),
            (gradient @ first[:, :, None])[:, :, 0],
            hessian,
            ((weights * above)[:, None] * gradient**2).sum(2),
            parts.sum(2),
        )


@dataclass
class Local:
    """value (batch,), gradient, steep (a diagonal above the Hessian's) and parts (its absolute sums) (batch, p)."""

    value: Array
    gradient: Array
    hessian: Array
    steep: Array
    parts: Array

    def take(self, rows: Index) -> "Local":
        return Local(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def put(self, rows: Index, other: "Local") -> None:
        for name in self.__dataclass_fields__:
            getattr(self, name)[rows] = getattr(other, name)
