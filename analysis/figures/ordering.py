"""Losses by placement of the same layers, beside losses by share of attention."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eutectic.analysis.archs import SHAPE
from eutectic.analysis.campaign import PLACEMENT
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.figures import style
from eutectic.analysis.placement import Spread
from eutectic.analysis.wording import plain
from eutectic.arch.layout import PLACEMENTS

_BETWEEN = 1.0  # columns left free between placements and shares
_PLACE = ["budget", *SHAPE]
_WIDE = 5.0  # inches of a panel


def figure(e: Evidence) -> Figure | None:
    """A panel for each budget. None where nothing was placed."""
    if not e.spreads:
        return None
    drawn, panels = style.panels(len(e.spreads))
    drawn.set_size_inches(_WIDE * len(panels) + 0.8, 4.2)
    for axes, spread in zip(panels, e.spreads, strict=True):
        _budget(axes, spread)
    style.legend(drawn, panels[0], "width")
    cells = pd.concat([one.cells.assign(budget=one.budget) for one in e.spreads])
    placed = e.parts[PLACEMENT].used.merge(cells.loc[cells["kind"] == "placement", _PLACE].drop_duplicates())
    shares = cells[cells["kind"] == "share"].rename(columns={"name": "arch"})
    shared = e.parts[e.shares].used.merge(shares[[*_PLACE, "arch"]])
    style.below(
        drawn,
        f"Losses less the mean over the shares of their size, with the standard error that seeds' noise gives them: "
        f"left, placements of {placed['arch'].iloc[0].split('@')[0]}; right, shares of attention. In the titles, "
        f"standard deviations over either, noise taken off, with 95% intervals. Placements: {style.runs(placed)}; "
        f"shares: {style.runs(shared)}.",
    )
    return drawn


def _budget(axes: Axes, spread: Spread) -> None:
    cells = spread.cells
    names = [name for name in PLACEMENTS if name in set(cells["name"])]
    shares = sorted(cells.loc[cells["kind"] == "share", "share"].unique())
    x: dict[str | float, float] = {name: float(k) for k, name in enumerate(names)}
    x |= {share: len(names) + _BETWEEN + k for k, share in enumerate(shares)}
    shapes = cells[SHAPE].drop_duplicates().sort_values(SHAPE)
    looks = style.categories([str(width) for width in shapes["d_model"]])
    for k, (depth, width) in enumerate(shapes.itertuples(index=False, name=None)):
        own = cells[(cells["n_layers"] == depth) & (cells["d_model"] == width)]
        level = own.loc[own["kind"] == "share", "loss"].mean()
        where = _columns(own, x) + 0.16 * (k - (len(shapes) - 1) / 2)
        axes.errorbar(
            where,
            own["loss"] - level,
            own["error"],
            linestyle="",
            markersize=4,
            capsize=2,
            label=f"{width}",
            **looks[str(width)],
        )
    axes.axhline(0.0, color=style.NEUTRAL, linestyle=":", linewidth=0.8, zorder=1)
    axes.set_xticks(list(x.values()), [name if isinstance(name, str) else f"{name:.2g}" for name in x], rotation=60)
    axes.set_xlabel("placement, and share of attention")
    order, amount = plain(spread.placements), plain(spread.shares)
    axes.set_title(f"{style.number(spread.budget)} FLOPs: {order} over placements,\n{amount} over shares")
    style.y_label(axes, "loss less the shares' mean (nats per token)")


def _columns(cells: pd.DataFrame, x: dict[str | float, float]) -> "pd.Series[float]":
    placed = cells["kind"] == "placement"
    return cells["name"].where(placed, cells["share"]).map(x).astype(float)
