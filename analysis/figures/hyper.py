"""Hyperparameters: loss over learning rate and batch in one cell, and the laws of the optima beside published ones."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.hyper import HyperOptimum, Window, optima
from eutectic.analysis.hyper_law import PUBLISHED, HyperLaw, law

_LABELS = {"lr": "learning rate", "batch": "batch (tokens)", "params": "parameters", "tokens": "tokens"}
_LINES = ("--", ":", "-.")
_CONTOURS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # nats above the minimum


def figure(runs: pd.DataFrame, window: Window) -> Figure:
    """From a table of runs with columns params, tokens, lr, batch (tokens) and loss, both lr and batch varied.

    Left, the cell with an optimum that is nearest the middle of all. Then the best learning rate against parameters,
    and the best batch against tokens, each with our law and those published.
    """
    found = optima(runs, window)
    usable = [o for o in found if o.status == "optimum"]
    drawn, (plane, *laws) = style.panels(3)
    _plane(plane, runs, _middle(usable), window)
    for axes, target, across, over in (
        (laws[0], "lr", "params", ("params", "tokens")),
        (laws[1], "batch", "tokens", ("tokens",)),
    ):
        fitted = law(usable, target, over)
        if fitted is not None:
            _law(axes, usable, fitted, across)
    text = (
        f"{len(runs)} runs in {len(found)} cells of parameters and tokens, {len(usable)} of them with an optimum. "
        "Left: the runs of one cell, ringed where its quadratic is fitted to them, and the quadratic's contours (nats "
        "above its minimum); red, the minimum with its 95% interval. Right: each cell's optimum with its 95% interval; "
        "solid, our law with its 95% band; broken, published laws. What is not on the axis is held at the cells' "
        "geometric mean, and optima are moved there along our law; compute is 6 N D."
    )
    drawn.supxlabel(textwrap.fill(text, int(drawn.get_figwidth() * 19)), fontsize=7, x=0.01, ha="left")
    return drawn


def _middle(usable: list[HyperOptimum]) -> HyperOptimum:
    where = np.log([[o.params, o.tokens] for o in usable])
    return usable[int(np.argmin(((where - where.mean(0)) ** 2).sum(1)))]


def _plane(axes: Axes, runs: pd.DataFrame, cell: HyperOptimum, window: Window) -> None:
    rows = runs[(runs["params"] == cell.params) & (runs["tokens"] == cell.tokens) & np.isfinite(runs["loss"])]
    lr, batch, losses = (rows[name].to_numpy(float) for name in ("lr", "batch", "loss"))
    used = window.keep(np.log(np.stack([lr, batch], -1)), losses)
    above = losses - cell.best_loss
    levels = [level for level in _CONTOURS if level <= above[used].max()]
    x, y = np.meshgrid(np.geomspace(lr.min(), lr.max(), 200), np.geomspace(batch.min(), batch.max(), 200))
    height = cell.predict({"lr": x.ravel(), "batch": y.ravel()}).reshape(x.shape) - float(cell.loss or 0.0)
    lines = axes.contour(x, y, height, levels, colors="0.4", linewidths=0.7)
    axes.clabel(lines, fmt="%g", fontsize=6)
    norm = LogNorm(_CONTOURS[0], 1.0)
    shown = np.clip(above, _CONTOURS[0], 1.0)
    edges = ["0.1" if inside else "none" for inside in used]
    dots = axes.scatter(lr, batch, c=shown, s=16, norm=norm, cmap="viridis", edgecolors=edges, linewidths=0.6, zorder=2)
    bar = axes.figure.colorbar(dots, ax=axes, pad=0.02, extend="both")
    bar.set_label("loss above the cell's lowest (nats per token)")
    lr_at, batch_at = cell.values["lr"], cell.values["batch"]
    axes.plot(cell.intervals["lr"], [batch_at, batch_at], color="tab:red", zorder=3)
    axes.plot([lr_at, lr_at], cell.intervals["batch"], color="tab:red", zorder=3)
    axes.set_title(f"{_number(cell.params)} parameters, {_number(cell.tokens)} tokens")
    axes.set_xlabel(_LABELS["lr"])
    axes.set_ylabel(_LABELS["batch"])
    axes.set_xlim(lr.min() / 1.2, lr.max() * 1.2)
    axes.set_ylim(batch.min() / 1.3, batch.max() * 1.3)
    style.log_axis(axes, "x")
    style.log_axis(axes, "y")


def _law(axes: Axes, usable: list[HyperOptimum], fitted: HyperLaw, across: str) -> None:
    """One variable across; the others at the centre of the cells."""
    target = fitted.target
    others = [name for name in ("params", "tokens") if name != across]
    centre = {name: float(np.exp(np.mean([np.log(getattr(o, name)) for o in usable]))) for name in others}
    x = np.array([getattr(o, across) for o in usable])
    here = {name: np.array([getattr(o, name) for o in usable]) for name in fitted.exponents}
    there = here | {name: np.full(len(x), centre[name]) for name in others if name in here}
    moved = fitted.predict(there) / fitted.predict(here)
    value = np.array([o.values[target] for o in usable]) * moved
    low, high = np.transpose([o.intervals[target] for o in usable]) * moved
    axes.errorbar(
        x, value, [value - low, high - value], linestyle="", marker="o", markersize=3, capsize=1.5, color="0.2"
    )
    line = np.geomspace(x.min() / 1.3, x.max() * 1.3, 100)
    at = {across: line} | {name: np.full(100, middle) for name, middle in centre.items()}
    axes.plot(line, fitted.predict(at), color="tab:blue", label="this table")
    axes.fill_between(line, *fitted.band(at), color="tab:blue", alpha=0.2, linewidth=0)
    for published, dashes in zip((p for p in PUBLISHED if p.target == target), _LINES, strict=False):
        axes.plot(line, published.predict(at), dashes, color="0.35", label=published.source)
    fixed = ", ".join(f"{_number(centre[name])} {_LABELS[name]}" for name in others)
    axes.set_title(f"at {fixed}")
    axes.set_xlabel(_LABELS[across])
    axes.set_ylabel(f"best {_LABELS[target]}")
    style.log_axis(axes, "x")
    style.log_axis(axes, "y")
    axes.legend(fontsize=6.5)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("e+", "e").replace("e0", "e")
