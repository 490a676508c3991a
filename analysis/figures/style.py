"""One look for every figure: palette, markers, axes, legend, and a caption that counts what is shown."""

import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from eutectic.analysis.archs import families, mixers
from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report
from eutectic.analysis.table import counted

Look = dict[str, Any]  # colour and marker, as matplotlib takes them

INCHES_PER_PANEL, INCHES_PER_ROW = 3.4, 3.0
MOST_COLUMNS = 4
MOST_PANELS = 6  # of one architecture each
MANY_ARCHS, LARGER = 6, 1.4  # architectures in one panel above which it is so much larger
MANY = 5000  # runs in a figure above which their points are an image within the SVG
POINTS = 0.9  # the z-order of those points
FAR = 1e30  # off every axis, for ends that are open
LOSS = "validation loss (nats per token)"
MARKERS = "osD^vP*X<>hpd8"
SYMBOLS = {  # the same markers, as plotly names them
    **{"o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down", "P": "cross"},
    **{"*": "star", "X": "x", "<": "triangle-left", ">": "triangle-right", "h": "hexagon", "p": "pentagon"},
    **{"d": "diamond-tall", "8": "octagon"},
}
# told apart with any colour vision, in shades too: four of Okabe & Ito's, an olive and two violets
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8A000", "#9B30FF", "#4B0092")
PALEST, DARKEST = 0.7, 0.75  # of white, and of black, in the ends of a hue's shades
STROKES = {"-": "solid", "--": "dash"}  # of lines, and as plotly names them
NEUTRAL, ACCENT, COOL = "0.35", "#D55E00", "#0072B2"
RC: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "eutectic",
    "savefig.dpi": 200,
}


def panels(count: int, share_y: bool = False, rows_of: int = 1, archs: int = 1) -> tuple[Figure, list[Axes]]:
    """Axes in rows of up to four, of about equal length. rows_of: where it is more than one, rows are of so many, which
    share a y axis. archs: how many architectures are shown."""
    rows = -(-count // (rows_of if rows_of > 1 else MOST_COLUMNS))
    columns = -(-count // rows)
    scale = LARGER if archs > MANY_ARCHS else 1.0
    size = (scale * INCHES_PER_PANEL * columns + 0.6, scale * INCHES_PER_ROW * rows + 0.6)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, sharey="row" if rows_of > 1 else share_y, squeeze=False).ravel()
    for spare in axes[count:]:
        spare.remove()
    return figure, list(axes[:count])


def y_label(axes: Axes, text: str) -> None:
    """Once for a row of panels."""
    spec = axes.get_subplotspec()
    if spec is not None and spec.is_first_col():
        axes.set_ylabel(text)


def rasterize(axes: Axes, runs: int) -> None:
    """Make one image of all that is drawn at z-order POINTS, where runs are many."""
    if runs > MANY:
        axes.set_rasterization_zorder(POINTS + 0.05)


def looks(archs: Sequence[str], shares: dict[str, float]) -> dict[str, Look]:
    """By architecture, the same in every figure of a sweep, where stroke() has hybrids dashed.

    Where all mix attention with the same mixers, each in a share of its own, the colour runs with that, dark to bright;
    else each set of mixers has a hue, the largest the first, pale to dark with more attention, and pure attention is
    black.
    """
    kinds = families(list(archs))
    colours: dict[str, tuple[float, ...]] = dict.fromkeys(archs, (0.0, 0.0, 0.0))
    if len(kinds) < 2 and len({shares[arch] for arch in archs}) == len(archs):
        colours = {arch: matplotlib.colormaps["plasma"](0.8 * shares[arch])[:3] for arch in archs}
    else:
        mixed = [[arch for arch in members if mixers(arch) != {"attn"}] for members in kinds.values()]
        for hue, own in zip(itertools.cycle(HUES), sorted(mixed, key=len, reverse=True)):
            colours |= {arch: _shade(hue, (k + 0.5) / len(own)) for k, arch in enumerate(own)}
    return {arch: {"color": colours[arch], "marker": MARKERS[k % len(MARKERS)]} for k, arch in enumerate(archs)}


def _shade(hue: str, level: float) -> tuple[float, ...]:
    """From pale at 0 to dark at 1, the hue itself halfway."""
    end, amount = (1.0, PALEST) if level < 0.5 else (0.0, DARKEST)
    amount *= abs(2 * level - 1)
    return tuple((1 - amount) * value + amount * end for value in to_rgb(hue))


def stroke(arch: str) -> Literal["-", "--"]:
    """Of an architecture's lines: solid for one sequence mixer alone, dashed for a hybrid."""
    return "--" if len(mixers(arch)) > 1 else "-"


def hexadecimal(look: Look) -> str:
    """The colour as a page takes it, e.g. #0072b2."""
    return to_hex(look["color"])


def categories(names: Sequence[str]) -> dict[str, Look]:
    """By name, the first in black, for what has no order."""
    colours, markers = itertools.cycle(("black", *HUES)), itertools.cycle(MARKERS)
    return {name: {"color": next(colours), "marker": next(markers)} for name in names}


def without_options(layout: str) -> str:
    """hyena_implicit(max_length=512)*3+attn: hyena_implicit*3+attn, where there is little room."""
    return re.sub(r"\([^)]*\)", "", layout)


def chosen(archs: Sequence[str], runs: Runs) -> tuple[list[str], str]:
    """Architectures that have a panel: all, or, of many, pure attention and those whose runs at the largest budget have
    the least loss; and what a caption says of the others."""
    if len(archs) <= MOST_PANELS:
        return list(archs), ""
    largest = runs.used[runs.used["budget"] == max(runs.budgets)]
    least = largest.groupby("arch")["loss"].min().reindex(list(archs), fill_value=np.inf)
    ranked = sorted(archs, key=lambda arch: (runs.shares[arch] < 1.0, least[arch]))
    first, others = ranked[:MOST_PANELS], ranked[MOST_PANELS:]
    said = f" Panels: those of least loss at {number(max(runs.budgets))} FLOPs, and attention"
    return [arch for arch in archs if arch in first], f"{said}; not shown: {', '.join(others)}."


def budget_colour(index: int, count: int) -> tuple[float, ...]:
    return tuple(matplotlib.colormaps["cividis"](0.8 * index / max(1, count - 1)))


def budget_colours(count: int) -> list[str]:
    """As a page takes them."""
    return [hexadecimal({"color": budget_colour(index, count)}) for index in range(count)]


def number(value: float) -> str:
    """1e15, 2.5e14, 300."""
    return f"{value:.3g}".replace("e+", "e").replace("e0", "e")


def log_axis(axes: Axes, which: str) -> None:
    """A log axis with ticks as close as its span has room for labels. After all is drawn on it."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    getattr(axes, f"set_{which}scale")("log")
    low, high = sorted(axis.get_view_interval())
    if high / low < 3:
        axis.set_major_locator(MaxNLocator(5))
        axis.set_minor_locator(NullLocator())
    elif high / low < 100:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0) if high / low < 8 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_formatter(NullFormatter())


def compute_axis(axes: Axes, budgets: Sequence[float]) -> None:
    """A log axis of training compute, ticked where budgets are, or at decades where they are many."""
    axes.set_xscale("log")
    if len(budgets) <= 6:
        axes.xaxis.set_major_locator(FixedLocator(list(budgets)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    span = (max(budgets) / min(budgets)) ** 0.09
    axes.set_xlim(min(budgets) / span, max(budgets) * span)
    axes.set_xlabel("training compute (FLOPs)")


def dodge(compute: Array, budgets: Sequence[float], index: int, count: int) -> Array:
    """Compute moved sideways, by much less than budgets are apart, so that what stands at one is told apart."""
    gap = float(np.diff(np.log(budgets)).min())
    return compute * float(np.exp(0.16 * gap * (index - (count - 1) / 2) / count))


def bound(axes: Axes, values: Iterable[float], ends: Iterable[float]) -> None:
    """Limit a log y axis to the values and as much of their intervals as leaves the values a third of it."""
    inner = np.log([v for v in values if np.isfinite(v)])
    outer = np.log([v for v in ends if np.isfinite(v) and v > 0])
    low, high = float(inner.min()), float(inner.max())
    room = max(high - low, 0.05)
    bottom = max(low - room, min(low, float(outer.min(initial=low)))) - 0.05 * room
    top = min(high + room, max(high, float(outer.max(initial=high)))) + 0.05 * room
    axes.set_ylim(float(np.exp(bottom)), float(np.exp(top)))


def ends(low: Array, high: Array) -> tuple[Array, Array]:
    """Of intervals of positive numbers, for drawing on a log axis: those that are open (0, inf) far off it."""
    return np.where(low == 0, FAR**-1, low), np.where(np.isinf(high), FAR, high)


def error(value: Array, low: Array, high: Array) -> Array:
    """Lengths of error bars, (2, n); none where there is no interval."""
    with np.errstate(invalid="ignore"):  # of a number and an end that are both infinite
        return np.nan_to_num(np.maximum([value - low, high - value], 0.0))


def key(arch: str, look: Look) -> Line2D:
    """What a legend has for an architecture."""
    return Line2D([], [], linestyle=stroke(arch), linewidth=1.0, markersize=4, label=arch, **look)


def key_to(figure: Figure, looks: Mapping[str, Look]) -> None:
    """A legend of architectures, right of all panels."""
    handles = [key(arch, look) for arch, look in looks.items()]
    columns = -(-len(handles) // 24)
    figure.legend(handles=handles, loc="outside right upper", title="architecture", ncols=columns, handlelength=3.2)


def legend(figure: Figure, axes: Axes, title: str = "architecture") -> None:
    """Right of all panels: the labels of one of them."""
    handles, labels = axes.get_legend_handles_labels()
    columns = -(-len(labels) // 24)
    figure.legend(handles, labels, loc="outside right upper", title=title, ncols=columns)


def caption(figure: Figure, report: Report, rows: pd.DataFrame, text: str) -> None:
    """Below the panels: what is drawn, and the runs, seeds and convention behind it. rows: of the runs that are shown
    or that what is shown is fitted to; of their architectures it says which are not."""
    reasons = pd.Series([reason for _, arch, _, reason in report.dropped if arch in set(rows["arch"])], dtype=str)
    dropped = f"; {len(reasons)} more not shown: {counted(reasons)}" if len(reasons) else ""
    below(figure, f"{text} {runs(rows)}{dropped}. FLOPs by {report.convention}, {report.tokenizer} tokens.")


def rows_of(rows: pd.DataFrame, cells: Iterable[tuple[str, float]]) -> pd.DataFrame:
    """Those of these architectures and budgets."""
    return rows[pd.MultiIndex.from_frame(rows[["arch", "budget"]]).isin(list(cells))]


def ratios(axes: Axes, x: "pd.Series[Any]", rows: pd.DataFrame, before: Any, colour: str, label: str) -> None:
    """Perplexities of a table's rows over what they were before, with the interval that the rows have of that."""
    values = [rows["perplexity"] / before, rows["ratio_low"], rows["ratio_high"]]
    middle, low, high = (value.to_numpy(float) for value in values)
    bars = error(middle, low, high)
    axes.errorbar(x, middle, bars, marker="o", markersize=4, color=colour, elinewidth=0.8, label=label)


def headroom(axes: Axes) -> None:
    """Room for a legend above what is drawn."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.2 * (high - low))


def runs(rows: pd.DataFrame) -> str:
    """How many are behind a table's rows: 2 runs, 1 seed."""
    counts = {"run": rows["run_id"].nunique(), "seed": rows["seed"].nunique()}
    return ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items())


def either(values: "pd.Series[Any]") -> str:
    """The different ones: 128 or 512."""
    return " or ".join(str(value) for value in sorted(values.unique()))


def below(figure: Figure, text: str) -> None:
    """A caption, in lines as wide as the figure."""
    width = int(figure.get_figwidth() * 19)
    figure.supxlabel(textwrap.fill(text, width), fontsize=7, x=0.01, ha="left")


def _short(value: float) -> str:
    """20000 -> 20k, 7.5 -> 7.5."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"
