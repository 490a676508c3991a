"""What laws said of runs they were not fitted to: of larger budgets, by distance, and of shares of attention."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eutectic.analysis.archs import families
from eutectic.analysis.audit import Audits, Holdout, LeftOut, part
from eutectic.analysis.figures import style
from eutectic.analysis.laws import CHINCHILLA
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report

SMALLEST = 1e-3  # % of error that is drawn
APART = 0.02  # shares that the runs of one are spread over, by size


def figure(runs: Runs, report: Report) -> Figure | None:
    """Of larger budgets held out, each run by its architecture's L(N, D), and the error of every law against the
    distance; of shares of attention left out, each run by the law of the others. None where nothing could be held out
    (it takes three budgets, or four shares) and where every law is refused."""
    audits, looks = report.audits, style.looks(runs.archs, report.shares)
    own = [h for h in audits.held if not h.refusal and h.law == CHINCHILLA.name and h.arch in looks]
    left_out = [one for one in audits.left_out if not one.refusal]
    if not own and not left_out:
        return None
    drawn, panels = style.panels(2 * bool(own) + bool(left_out))
    shown = {h.arch for h in (*own, *(h for one in left_out for h in one.holdouts))}
    handles: list[Artist] = [
        Line2D([], [], linestyle="", markersize=4, label=arch, **look) for arch, look in looks.items() if arch in shown
    ]
    text = ""
    if own:
        held, by_law, *_ = panels
        _held(held, own, looks, audits.budgets)
        _errors(by_law, audits, report)
        handles.append(Line2D([], [], linestyle="", label="decades beyond\nthose fitted"))
        handles += by_law.get_legend_handles_labels()[0]
        text = (
            "Laws are fitted to the lowest two budgets, three, and so on, and predict the runs of those above. First, "
            "by each architecture's L(N, D): filled, the next budget; white, those beyond; what runs off the axis is "
            "cut. Then, small, each architecture, or family of shares, and set of budgets; large, their geometric mean "
            "at a distance. "
        )
    if left_out:
        _left_out(panels[-1], left_out, looks)
        text += (
            "By share left out: each run, by size from left to right, over what the law of its family's other shares "
            "predicts; black, their mean and standard deviation. "
        )
    drawn.legend(handles=handles, loc="outside right upper", title="architecture")
    members = families(runs.archs)
    behind = shown.union(*(members[one.family] for one in left_out))
    some, every = (rows[rows["arch"].isin(behind)] for rows in (part(runs).used, runs.used))
    text += f"Audited: {len(some)} runs at {len(audits.budgets)} budgets, out of"
    style.caption(drawn, report, every, text)
    return drawn


def _held(axes: Axes, shown: Sequence[Holdout], looks: Mapping[str, style.Look], budgets: Sequence[float]) -> None:
    for holdout in shown:
        look = looks[holdout.arch]
        following = budgets.index(holdout.held) == budgets.index(holdout.trained[-1]) + 1
        face = look["color"] if following else "white"
        axes.plot(holdout.observed, holdout.predicted, linestyle="", markersize=4, markerfacecolor=face, **look)
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


def _errors(axes: Axes, audits: Audits, report: Report) -> None:
    """A row for each law, in it a level for each distance."""
    shown = [h for h in audits.held if not h.refusal]
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


def _left_out(axes: Axes, shown: Sequence[LeftOut], looks: Mapping[str, style.Look]) -> None:
    """A column for each share, a little apart where it was left out of several families."""
    names = list(dict.fromkeys(one.family for one in shown))
    axes.axhline(0.0, color=style.NEUTRAL, linewidth=0.8, linestyle="--", zorder=1)
    for one in shown:
        centre = one.share + 3 * APART * (names.index(one.family) - (len(names) - 1) / 2)
        for h in one.holdouts:
            off = 100 * (np.divide(h.observed, h.predicted) - 1)
            at = centre + np.linspace(-APART, APART, h.n)
            axes.plot(at, off, linestyle="", markersize=3, alpha=0.7, **looks[h.arch])
        deviation = float(np.sqrt(max(one.rms**2 - one.bias**2, 0.0)))
        axes.errorbar(
            centre, 100 * one.bias, 100 * deviation, fmt="_", color="black", markersize=9, capsize=2, zorder=4
        )
    axes.set_title(", ".join(f"{name} family" for name in names))
    axes.set_xlabel("attention's share, left out")
    axes.set_ylabel("observed over predicted loss, less 1 (%)")
