"""A sweep's compute by another convention than it was planned by, from the FLOP terms that every run logs."""

from dataclasses import replace

import numpy as np
import pandas as pd

from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs

CONVENTIONS = ("exact-causal", "exact-full", "6nd", "6nd-nonembedding")  # as arch/flops.py has them


def per_token(rows: pd.DataFrame, convention: str) -> Array:
    """Training FLOPs of a token, forward and backward."""
    dense = rows["flops_projection"] + rows["flops_channel"] + rows["flops_head"]
    active = rows["params_active"].fillna(rows["params"])
    counted = {
        "exact-causal": 3 * (dense + rows["flops_core"]),
        "exact-full": 3 * (dense + rows["flops_core_full"]),
        "6nd": 6 * active,
        "6nd-nonembedding": 6 * (active - rows["params_embedding"]),
    }
    return counted[convention].to_numpy(np.float64)


def flops(frame: pd.DataFrame, convention: str) -> Array:
    """Training FLOPs of each run, forward and backward over all its tokens."""
    return frame["tokens"].to_numpy(np.float64) * per_token(frame, convention)


def recounted(runs: Runs, convention: str) -> Runs:
    """The runs with FLOPs by this convention, without their curves; as they are where it is theirs.

    What was one budget is no longer one compute: its runs, which stay together, have in place of it the geometric mean
    of their FLOPs.
    """
    if (runs.used["convention"] == convention).all():
        return runs
    used = runs.used.assign(flops=flops(runs.used, convention), convention=convention)
    middle = np.log(used["flops"]).groupby(used["budget"]).transform("mean")
    return replace(runs, used=used.assign(budget=np.exp(middle)), curves=runs.curves.iloc[:0])
