"""Laws with known parameters, and runs that tell every one of them apart."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eutectic.analysis.laws import LAWS, Law

Array = NDArray[np.float64]
CHINCHILLA = {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2100.0, "beta": 0.37}
HYBRID = {
    **CHINCHILLA,
    **{"A_r": -0.4, "A_rr": 0.5, "B_r": 0.3, "B_rr": 0.2},
    **{"alpha_r": 0.02, "beta_r": -0.015, "E_r": -0.05, "E_rr": 0.06},
}
VALUES: Mapping[str, Mapping[str, float]] = {
    "gamma": {**CHINCHILLA, "gamma": 0.8},
    "frontier": {"E": 1.8, "K": 100.0, "kappa": 0.1},
    "frontier-0": {"K": 30.0, "kappa": 0.05},
    "overtrained": {"E": 1.8, "a": 20.0, "eta": 0.12, "b": 90.0},
    "repeated": {**CHINCHILLA, "R": 15.0},
    "state": {"E": 1.8, "K": 50.0, "sigma": 0.25},
}
NAMES = sorted(LAWS)


def grid(budgets: int = 5, sizes: int = 7) -> tuple[Array, Array]:
    """Parameters and tokens of isoFLOP curves at 6ND."""
    compute = np.repeat(np.geomspace(1e17, 1e20, budgets), sizes)
    params = np.sqrt(compute / 120) * np.tile(np.geomspace(0.2, 5, sizes), budgets)
    return params, compute / (6 * params)


def theta(law: Law) -> Array:
    """Its planted parameters, coefficients as logarithms."""
    values = VALUES.get(law.name, HYBRID)
    return np.array([np.log(values[p.name]) if p.logarithmic else values[p.name] for p in law.parameters])


def inputs(law: Law, budgets: int = 5, sizes: int = 7) -> dict[str, Array]:
    """Runs of every variable that the law is a function of; those of shares are as many times more."""
    params, tokens = grid(budgets, sizes)
    if "r" in law.inputs:
        shares = np.array([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])
        params, tokens = np.tile(params, len(shares)), np.tile(tokens, len(shares))
        return {"N": params, "D": tokens, "r": np.repeat(shares, budgets * sizes)}
    n = len(params)
    epochs = np.resize([1, 2, 4, 8, 16, 32, 64, 3], n)
    every = {"N": params, "D": tokens, "C": 6 * params * tokens, "U": tokens / epochs, "M": tokens / params}
    every["S"] = np.geomspace(1e3, 1e8, n)
    return {name: every[name] for name in law.inputs}


def losses(law: Law, x: Mapping[str, Array], noise: float = 0.0, seed: int = 0) -> Array:
    """What the planted law gives at x, with lognormal noise."""
    clean = np.exp(law.log(theta(law), x))
    return clean * np.exp(np.random.default_rng(seed).normal(0, noise, len(clean)))
