"""How much losses differ between placements of the same layers, beside how much they do between shares of attention."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eutectic.analysis.archs import SHAPE, mixers
from eutectic.analysis.campaign import MAIN, PLACEMENT, RATIO
from eutectic.analysis.compare import Estimate, estimate
from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs
from eutectic.analysis.minima import RESAMPLES
from eutectic.analysis.noise import Noise
from eutectic.arch import layout

FEWEST = 3  # placements, and shares, to speak of a spread


@dataclass(frozen=True)
class Spread:
    """At one budget. cells: means of runs, with columns kind (placement or share), name, share, n_layers, d_model,
    loss, runs, error (that noise gives the mean). placements, shares: standard deviations (nats) of their true losses
    at a size, its noise taken off; gap: the former less the latter; among_hybrids: the same, pure ends left out, None
    where too few remain."""

    budget: float
    cells: pd.DataFrame
    placements: Estimate
    shares: Estimate
    gap: Estimate
    among_hybrids: Estimate | None


def spreads(parts: Mapping[str, Runs], noise: Noise, seed: int = 0) -> tuple[Spread, ...]:
    """At every budget that placements were trained at, with the shares trained at the same sizes in the part `ratio`,
    or else in the main one."""
    rows = parts[PLACEMENT].used
    rows = rows.assign(name=rows["arch"].map(lambda arch: layout.parse(arch).placement))
    found = []
    for budget, placed in rows.dropna(subset="name").groupby("budget"):
        shared = next((some for part in (RATIO, MAIN) if len(some := _beside(parts.get(part), placed))), None)
        if shared is not None:
            both = (placed, "placement"), (shared.assign(name=shared["arch"]), "share")
            cells = pd.concat([_cells(rows, kind, noise) for rows, kind in both])
            found.append(_spread(float(str(budget)), cells, noise.degrees, seed))
    return tuple(one for one in found if one is not None)


def _beside(runs: Runs | None, placed: pd.DataFrame) -> pd.DataFrame:
    """Runs of the shares of attention among the same mixers, at the budget and sizes of placements; none where the
    shares of a size are fewer than FEWEST."""
    if runs is None:
        return placed[:0]
    kinds = mixers(str(placed["arch"].iloc[0]))
    archs = [a for a in runs.archs if mixers(a) <= kinds and layout.parse(a).placement is None]
    rows = runs.used[runs.used["arch"].isin(archs) & (runs.used["budget"] == placed["budget"].iloc[0])]
    rows = rows.merge(placed[SHAPE].drop_duplicates(), on=SHAPE)
    return rows[rows.groupby(SHAPE)["arch"].transform("nunique") >= FEWEST]


def _cells(rows: pd.DataFrame, kind: str, noise: Noise) -> pd.DataFrame:
    return noise.means(rows.assign(share=rows["attn_share"]), [*SHAPE, "name", "share"]).assign(kind=kind)


def _spread(budget: float, cells: pd.DataFrame, degrees: int, seed: int) -> Spread | None:
    """None where no size has enough placements."""
    shapes = cells[cells["kind"] == "share"][SHAPE].drop_duplicates()
    cells = cells.merge(shapes, on=SHAPE)
    cells = cells[cells.groupby([*SHAPE, "kind"])["name"].transform("size") >= FEWEST].reset_index(drop=True)
    if cells["kind"].nunique() < 2:
        return None
    random = np.random.default_rng(seed)
    placed, shared = (cells[cells["kind"] == kind] for kind in ("placement", "share"))
    mixed = shared[(shared["share"] > 0) & (shared["share"] < 1)]
    order, amount = (_deviation(some, random) for some in (placed, shared))
    inner = _deviation(mixed, random) if mixed.groupby(SHAPE).size().min() >= FEWEST else None
    return Spread(
        budget,
        cells,
        placements=estimate(order, degrees, log=False),
        shares=estimate(amount, degrees, log=False),
        gap=estimate(order - amount, degrees, log=False),
        among_hybrids=None if inner is None else estimate(order - inner, degrees, log=False),
    )


def _deviation(cells: pd.DataFrame, random: np.random.Generator) -> Array:
    """Standard deviation of cells about their size's mean, and of draws of their noise, (1 + RESAMPLES,): that of the
    means less what noise adds to it (twice, for draws, whose means have it already), and 0 where that is more."""
    variances = []
    for _, own in cells.groupby(SHAPE):
        errors = own["error"].to_numpy()
        drawn = own["loss"].to_numpy() + errors * random.normal(size=(RESAMPLES, len(own)))
        added = float((errors**2).mean())
        variance = np.concatenate([[own["loss"].var()], drawn.var(1, ddof=1) - added]) - added
        variances.append(variance)
    return np.sqrt(np.maximum(np.mean(variances, 0), 0.0))
