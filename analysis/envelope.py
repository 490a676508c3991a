"""The lower envelope of training curves: at each compute, the run whose loss is lowest (approach 1).

Hoffmann et al. 2022, section 3.1: every run's loss is interpolated in ln C, and N and D of the lowest run at
log-spaced C give the power laws of the frontier.

Three cautions. A run on a cosine (or any decaying) schedule has intermediate losses that are too high: only its last
point is what a run planned for that compute would reach, so N* is pulled towards runs that are about to end. Curves at
a constant rate, of WSD before its decay, and final points (`of_runs`) are free of it. The lowest of many noisy curves
is lower than the truth: smooth them first. And neighbouring points are one run's, so that their scatter about a law
says nothing of its error: these laws carry no interval (resample the runs for one).
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eutectic.analysis.frontier import Frontier, PowerLaw, power_law
from eutectic.analysis.load import Runs

Array = NDArray[np.float64]
POINTS = 1000
WARM = 0.1  # of the smallest budget


@dataclass(frozen=True)
class Envelope:
    """The lowest curve at each compute that any passes through, and the laws of those off the edge.

    compute (FLOPs), loss (nats per token), params, tokens and curve (a run_id; of final points a size) are arrays of
    one length, by rising compute. edge: no curve of a smaller model, or none of a larger one, passes through this
    compute, so that the best size may lie beyond; such points are refused to the laws. n_curves: of those tried;
    n_best: of those lowest somewhere off the edge. Where these have fewer than two sizes, the laws are None.
    """

    arch: str
    n_curves: int
    n_best: int
    compute: Array
    loss: Array
    params: Array
    tokens: Array
    curve: NDArray[np.str_]
    edge: NDArray[np.bool_]
    frontier: Frontier


def of_sweep(runs: Runs) -> tuple[Envelope, ...]:
    """Of each architecture with training curves, from a tenth of the smallest budget on: before that all runs warm up,
    and losses tell of how often a model was updated more than of its size."""
    ids = runs.curves["run_id"].astype("category").cat
    archs = runs.used.set_index("run_id")["arch"].reindex(ids.categories).to_numpy()
    own = ((arch, (archs == arch)[ids.codes]) for arch in runs.archs)
    least = WARM * min(runs.budgets)
    return tuple(of_curves(arch, runs.curves[rows], runs.used, least=least) for arch, rows in own if rows.any())


def of_curves(
    arch: str, curves: pd.DataFrame, runs: pd.DataFrame, points: int = POINTS, least: float = 0.0
) -> Envelope:
    """Of training curves: `curves` as in the schema, and the `runs` they are of (run_id and params are used). least:
    compute to begin at.

    Rows without a finite train_loss or before the first FLOP are passed over, and so are curves that `runs` lacks.
    """
    codes, ids = pd.factorize(curves["run_id"])
    sizes = runs.set_index("run_id")["params"].reindex(pd.Index(ids)).to_numpy(np.float64)
    flops, tokens, losses = (curves[name].to_numpy(np.float64) for name in ("flops", "tokens", "train_loss"))
    used = np.isfinite(losses) & (flops > 0) & np.isfinite(sizes[codes])
    grid = np.geomspace(max(least, flops[used].min()), flops[used].max(), points)
    return _envelope(arch, np.asarray(ids), sizes, grid, codes[used], flops[used], tokens[used], losses[used])


def of_runs(arch: str, runs: pd.DataFrame, points: int = POINTS) -> Envelope:
    """Of final points (params, flops, tokens, loss): those of one size stand for a curve, and equal ones (seeds) for
    their mean. A size trained at one compute only is seen at no other.
    """
    means = runs.groupby(["params", "flops"], as_index=False)[["tokens", "loss"]].mean()
    codes, ids = pd.factorize(means["params"])
    flops, tokens, losses = (means[name].to_numpy(np.float64) for name in ("flops", "tokens", "loss"))
    grid = np.geomspace(flops.min(), flops.max(), points)
    return _envelope(arch, np.asarray(ids), np.asarray(ids, np.float64), grid, codes, flops, tokens, losses)


def _envelope(
    arch: str,
    ids: NDArray[np.generic],
    sizes: Array,
    compute: Array,
    codes: NDArray[np.intp],
    flops: Array,
    tokens: Array,
    losses: Array,
) -> Envelope:
    """ids and sizes: of (n_curves,); compute: to look at; the others of (n_rows,), codes saying whose each row is."""
    order = np.lexsort((flops, codes))
    codes, x, log_tokens, losses = codes[order], np.log(flops[order]), np.log(tokens[order]), losses[order]
    grid, points = np.log(compute), len(compute)
    loss, log_d, winner = np.full(points, np.inf), np.empty(points), np.empty(points, np.intp)
    smallest, largest = np.full(points, np.inf), np.full(points, -np.inf)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(codes)], strict=True):
        own, code = slice(start, end), codes[start]
        inside = slice(np.searchsorted(grid, x[start]), np.searchsorted(grid, x[end - 1], side="right"))
        here = np.interp(grid[inside], x[own], losses[own])
        lower = inside.start + np.flatnonzero(here < loss[inside])
        loss[lower], winner[lower] = here[lower - inside.start], code
        log_d[lower] = np.interp(grid[lower], x[own], log_tokens[own])
        smallest[inside] = np.minimum(smallest[inside], sizes[code])
        largest[inside] = np.maximum(largest[inside], sizes[code])
    seen = np.isfinite(loss)
    best, compute, loss, d = winner[seen], compute[seen], loss[seen], np.exp(log_d[seen])
    n = sizes[best]
    edge = (n == smallest[seen]) | (n == largest[seen])
    law = Frontier(arch, *(_law(compute[~edge], values[~edge], n[~edge]) for values in (loss, n, d)))
    return Envelope(
        arch,
        n_curves=len(starts),
        n_best=len(np.unique(best[~edge])),
        compute=compute,
        loss=loss,
        params=n,
        tokens=d,
        curve=ids[best].astype(np.str_),
        edge=edge,
        frontier=law,
    )


def _law(compute: Array, values: Array, sizes: Array) -> PowerLaw | None:
    law = power_law(compute, values) if len(np.unique(sizes)) > 1 else None
    return law and replace(law, interval=None, errors=None)
