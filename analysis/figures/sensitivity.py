"""What a model's loss rises by when the mixer of one layer alone is replaced."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eutectic.analysis.figures import style

NORMAL = 1.96  # standard errors to either side of a 95% interval
DODGE = 0.14  # of a layer, between the mixers that were put there


def figure(rows: pd.DataFrame) -> Figure:
    """rows: of `sensitivity`. A panel for each parent."""
    parents = rows["parent"].unique()
    drawn, panels = style.panels(len(parents))
    looks = style.categories(sorted(rows["new"].unique()))
    for axes, parent in zip(panels, parents, strict=True):
        _panel(axes, rows[rows["parent"] == parent], looks)
    handles = [Line2D([], [], linestyle="", label=name, **look) for name, look in looks.items()]
    drawn.legend(handles=handles, loc="outside right upper", title="replaced by")
    scanned = rows.groupby(["parent", "new"]).ngroups
    style.below(
        drawn,
        f"Each mixer was regressed on the one in its place over {_span(rows['tokens'])} training tokens and is alone "
        f"in an otherwise unchanged model. Bars: 95% over {_span(rows['sequences'])} validation windows, paired with "
        "the parent's. "
        f"{scanned} scan{'s' * (scanned > 1)} of {len(parents)} run{'s' * (len(parents) > 1)}, one seed each.",
    )
    return drawn


def _span(values: "pd.Series[int]") -> str:
    low, high = values.min(), values.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _panel(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    axes.axhline(0.0, color=style.NEUTRAL, linestyle=":", linewidth=1.0, zorder=1)
    there = [name for name in looks if (rows["new"] == name).any()]
    for k, name in enumerate(there):
        own = rows[rows["new"] == name]
        x = own["layer"] + DODGE * (k - (len(there) - 1) / 2)
        bars = NORMAL * own["rise_error"]
        axes.errorbar(x, own["rise"], bars, linestyle="", markersize=5, capsize=2, **looks[name])
    layers = rows["layers"].iloc[0]
    replaced = rows.drop_duplicates("layer").sort_values("layer")
    labels = [f"{layer}\n{old}" for layer, old in zip(replaced["layer"], replaced["old"], strict=True)]
    axes.set_xticks(np.asarray(replaced["layer"]), labels)
    axes.set_xlim(replaced["layer"].min() - 0.5, replaced["layer"].max() + 0.5)
    axes.set_title(f"{layers}, run {rows['parent'].iloc[0]}")
    axes.set_xlabel("layer, and the mixer that was there")
    style.y_label(axes, "rise of validation loss (nats per token)")
