"""How far the losses of runs differ that differ in their seed alone: the yardstick of every difference."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from eutectic.analysis.bootstrap import LEVEL
from eutectic.analysis.campaign import MAIN
from eutectic.analysis.compare import Estimate
from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs

CELL = ["part", "arch", "budget", "params", "n_heads"]  # runs that differ in their seed alone
FEWEST_DEGREES = 8  # of a part's own noise: of fewer, that of others is known better


@dataclass(frozen=True)
class Pooled:
    """deviation: the standard deviation (nats) of a loss over seeds, pooled over `cells` of two seeds or more, with its
    95% interval by chi squared of `degrees` (runs less cells). sizes: the least and the most parameters of these."""

    part: str
    budget: float
    deviation: Estimate
    degrees: int
    cells: int
    sizes: tuple[float, float]


@dataclass(frozen=True)
class Noise:
    """The variance of a loss over seeds is exp(level + slope x), where x is ln(N / sqrt(C)) of a model's parameters and
    budget less `centre`: sizes that are as far from the best of their budget are about as noisy. Beyond `span`, where
    no seeds were, it is as at its end.

    degrees: of freedom, runs less cells over the dispersion of the cells' variances about the law, which is more than 1
    where architectures differ (McCullagh and Nelder 1989, section 8.3)."""

    level: float
    slope: float
    centre: float
    span: tuple[float, float]
    degrees: int

    def of(self, params: Array, budget: float) -> Array:
        """The standard deviations (nats) of runs of such sizes."""
        x = np.clip(np.log(params / np.sqrt(budget)), *self.span) - self.centre
        return np.exp((self.level + self.slope * x) / 2)

    def means(self, rows: pd.DataFrame, cell: list[str]) -> pd.DataFrame:
        """Of runs at one budget, by cells of one architecture and size: the mean `loss` of how many `runs`, and the
        standard `error` that noise gives it."""
        deviation = self.of(rows["params"].to_numpy(float), float(rows["budget"].iloc[0]))
        cells = rows.assign(error=deviation).groupby(cell)
        found = cells.agg(loss=("loss", "mean"), runs=("loss", "size"), error=("error", "first"))
        return found.assign(error=found["error"] / np.sqrt(found["runs"])).reset_index()


def noise(parts: Mapping[str, Runs], part: str) -> Noise | None:
    """Of a part: by its own seeds, or where these are few by the main part's, or by all. None where no cell has two
    seeds. A seed draws the weights and the order of the data, and where that moves all architectures alike, degrees are
    fewer than is said here."""
    cells = _cells(parts)
    for some in (cells[cells["part"] == part], cells[cells["part"] == MAIN]):
        if some["freedom"].sum() >= FEWEST_DEGREES:
            return _law(some)
    return _law(cells) if len(cells) else None


def pooled(parts: Mapping[str, Runs]) -> tuple[Pooled, ...]:
    """By part and budget, of such as have cells of two seeds."""
    groups = _cells(parts).groupby(["part", "budget"], sort=False)
    return tuple(_pooled(cells) for _, cells in groups)


def _cells(parts: Mapping[str, Runs]) -> pd.DataFrame:
    rows = pd.concat([runs.used.assign(part=name) for name, runs in parts.items()])
    rows = rows.drop_duplicates("run_id")  # parts may share runs
    cells = rows.groupby(CELL, sort=False)["loss"].agg(["count", "var"]).query("count > 1").reset_index()
    return cells.assign(freedom=cells["count"] - 1)


def _pooled(cells: pd.DataFrame) -> Pooled:
    degrees = int(cells["freedom"].sum())
    value = float(np.sqrt((cells["freedom"] * cells["var"]).sum() / degrees))
    low, high = (
        value * float(np.sqrt(degrees / stats.chi2.ppf(p, degrees))) for p in ((1 + LEVEL) / 2, (1 - LEVEL) / 2)
    )
    sizes = float(cells["params"].min()), float(cells["params"].max())
    part, budget = cells["part"].iloc[0], float(cells["budget"].iloc[0])
    return Pooled(part, budget, Estimate(value, low, high), degrees, len(cells), sizes)


def _law(cells: pd.DataFrame) -> Noise:
    """By the likelihood of the cells' variances, each sigma^2 chi^2 / freedom; without a slope where they are few."""
    freedom, variance = (cells[name].to_numpy(float) for name in ("freedom", "var"))
    x = np.log(cells["params"].to_numpy(float) / np.sqrt(cells["budget"].to_numpy(float)))
    span, centre = (float(x.min()), float(x.max())), float(np.average(x, weights=freedom))
    mean = float(np.average(variance, weights=freedom))
    design = np.stack([np.ones_like(x), x - centre], 1)
    free = freedom.sum() >= FEWEST_DEGREES and span[0] < span[1]

    def unlikely(theta: Array) -> float:
        log = design[:, : len(theta)] @ theta
        return float(freedom @ (log + variance / mean * np.exp(-log)))

    found = optimize.minimize(unlikely, np.zeros(1 + free)).x
    level, slope = (*found.tolist(), 0.0)[:2]
    ratios = variance / mean / np.exp(design @ [level, slope])
    left = len(cells) - len(found)
    dispersion = float(freedom @ (ratios - 1) ** 2 / 2 / left) if left else 1.0
    degrees = int(freedom.sum() / max(1.0, dispersion))
    return Noise(level + float(np.log(mean)), slope, centre, span, max(1, degrees))
