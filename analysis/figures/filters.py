"""What the convolutions of trained models have learnt, layer by layer: impulse responses, poles and time constants."""

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from eutectic.analysis.figures import style

MOST_LAYERS = 24  # that have a panel
MOST_NAMES = 12  # of layers on an axis
BINS_PER_DECADE = 8
HEIGHT = 0.85  # of a layer's histogram, and of a filter from its least to its largest, where they are 1 apart
MOST_TICKS = 8  # of lags
FAINTEST = 0.08  # of poles
REAL = 1e-6  # Im p of those that are no pair

Layers = Sequence[tuple[str, pd.DataFrame]]


def responses(table: pd.DataFrame) -> Figure:
    """Of the `filters` table (analysis/schema.py): a panel for each layer, with its filters that were kept."""
    layers = _layers(table)
    drawn, panels = style.panels(len(layers))
    for axes, (title, rows) in zip(panels, layers, strict=True):
        _responses(axes, rows)
        axes.set_title(title)
        style.y_label(axes, "memory of the filter (tokens)")
    kept = table.groupby(["model", "path"])["channel"].nunique()
    style.below(
        drawn,
        "Impulse responses from lag 1 on (at lag 0 the skip D adds), each over its largest value, whichever its sign: "
        "blue above zero, orange below, the least and the largest up to the next lag that is kept. Their memory, by "
        "which they are named and which the bars mark, is the lag by which 90% of this energy is seen; they are chosen "
        f"evenly from a layer's shortest to its longest, {_span(kept)} shown of {_span(table['channels'])}. "
        f"{_counted(table, layers)}",
    )
    return drawn


def poles(table: pd.DataFrame) -> Figure:
    """Of the `poles` table: each layer's in the unit circle, and after them the time constants of all of a model's."""
    layers, names = _layers(table), _names(table)
    bins = _bins(pd.concat([table["time_constant"], table["seq_len"]]))
    drawn, panels = style.panels(len(layers) + len({rows["model"].iloc[0] for _, rows in layers}))
    following = iter(panels)
    for model, own in itertools.groupby(layers, key=lambda layer: layer[1]["model"].iloc[0]):
        for title, rows in own:
            axes = next(following)
            _circle(axes, rows)
            axes.set_title(title)
        axes = next(following)
        _time_constants(axes, table[table["model"] == model], bins)
        axes.set_title(f"{names[model]}\nall its layers")
    style.below(
        drawn,
        "Poles p of the filters h_t = Re sum R p^t, with their conjugates, all filters of a layer together: the more "
        "opaque, the larger |R|, full from the layer's 90th percentile on; grey where |R| is hidden. Histograms: time "
        "constants -1 / ln |p| of the modes of each layer, over their largest bin; bars: medians; dotted: the trained "
        f"length. {len(table):,} modes of {table.groupby(['model', 'path'])['channels'].first().sum():,} filters. "
        f"{_counted(table, layers)}",
    )
    return drawn


def _layers(table: pd.DataFrame) -> Layers:
    """Those with a panel, MOST_LAYERS at most, of each model evenly from the first to the last; and their titles."""
    names, models = _names(table), list(table.groupby("model", sort=False))[:MOST_LAYERS]
    found = []
    for model, rows in models:
        own = list(rows.groupby("path", sort=False))
        count = min(len(own), MOST_LAYERS // len(models))
        for k in np.linspace(0, len(own) - 1, count).round().astype(int):
            layer = own[k][1]
            found.append((f"{names[model]}\n{_label(layer)}", layer))
    return found


def _names(table: pd.DataFrame) -> dict[object, str]:
    """Of models: architectures, with the checkpoint where that alone does not tell two apart."""
    archs = {model: style.without_options(rows["arch"].iloc[0]) for model, rows in table.groupby("model", sort=False)}
    alike = Counter(archs.values())
    return {model: f"{arch}, {model!s}" if alike[arch] > 1 else arch for model, arch in archs.items()}


def _label(layer: pd.DataFrame) -> str:
    first = layer.iloc[0]
    return f"layer {first['layer']}: {style.without_options(first['mixer'])}"


def _responses(axes: Axes, rows: pd.DataFrame) -> None:
    length = int(rows["seq_len"].iloc[0])
    filters = [own[own["lag"] > 0] for _, own in rows.groupby("channel", sort=False)]
    filters.sort(key=lambda own: int(own["memory"].iloc[0]))
    for k, own in enumerate(filters):
        x, largest = [*own["lag"], length], float(own[["low", "high"]].abs().to_numpy().max())
        axes.axhline(k, color=style.NEUTRAL, linewidth=0.5, zorder=1)
        for ends, colour in ((own["high"].clip(lower=0), style.COOL), (own["low"].clip(upper=0), style.ACCENT)):
            heights = k - HEIGHT / 2 * ends.to_numpy() / (largest or 1.0)
            axes.fill_between(x, k, [*heights, heights[-1]], step="post", color=colour, linewidth=0)
        memory = max(1, int(own["memory"].iloc[0]))
        axes.plot([memory] * 2, [k - HEIGHT / 2, k + HEIGHT / 2], color="black", linewidth=1.0)
    axes.set_yticks(range(len(filters)), [f"{own['memory'].iloc[0]:,}" for own in filters])
    axes.set_ylim(len(filters) - 0.5, -0.5)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=MOST_TICKS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda lag, _: f"{lag:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(1, length)
    axes.set_xlabel("lag (tokens)")


def _circle(axes: Axes, rows: pd.DataFrame) -> None:
    axes.add_patch(Circle((0, 0), 1, fill=False, color=style.NEUTRAL, linewidth=0.8))
    size = rows["residue"]
    full = size.quantile(0.9)
    alpha = (size / full if full > 0 else size * 0 + 1).clip(FAINTEST, 1)
    colours = [to_rgba("0.6" if np.isnan(a) else style.COOL, 1.0 if np.isnan(a) else a) for a in alpha]
    x, y = (rows["radius"] * part(rows["angle"]) for part in (np.cos, np.sin))
    for half in (y, -y.where(y > REAL)):
        axes.scatter(x, half, s=6, c=colours, linewidths=0, zorder=style.POINTS)
    style.rasterize(axes, len(rows))
    axes.set_aspect("equal")
    axes.set_xlim(-1.08, 1.08)
    axes.set_ylim(-1.08, 1.08)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([-1, 0, 1]))
    axes.set_xlabel("Re p")
    axes.set_ylabel("Im p")


def _bins(lengths: pd.Series) -> np.ndarray:
    """Edges of histograms of these, in log."""
    low, high = np.floor(np.log10(lengths.min())), np.ceil(np.log10(lengths.max()))
    return np.logspace(low, high, int(high - low) * BINS_PER_DECADE + 1)


def _time_constants(axes: Axes, rows: pd.DataFrame, bins: np.ndarray) -> None:
    layers = list(rows.groupby("path", sort=False))
    for k, (_, own) in enumerate(layers):
        counts, _ = np.histogram(own["time_constant"], bins)
        axes.stairs(k - HEIGHT * counts / counts.max(), bins, baseline=k, fill=True, color=style.COOL, alpha=0.6)
        axes.plot([own["time_constant"].median()] * 2, [k, k - HEIGHT], color="black", linewidth=1.2)
    axes.axvline(rows["seq_len"].iloc[0], color=style.NEUTRAL, linestyle=":", linewidth=1.0)
    axes.set_ylim(len(layers) - 0.9, -1)
    if len(layers) <= MOST_NAMES:
        names = [f"{own['layer'].iloc[0]}\n{style.without_options(own['mixer'].iloc[0])}" for _, own in layers]
        axes.set_yticks(np.arange(len(layers)) - HEIGHT / 2, names)
        axes.tick_params("y", length=0)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(bins[0], bins[-1])
    style.log_axis(axes, "x")
    axes.set_xlabel("time constant (tokens)")
    axes.set_ylabel("layer")


def _span(counts: pd.Series) -> str:
    """5, or 2 to 5."""
    low, high = counts.min(), counts.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _counted(table: pd.DataFrame, layers: Layers) -> str:
    models, every = table["model"].nunique(), table.groupby("model")["path"].nunique().sum()
    shown = f"{len(layers)} of {every}" if len(layers) < every else f"{every}"
    lengths = style.either(table["seq_len"])
    return f"{models} model{'s' * (models > 1)}, {shown} of their layers, trained on sequences of {lengths} tokens."
