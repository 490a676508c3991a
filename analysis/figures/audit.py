"""What laws fitted to the smaller budgets said of the larger ones: predicted against held-out loss, and by distance."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eutectic.analysis.audit import Holdout, audit
from eutectic.analysis.figures import style
from eutectic.analysis.laws import CHINCHILLA
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report

SMALLEST = 1e-3  # % of error that is drawn
MOST_FITTED, MOST_RUNS = 12, 1000  # sets of budgets of an architecture, and runs, that are audited


def figure(runs: Runs, report: Report) -> Figure | None:
    """Left, each run held out, by its architecture's L(N, D); right, the error of every law against the distance.
    None where nothing is held out (it takes three budgets) and where every law is refused."""
    some = _some(runs)
    found = [h for h in audit(some) if not h.refusal]
    own = [h for h in found if h.law == CHINCHILLA.name and h.arch in report.shares]
    if not own:
        return None
    drawn, (left, right) = style.panels(2)
    looks = style.looks(runs.archs, report.shares)
    for holdout in own:
        _held(left, holdout, looks[holdout.arch], some.budgets)
    _square(left, own)
    _errors(right, found, report)
    heading = Line2D([], [], linestyle="", label="decades beyond\nthose fitted (right)")
    handles = [Line2D([], [], linestyle="", markersize=4, label=arch, **look) for arch, look in looks.items()]
    distances = right.get_legend_handles_labels()[0]
    drawn.legend(handles=[*handles, heading, *distances], loc="outside right upper", title="architecture (left)")
    style.caption(
        drawn,
        report,
        "Laws are fitted to the lowest two budgets, three, and so on, and predict the runs of those above. Left, by "
        "each architecture's L(N, D): filled, the next budget; white, those beyond; what runs off the axis is cut. "
        "Right, small, each architecture, or family of shares, and set of budgets; large, their geometric mean at a "
        f"distance. Audited: {len(some.used)} runs at {len(some.budgets)} budgets, out of",
    )
    return drawn


def _some(runs: Runs) -> Runs:
    """All, or of many budgets some from the lowest to the highest, and of many runs every so many."""
    count = max(3, 2 + MOST_FITTED // len(runs.archs))
    chosen = [runs.budgets[k] for k in np.linspace(0, len(runs.budgets) - 1, count).round().astype(int)]
    rows = runs.used[runs.used["budget"].isin(chosen)].sort_values(["arch", "budget", "params", "seed"], kind="stable")
    return replace(runs, used=rows.iloc[:: -(-len(rows) // MOST_RUNS)])


def _held(axes: Axes, holdout: Holdout, look: style.Look, budgets: list[float]) -> None:
    following = budgets.index(holdout.held) == budgets.index(holdout.trained[-1]) + 1
    face = look["color"] if following else "white"
    axes.plot(holdout.observed, holdout.predicted, linestyle="", markersize=4, markerfacecolor=face, **look)


def _square(axes: Axes, shown: Sequence[Holdout]) -> None:
    observed = np.concatenate([h.observed for h in shown])
    predicted = np.concatenate([h.predicted for h in shown])
    low, high = observed.min(), observed.max()
    bottom, top = max(predicted.min(), low - (high - low)), min(predicted.max(), high + (high - low))
    room = 0.04 * (max(top, high) - min(bottom, low))
    ends = min(bottom, low) - room, max(top, high) + room
    axes.plot(ends, ends, color=style.NEUTRAL, linewidth=0.8, linestyle="--", zorder=1)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(*ends)
    axes.set_xlabel("observed " + style.LOSS)
    axes.set_ylabel("predicted loss (nats per token)")


def _errors(axes: Axes, shown: Sequence[Holdout], report: Report) -> None:
    """A row for each law, in it a level for each distance."""
    names = [h.law if h.arch in report.shares else f"{h.law}, family" for h in shown]
    rows = {name: -k for k, name in enumerate(dict.fromkeys(names))}
    where = np.array([rows[name] for name in names])
    percent = np.maximum(100 * np.expm1([h.rms for h in shown]), SMALLEST)
    decades = np.array([h.decades for h in shown]).round(2)
    distances = np.unique(decades)
    for k, distance in enumerate(distances):
        colour = style.budget_colour(k, len(distances))
        level = 0.7 * ((k + 0.5) / len(distances) - 0.5)
        here = decades == distance
        axes.plot(percent[here], where[here] - level, "o", color=colour, markersize=2.5, alpha=0.6)
        laws = np.unique(where[here])
        mean = [float(np.exp(np.log(percent[here & (where == law)]).mean())) for law in laws]
        axes.plot(mean, laws - level, "D", color=colour, markersize=5, label=f"{distance:.2f}")
    axes.set_yticks(list(rows.values()), list(rows))
    axes.set_ylim(0.5 - len(rows), 0.5)
    axes.set_xlabel("rms error of the predicted loss (%)")
    style.log_axis(axes, "x")
