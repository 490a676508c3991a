"""One look for every figure: a colour per attention share, a marker per mixer, a caption that counts what is shown."""

import textwrap
import zlib
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from eutectic.analysis.report import Report
from eutectic.arch import layout

INCHES_PER_PANEL = 3.4
_MARKERS = "osD^vP*X<>hp"
RC: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "eutectic",
    "savefig.dpi": 200,
}


def panels(count: int, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A row of axes."""
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(INCHES_PER_PANEL * count + 0.6, 3.6), layout="constrained")
        axes = figure.subplots(1, count, sharey=share_y, squeeze=False)[0]
    return figure, list(axes)


def colour(arch: str) -> tuple[float, ...]:
    """Of viridis, which reads without colour vision, by attention share: the same for an architecture everywhere."""
    return tuple(matplotlib.colormaps["viridis"](0.92 * layout.parse(arch).share("attn")))


def marker(arch: str) -> str:
    """By the layout's first mixer that is not attention."""
    names = [term.name for layer in layout.parse(arch).block for term, _ in layer.parts]
    first = next((name for name in names if name != "attn"), "attn")
    return _MARKERS[zlib.crc32(first.encode()) % len(_MARKERS)]


def budget_colour(index: int, count: int) -> tuple[float, ...]:
    return tuple(matplotlib.colormaps["cividis"](0.85 * index / max(1, count - 1)))


def log_axis(axes: Axes, which: str) -> None:
    """A log axis whose ticks are labelled at 1, 2 and 5 where it spans under a decade and a half."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    getattr(axes, f"set_{which}scale")("log")
    low, high = sorted(axis.get_view_interval())
    if high / low < 30:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_formatter(NullFormatter())


def compute_axis(axes: Axes, budgets: Sequence[float]) -> None:
    """A log axis of training compute, ticked where budgets are."""
    axes.set_xscale("log")
    axes.set_xticks(budgets, [f"{budget:.3g}".replace("e+", "e") for budget in budgets])
    axes.set_xticks([], minor=True)
    axes.set_xlim(min(budgets) / 1.2, max(budgets) * 1.2)
    axes.set_xlabel("training compute (FLOPs)")


def _short(value: float) -> str:
    """20000 -> 20k, 7.5 -> 7.5."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def caption(figure: Figure, report: Report, text: str) -> None:
    """Below the panels: what is drawn, and the runs, seeds and convention behind it."""
    seeds = f"{len(report.seeds)} seed{'s' * (len(report.seeds) > 1)}"
    dropped = f"; {len(report.dropped)} more diverged and are not shown" if report.dropped else ""
    whole = f"{text} {report.n_runs} runs, {seeds}{dropped}. FLOPs by {report.convention}, {report.tokenizer} tokens."
    width = int(figure.get_figwidth() * 19)
    figure.supxlabel(textwrap.fill(whole, width), fontsize=7, x=0.01, ha="left")
