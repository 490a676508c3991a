"""Loss against the heads of a gated convolution."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eutectic.analysis.archs import SHAPE
from eutectic.analysis.campaign import HEADS
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.figures import style
from eutectic.analysis.heads import HYENA, MIXER, Heads, with_heads


def figure(e: Evidence) -> Figure | None:
    """A panel for each budget. None where heads were not varied."""
    if not e.heads:
        return None
    drawn, panels = style.panels(len(e.heads), share_y=True)
    for axes, one in zip(panels, e.heads, strict=True):
        _budget(axes, one)
    style.legend(drawn, panels[0], "size")
    cells = pd.concat([one.cells.assign(budget=one.budget) for one in e.heads])
    rows = with_heads(e.parts[HEADS].used).merge(cells[["budget", *SHAPE, "heads"]])
    style.below(
        drawn,
        f"{MIXER} of several heads less that of one of the same width, depth and FLOPs: small, the means of each size; "
        "black, over all sizes, with a 95% interval by seeds' noise. Line: the slope per doubling. Broken: hyena, "
        f"which has a filter a channel. {style.runs(rows)}.",
    )
    return drawn


def _budget(axes: Axes, one: Heads) -> None:
    numbers = np.array([1, *one.differences])
    values = np.array([0.0, *(d.value for d in one.differences.values())])
    low, high = (np.array([0.0, *(getattr(d, end) for d in one.differences.values())]) for end in ("low", "high"))
    shapes = one.cells[SHAPE].drop_duplicates().sort_values(SHAPE)
    looks = style.categories(["all", *(str(width) for width in shapes["d_model"])])
    for depth, width in shapes.itertuples(index=False, name=None):
        own = one.cells[(one.cells["n_layers"] == depth) & (one.cells["d_model"] == width)].sort_values("heads")
        hyena, own = own[own["heads"] == HYENA], own[own["heads"] > HYENA]
        single = own.loc[own["heads"] == 1, "loss"].iloc[0]
        label = f"{depth} layers of {width}"
        axes.plot(own["heads"], own["loss"] - single, linestyle="", markersize=3.5, label=label, **looks[str(width)])
        for loss in hyena["loss"]:
            axes.axhline(loss - single, color=looks[str(width)]["color"], linestyle="--", linewidth=0.8, zorder=1)
    axes.errorbar(numbers, values, style.error(values, low, high), linestyle="", capsize=2, label="all", **looks["all"])
    line = values.mean() + one.slope.value * (np.log2(numbers) - np.log2(numbers).mean())
    axes.plot(numbers, line, color=style.NEUTRAL, linewidth=0.9, zorder=1)
    axes.axhline(0.0, color=style.NEUTRAL, linestyle=":", linewidth=0.8, zorder=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, [str(n) for n in numbers])
    axes.set_title(f"{style.number(one.budget)} FLOPs")
    axes.set_xlabel("heads of the gated convolution")
    style.y_label(axes, "loss less that of one head (nats per token)")
