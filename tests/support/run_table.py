"""Runs that obey a law of parameters and tokens, as a user's table holds them."""

import numpy as np
import pandas as pd

from eutectic.analysis.tablefit import TableFit

E, A, ALPHA, B, BETA = 1.7, 400.0, 0.34, 300.0, 0.28
TRUTH = {"E": E, "A": A, "alpha": ALPHA, "B": B, "beta": BETA}


def loss(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return E + A / params**ALPHA + B / tokens**BETA


def planted(noise: float = 0.0, seed: int = 0, copies: int = 1) -> pd.DataFrame:
    """Six sizes by six numbers of tokens. noise: standard deviation of ln loss, independent in each copy of a run."""
    params, tokens = (v.ravel() for v in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 6)))
    runs = pd.concat([pd.DataFrame({"params": params, "tokens": tokens})] * copies, ignore_index=True)
    error = noise * np.random.default_rng(seed).normal(size=len(runs))
    return runs.assign(loss=loss(runs["params"].to_numpy(), runs["tokens"].to_numpy()) * np.exp(error))


def values(fitted: TableFit, group: int = 0) -> dict[str, float]:
    """Parameters of a group's fit."""
    found = fitted.groups[group].fit
    assert found is not None
    return found.values
