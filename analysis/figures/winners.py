"""Which architecture is best at each budget, by each way to count what it takes."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eutectic.analysis.campaign import MAIN
from eutectic.analysis.conventions import Ranking
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.figures import style

_PALE = 0.75  # of white in a cell, for its words to be read


def figure(e: Evidence) -> Figure | None:
    """A row for each count, a column for each budget. None where nothing is compared."""
    if not e.rankings:
        return None
    runs = e.parts[MAIN]
    counts = list(dict.fromkeys(one.measure for one in e.rankings))
    budgets = list(dict.fromkeys(one.budget for one in e.rankings))
    drawn, (axes,) = style.panels(1)
    drawn.set_size_inches(1.6 + 1.9 * len(budgets), 1.5 + 0.42 * len(counts))
    looks = style.looks(runs.archs, runs.shares)
    for one in e.rankings:
        x, y = budgets.index(one.budget), counts.index(one.measure)
        colour = _pale(looks[one.winner]["color"]) if one.winner else (1.0, 1.0, 1.0)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=2))
        axes.text(x, y, _words(one), ha="center", va="center", fontsize=7)
    axes.set_xlim(-0.5, len(budgets) - 0.5)
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.set_xticks(range(len(budgets)), [style.number(budget) for budget in budgets])
    axes.set_yticks(range(len(counts)), counts)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("training compute (FLOPs)")
    rows = runs.used[runs.used["arch"].isin(e.laws)]
    style.below(
        drawn,
        "The architecture of least loss by the laws L(N, D), or where it says so by the lowest sizes trained, in which "
        "share of resamples it is, and in which any hybrid is. The wall clock is that of runs that shared a GPU. "
        f"{style.runs(rows)}.",
    )
    return drawn


def _pale(colour: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(np.array(colour[:3]) * (1 - _PALE) + _PALE)


def _words(one: Ranking) -> str:
    if one.refusal:
        return "not tested"
    hybrids = "" if np.isnan(one.hybrids) else f"\na hybrid {one.hybrids:.0%}"
    return f"{style.without_options(one.winner)} {one.wins:.0%}{hybrids}"
