"""Loss of grafts against the FLOPs beyond their parent's, with the parent trained on and the same from scratch."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from eutectic.analysis.figures import style
from eutectic.analysis.graft import Grafts, Point, grafts


def figure(rows: pd.DataFrame) -> Figure | None:
    """rows: of `runs`. A panel for each parent; None where nothing was trained on from one."""
    found = [one for one in grafts(rows) if one.cells]
    if not found:
        return None
    drawn, panels = style.panels(len(found))
    looks = style.categories(list(dict.fromkeys(arch for one in found for arch in one.archs)))
    for axes, one in zip(panels, found, strict=True):
        _panel(axes, one, looks)
    _legend(drawn, looks)
    seeds = sorted({seed for one in found for seed in one.seeds})
    bars = "Bars: 95% by Student's t over seeds. " if len(seeds) > 1 else ""
    style.below(
        drawn,
        "Extra compute is beyond the parent's, the regression of new mixers included. From scratch: the same model "
        f"with the parent's compute, as far as it is known, and the extra, all its own. {bars}"
        f"{sum(one.runs for one in found)} runs, {len(seeds)} seed{'s' * (len(seeds) > 1)}; "
        f"{sum(one.left_out for one in found)} that did not end left out. FLOPs by {found[0].convention}, "
        f"{found[0].tokenizer} tokens.",
    )
    return drawn


def _panel(axes: Axes, one: Grafts, looks: dict[str, style.Look]) -> None:
    axes.axhline(one.loss, color=style.NEUTRAL, linestyle=":", linewidth=1.0, zorder=1)
    for arch in one.archs:
        cells = one.of(arch)
        _line(axes, [cell.trained_on for cell in cells], "-", looks[arch])
        _line(axes, [cell.scratch for cell in cells if cell.scratch], "--", looks[arch] | {"markerfacecolor": "white"})
    spent = "FLOPs unknown" if math.isnan(one.flops) else f"{style.number(one.flops)} FLOPs"
    axes.set_title(f"{one.arch}, width {one.d_model}, {spent}")
    style.log_axis(axes, "x")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))
    style.log_axis(axes, "y")
    axes.set_xlabel("extra training compute (FLOPs)")
    style.y_label(axes, style.LOSS)


def _line(axes: Axes, points: Sequence[Point], line: str, look: style.Look) -> None:
    x, y, low, high = np.array([(p.extra, p.loss, p.low, p.high) for p in points]).reshape(-1, 4).T
    bars = style.error(y, low, high)
    axes.errorbar(x, y, bars, linestyle=line, markersize=5, capsize=2, elinewidth=0.8, **look)


def _legend(drawn: Figure, looks: dict[str, style.Look]) -> None:
    handles = [Line2D([], [], label=arch, **look) for arch, look in looks.items()]
    plain: style.Look = {"color": style.NEUTRAL}
    handles += [
        Line2D([], [], linestyle="-", marker="o", label="from the parent", **plain),
        Line2D([], [], linestyle="--", marker="o", markerfacecolor="white", label="from scratch", **plain),
        Line2D([], [], linestyle=":", linewidth=1.0, label="the parent", **plain),
    ]
    drawn.legend(handles=handles, loc="outside right upper", title="architecture")
