"""Cells that do not decide on their best settings alone, decided by the curvature that cells of their group share.

What twice the learning rate costs differs little between sizes of one architecture; where the best rate lies does. With
a level and a slope of its own for each cell, and second-order terms of all of them together, three runs that are not on
a line place a cell's minimum, where a quadratic of its own takes seven. A cell whose own runs have no minimum neither
takes nor lends any curvature: they speak against it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.linalg import block_diag

from eutectic.analysis.hyper import (
    NO_MINIMUM,
    TOO_FEW,
    Array,
    HyperOptimum,
    Quadratic,
    Window,
    design,
    least_squares,
    points,
    with_quadratic,
)


def share(cells: Sequence[HyperOptimum], runs: pd.DataFrame) -> list[HyperOptimum]:
    """These cells of a table of runs, which has a column `group`, in their order; decided ones stay as they are."""
    rows = dict(list(runs.groupby(["group", "params", "tokens"])))
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, cell in enumerate(cells):
        if cell.status != NO_MINIMUM:
            alike.setdefault((cell.group, *cell.best), []).append(place)
    decided = list(cells)
    for (_, *names), places in alike.items():
        group = [cells[place] for place in places]
        if names and any(cell.status == TOO_FEW for cell in group):
            used = [_used(cell, rows[cell.group, cell.params, cell.tokens]) for cell in group]
            for place, found in zip(places, _together(group, used), strict=True):
                decided[place] = found
    return decided


def _used(cell: HyperOptimum, runs: pd.DataFrame) -> tuple[Array, Array]:
    """ln settings and losses of the runs in the cell's window."""
    z, losses = points({name: runs[name].to_numpy(float) for name in cell.best}, runs["loss"].to_numpy(float))
    keep = Window(cell.excess).keep(z, losses)
    return z[keep], losses[keep]


def _together(cells: Sequence[HyperOptimum], used: Sequence[tuple[Array, Array]]) -> list[HyperOptimum]:
    """The cells, those of too few runs by one least-squares fit: of each its level and slopes, of all one curvature."""
    linear = 1 + len(cells[0].best)
    designs = [design(z - z.mean(0)) for z, _ in used]
    placed = [k for k, rows in enumerate(designs) if np.linalg.matrix_rank(rows[:, :linear]) == linear]
    found = list(cells)
    if not placed:
        return found
    own = block_diag(*(designs[k][:, :linear] for k in placed))
    rows = np.hstack([own, np.vstack([designs[k][:, linear:] for k in placed])])
    losses = np.concatenate([used[k][1] for k in placed])
    joint = least_squares(rows, losses)
    if joint is None:
        return found
    ends = np.cumsum([len(designs[k]) for k in placed])
    for turn, k in enumerate(placed):
        if cells[k].status == TOO_FEW:
            which = np.r_[linear * turn : linear * (turn + 1), own.shape[1] : rows.shape[1]]
            theirs = joint.residuals[ends[turn] - len(designs[k]) : ends[turn]]
            fitted = Quadratic(joint.coefficients[which], joint.covariance[np.ix_(which, which)], joint.degrees, theirs)
            z, middle = used[k][0], used[k][0].mean(0)
            found[k] = with_quadratic(replace(cells[k], shared=True), z - middle, middle, fitted)
    return found
