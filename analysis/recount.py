"""A sweep's compute by another convention than it was planned by, from the FLOP terms that every run logs."""

from dataclasses import replace

import numpy as np
import pandas as pd

from eutectic.analysis.conventions import per_token
from eutectic.analysis.load import Runs


def flops(frame: pd.DataFrame, convention: str) -> "pd.Series[float]":
    """Training FLOPs of each run, forward and backward over all its tokens."""
    return frame["tokens"] * per_token(frame, convention)


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
