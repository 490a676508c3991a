"""Trained models with their long filters distilled: errors beside their bounds, and perplexity, against order."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from eutectic.analysis.figures import style

BOUNDS = {"lower": (":", "no filter is nearer"), "upper": ("--", "bound of balanced truncation")}


def figure(rows: pd.DataFrame) -> Figure:
    """Rows of the `distill` table to three panels, of which the first two have a line for each layer of each run."""
    drawn, (fit, peak, perplexity) = style.panels(3)
    _errors(fit, rows)
    fit.set_ylabel("relative L2 error of a filter")
    _peaks(peak, rows)
    peak.set_ylabel("largest error at a frequency, over the L2 norm")
    style.log_axis(fit, "y")
    style.log_axis(peak, "y")
    _perplexity(perplexity, rows)
    perplexity.set_ylabel("perplexity, over that of the model as trained")
    for axes in (fit, peak, perplexity):
        axes.set_xlabel("order (real states a channel)")
        style.log_axis(axes, "x")
        axes.xaxis.set_major_locator(FixedLocator(sorted(rows["max_order"].unique())))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(loc="upper right" if axes is perplexity else "lower left")
    style.headroom(perplexity)
    style.below(
        drawn,
        "Left, medians over a layer's channels, bars from the first decile to the last, over the "
        f"{style.either(rows['length'])} tokens that were trained on. Middle, medians of the largest error at any "
        "frequency, between what no filter of that order has less of, sigma_{d+1}, and the bound of balanced "
        f"truncation, 2 (sigma_{{d+1}} + ...), which is of filters that have decayed. Right, bars: 95%, by windows "
        f"of text. {style.runs(rows)}.",
    )
    return drawn


def _lines(rows: pd.DataFrame) -> list[tuple[pd.DataFrame, style.Look]]:
    """Of each layer of each run its rows by order, and how it is drawn: alike where layer and mixer are."""
    named = (rows["layer"].astype(str) + ": " + rows["mixer"].str.partition("(")[0]).rename("name")
    places = sorted(named.unique())
    found, told = [], set[object]()
    for (name, *_), own in rows.groupby([named, rows["run_id"], rows["path"], rows["tolerance"]]):
        k = places.index(name)
        look: style.Look = {
            "color": style.budget_colour(k, len(places)),
            "marker": style.MARKERS[k % len(style.MARKERS)],
            "label": None if name in told else name,
            "linewidth": 1,
            "markersize": 3.5,
        }
        told.add(name)
        found.append((own.sort_values("max_order"), look))
    return found


def _errors(axes: Axes, rows: pd.DataFrame) -> None:
    lines = _lines(rows)
    for k, (own, look) in enumerate(lines):
        x = style.dodge(own["max_order"].to_numpy(float), [1.0, 2.0], k, len(lines))
        middle, low, high = (own[name].to_numpy(float) for name in ("error", "error_low", "error_high"))
        axes.errorbar(x, middle, style.error(middle, low, high), **look)
    # deciles of filters that need fewer states go down to rounding
    axes.set_ylim(rows["error"].min() / 10, 2 * max(1.0, rows["error_high"].max()))


def _peaks(axes: Axes, rows: pd.DataFrame) -> None:
    for k, (own, look) in enumerate(_lines(rows)):
        axes.plot(own["max_order"], own["peak"], **look | {"label": None})
        for name, (stroke, words) in BOUNDS.items():
            label = words if k == 0 else None
            axes.plot(own["max_order"], own[name], stroke, color=look["color"], linewidth=1, label=label)
    axes.set_ylim(bottom=rows["lower"].min() / 10)  # with room for the legend


def _perplexity(axes: Axes, rows: pd.DataFrame) -> None:
    axes.axhline(1, color=style.NEUTRAL, linestyle="--", linewidth=0.8)
    by_order = rows.drop_duplicates(["run_id", "max_order", "tolerance"]).sort_values("max_order")
    for k, (_, own) in enumerate(by_order.groupby(["run_id", "tolerance"])):
        first = own.iloc[0]
        label = f"{style.without_options(first['arch'])} ({first['perplexity_before']:.3g} as trained)"
        style.ratios(axes, own["max_order"], own, own["perplexity_before"], style.HUES[k % len(style.HUES)], label)
