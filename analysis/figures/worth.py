"""What each architecture's compute is worth at every budget, by the lowest of its sizes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eutectic.analysis.campaign import MAIN
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.figures import style
from eutectic.analysis.worth import Worth

SHOWN = 1.6  # of an interval: down to a value over this, and up to it times this


def figure(e: Evidence) -> Figure | None:
    """A panel for each budget, architectures from the worst to the best of the last that all were trained at. None
    where noise is not known from seeds, and of one architecture or budget."""
    if not e.worth:
        return None
    runs = e.parts[MAIN]
    budgets = sorted({budget for one in e.worth for budget in one.multipliers})
    of_all = [budget for budget in budgets if all(budget in one.multipliers for one in e.worth)]
    ranked = sorted(e.worth, key=lambda one: [-one.multipliers[budget].value for budget in of_all[-1:]])
    looks = style.looks(runs.archs, runs.shares)
    drawn, panels = style.panels(len(budgets), share_y=True)
    drawn.set_size_inches(drawn.get_figwidth(), max(3.2, 1.3 + 0.22 * len(ranked)))
    shown = [found for one in ranked for found in one.multipliers.values() if 0 < found.value < np.inf]
    low = min([1.0, *(max(found.low, found.value / SHOWN) for found in shown)])
    high = max([1.0, *(min(found.high, found.value * SHOWN) for found in shown)])
    for axes, budget in zip(panels, budgets, strict=True):
        _budget(axes, ranked, budget, looks)
        axes.set_title(f"{style.number(budget)} FLOPs")
        axes.set_xlabel(f"share of {ranked[0].reference}'s FLOPs for the same loss")
        axes.set_xscale("log")
        axes.set_xlim(low / 1.05, high * 1.05)
        style.log_axis(axes, "x")
    panels[0].set_yticks(range(len(ranked)), [one.arch for one in ranked])
    rows = runs.used[runs.used["arch"].isin([ranked[0].reference, *(one.arch for one in ranked)])]
    style.below(
        drawn,
        f"Left of 1, the architecture is better than {ranked[0].reference}: by the lowest mean loss of a size at each "
        "budget, in straight lines between budgets in logarithms, with 95% intervals by seeds' noise. Open: the FLOPs "
        "that it takes lie outside of its budgets, where the nearest line is carried on, "
        f"at most as far again. What runs off the axis is cut. {style.runs(rows)}.",
    )
    return drawn


def _budget(axes: Axes, ranked: list[Worth], budget: float, looks: dict[str, style.Look]) -> None:
    for y, one in enumerate(ranked):
        found = one.multipliers.get(budget)
        if found is None or not 0 < found.value < np.inf:
            continue
        ends = style.ends(np.array([found.low]), np.array([found.high]))
        face = "white" if one.extrapolated(budget) else looks[one.arch]["color"]
        error = style.error(np.array([found.value]), *ends)
        axes.errorbar(
            [found.value], [y], xerr=error, markersize=4.5, capsize=1.5, mfc=face, linestyle="", **looks[one.arch]
        )
    axes.axvline(1.0, color=style.NEUTRAL, linewidth=0.8, linestyle="--", zorder=1)
