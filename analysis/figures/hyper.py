"""Hyperparameters: loss over learning rate and batch in each cell, and the laws of the optima beside published ones."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.hyper import HyperOptimum, Window
from eutectic.analysis.hyper_law import PUBLISHED
from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report
from eutectic.analysis.tuned import BOTH, TARGETS, TunedLaw, table, tuned

_LABELS = {"lr": "learning rate", "batch": "batch (tokens)", "params": "parameters", "tokens": "tokens"}
_DASHES = dict(zip(dict.fromkeys(law.source for law in PUBLISHED), ("--", ":", "-."), strict=True))
_CONTOURS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # nats above the minimum
_COLOURS = LogNorm(_CONTOURS[0], 1.0)
_MOST_CELLS = 16
_AREAS = (6.0, 26.0)  # of marks, from the least compute to the most
_HELD = (
    " Where an axis names tokens or parameters, published laws are drawn at these, and cells are carried to them along "
    "their law of both; cells whose law is of one stay at their own."
)


def laws(runs: Runs, report: Report) -> Figure | None:
    """The best learning rate and the best batch of each cell against what laws of them are over, by architecture, with
    our laws and those published. None where no cell has an optimum.

    A law over both parameters and tokens is drawn against either, at one value of the other, to which its cells are
    carried along it.
    """
    found = tuned(runs)
    usable = [cell for cell in found.optima if cell.values]
    if not usable:
        return None
    over = {target: [name for law in found.laws if law.target == target for name in law.over] for target in TARGETS}
    axes_of = [(target, x) for target, names in over.items() for x in dict.fromkeys(names)]
    drawn, panels = style.panels(len(axes_of))
    looks = style.looks(runs.archs, report.shares)
    for axes, (target, x) in zip(panels, axes_of, strict=True):
        cells, beside = [cell for cell in usable if target in cell.values], {*over[target]} - {x}
        held = {name: float(np.exp(np.log([getattr(cell, name) for cell in cells]).mean())) for name in beside}
        for law in (law for law in found.laws if law.target == target and x in law.over):
            _law(axes, law, x, held, [cell for cell in cells if cell.group == law.arch], looks[law.arch])
        if cells:
            _published(axes, target, x, held, cells)
        axes.set_xlabel(_LABELS[x])
        axes.set_ylabel(" ".join([f"best {_LABELS[target]}", *(f"at {_at(name, v)}" for name, v in held.items())]))
        style.log_axis(axes, "x")
        style.log_axis(axes, "y")
    handles = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    drawn.legend(handles.values(), handles, loc="outside right upper")
    _caption(
        drawn,
        runs,
        f"{len(found.optima)} cells of an architecture, a size and its tokens, {len(usable)} of them with an optimum. "
        "Points, the minimum of a cell's quadratic with its 95% interval, the larger the more compute; solid, a power "
        "law through those of an architecture, where they are three or more, with its 95% band. Broken, published laws "
        "at the parameters and tokens of the cells, where these grow together; compute is 6 N D."
        + _HELD
        * (len(axes_of) > len(TARGETS)),
    )
    return drawn


def planes(runs: Runs, report: Report) -> Figure | None:
    """A panel for each cell that varied both learning rate and batch: its runs and the contours of its quadratic, where
    there is one. None where there is no such cell."""
    every = [cell for cell in tuned(runs).optima if {"lr", "batch"} <= cell.best.keys()]
    every.sort(key=lambda cell: runs.archs.index(cell.group))
    if not every:
        return None
    cells = [every[k] for k in np.unique(np.linspace(0, len(every) - 1, _MOST_CELLS).round().astype(int))]
    drawn, panels = style.panels(len(cells))
    tried = table(runs)
    for axes, cell in zip(panels, cells, strict=True):
        here = (tried["group"] == cell.group) & (tried["params"] == cell.params) & (tried["tokens"] == cell.tokens)
        dots = _plane(axes, tried[here], cell)
    bar = drawn.colorbar(dots, ax=panels, pad=0.01, extend="both", aspect=40)
    bar.set_label("loss above the cell's lowest (nats per token)")
    shown = "" if len(cells) == len(every) else f", of {len(every)},"
    _caption(
        drawn,
        runs,
        f"{len(cells)} cells of an architecture, a size and its tokens{shown} with their runs, ringed where the cell's "
        "quadratic is fitted to them, and its contours: nats above its minimum, or, where it has none among the runs, "
        "above the lowest run. Red, the minimum with its 95% interval. Other settings that vary are at their best."
        + " *: with the curvature that the architecture's cells share."
        * any(cell.shared for cell in cells),
    )
    return drawn


def _plane(axes: Axes, rows: pd.DataFrame, cell: HyperOptimum) -> PathCollection:
    lr, batch, losses = (rows[name].to_numpy(float) for name in ("lr", "batch", "loss"))
    z = np.log(rows[list(cell.best)].to_numpy(float))
    used, above = Window(cell.excess).keep(z, losses), np.clip(losses - cell.best_loss, _COLOURS.vmin, None)
    edges = ["0.1" if inside else "none" for inside in used]
    dots = axes.scatter(
        lr, batch, c=above, s=20, norm=_COLOURS, cmap="viridis", edgecolors=edges, linewidths=0.8, zorder=2
    )
    if cell.centre:
        _contours(axes, cell, np.geomspace(lr.min(), lr.max(), 200), np.geomspace(batch.min(), batch.max(), 200))
    if cell.values:
        lr_at, batch_at = cell.values["lr"], cell.values["batch"]
        axes.plot(cell.intervals["lr"], [batch_at, batch_at], color=style.ACCENT, zorder=3)
        axes.plot([lr_at, lr_at], cell.intervals["batch"], color=style.ACCENT, zorder=3)
    said = "*" * cell.shared + ("" if cell.status == "optimum" else f": {cell.status}")
    axes.set_title(f"{cell.group}, {style.number(cell.params)} N, {style.number(cell.tokens)} D{said}")
    axes.set_xlabel(_LABELS["lr"])
    style.y_label(axes, _LABELS["batch"])
    axes.set_xlim(lr.min() / 1.2, lr.max() * 1.2)
    axes.set_ylim(batch.min() / 1.4, batch.max() * 1.4)
    style.log_axis(axes, "x")
    style.log_axis(axes, "y")
    return dots


def _contours(axes: Axes, cell: HyperOptimum, lr: Array, batch: Array) -> None:
    """Over learning rate and batch, the further settings at their best or where they were kept."""
    x, y = np.meshgrid(lr, batch)
    at = {name: np.full(x.size, value) for name, value in (cell.centre | cell.values).items()}
    height = cell.predict(at | {"lr": x.ravel(), "batch": y.ravel()}).reshape(x.shape)
    lines = axes.contour(
        x, y, height - (cell.best_loss if cell.loss is None else cell.loss), _CONTOURS, colors="0.5", linewidths=0.7
    )
    axes.clabel(lines, fmt="%g", fontsize=6)


def _law(
    axes: Axes, law: TunedLaw, x: str, held: dict[str, float], cells: list[HyperOptimum], look: style.Look
) -> None:
    """One architecture's cells that have an optimum in the law's target, and the law, where there is one, against x.

    held: where a further variable of the law is kept.
    """
    if not cells:
        return
    at = {name: np.array([getattr(cell, name) for cell in cells]) for name in BOTH}
    kept = {name: held[name] for name in law.over if name != x}
    value = np.array([cell.values[law.target] for cell in cells])
    low, high = np.transpose([cell.intervals[law.target] for cell in cells])
    if law.fitted is not None:
        carried = law.fitted.predict(at | {name: np.full(len(cells), v) for name, v in kept.items()})
        carried /= law.fitted.predict(at)
        value, low, high = (v * carried for v in (value, low, high))
        line = np.geomspace(at[x].min() / 1.15, at[x].max() * 1.15, 100)
        along = {x: line} | {name: np.full(len(line), v) for name, v in kept.items()}
        axes.plot(line, law.fitted.predict(along), color=look["color"])
        axes.fill_between(line, *law.fitted.band(along), color=look["color"], alpha=0.15, linewidth=0)
    compute = np.log(at["params"] * at["tokens"])
    areas = np.interp(compute, [compute.min(), compute.max()], _AREAS)
    axes.errorbar(at[x], value, style.error(value, low, high), fmt="none", capsize=2, color=look["color"])
    axes.scatter(at[x], value, areas, label=law.arch, zorder=3, **look)


def _published(axes: Axes, target: str, x: str, held: dict[str, float], cells: list[HyperOptimum]) -> None:
    """Each published law of the target over x, at what the other variable is held at, or along the cells, whose
    parameters and tokens lie near a line of logarithms."""
    (other,) = {*BOTH} - {x}
    logs, others = (np.log([getattr(cell, name) for cell in cells]) for name in (x, other))
    line = np.linspace(logs.min() - 0.3, logs.max() + 0.3, 100)
    path = [np.log(held[other])] if held else np.polyfit(logs, others, min(1, len(set(logs)) - 1))
    at = {x: np.exp(line), other: np.exp(np.polyval(path, line))}
    for law in (p for p in PUBLISHED if p.target == target and x in p.exponents):
        axes.plot(np.exp(line), law.predict(at), _DASHES[law.source], color=style.NEUTRAL, label=law.source, zorder=1)


def _at(name: str, value: float) -> str:
    return f"{style.number(value)} {_LABELS[name]}"


def _caption(drawn: Figure, runs: Runs, text: str) -> None:
    seeds = runs.tried["seed"].nunique()
    whole = f"{len(runs.tried)} runs, {seeds} seed{'s' * (seeds > 1)}, in {text}"
    drawn.supxlabel(textwrap.fill(whole, int(drawn.get_figwidth() * 19)), fontsize=7, x=0.01, ha="left")
