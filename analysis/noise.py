"""How far the losses of runs differ that differ in their seed alone: the yardstick of every difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from eutectic.analysis.bootstrap import LEVEL
from eutectic.analysis.compare import Estimate
from eutectic.analysis.load import Runs

CELL = ["part", "arch", "budget", "params", "n_heads"]  # runs that differ in their seed alone
FEWEST_DEGREES = 8  # of a budget's own noise: of fewer, that of all budgets is known better


@dataclass(frozen=True)
class Noise:
    """deviation: the standard deviation (nats) of a loss over seeds, pooled over `cells` of two seeds or more, with its
    95% interval by chi squared of `degrees` (runs less cells). budget: None for all of them together."""

    budget: float | None
    deviation: Estimate
    degrees: int
    cells: int


def noises(parts: Mapping[str, Runs]) -> tuple[Noise, ...]:
    """By budget, and last of all budgets; none where no cell has two seeds. A seed draws the weights and the order of
    the data, and where that moves all architectures alike, degrees are fewer than is said here."""
    rows = pd.concat([runs.used.assign(part=name) for name, runs in parts.items()])
    rows = rows.drop_duplicates("run_id")  # parts may share runs
    cells = rows.groupby(CELL)["loss"].agg(["count", "var"]).query("count > 1").reset_index()
    if cells.empty:
        return ()
    own = [_pooled(float(str(budget)), some) for budget, some in cells.groupby("budget")]
    return (*own, _pooled(None, cells))


def at(found: Sequence[Noise], budget: float) -> Noise | None:
    """That of a budget, or of all where its own is hardly known; None where there is none."""
    own = [noise for noise in found if noise.budget == budget and noise.degrees >= FEWEST_DEGREES]
    return own[0] if own else found[-1] if found else None


def _pooled(budget: float | None, cells: pd.DataFrame) -> Noise:
    freedom = cells["count"] - 1
    degrees = int(freedom.sum())
    value = float(np.sqrt((freedom * cells["var"]).sum() / degrees))
    low, high = (
        value * float(np.sqrt(degrees / stats.chi2.ppf(p, degrees))) for p in ((1 + LEVEL) / 2, (1 - LEVEL) / 2)
    )
    return Noise(budget, Estimate(value, low, high), degrees, len(cells))
