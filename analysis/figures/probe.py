"""Synthetic tasks: how well each architecture does each, how that falls with difficulty, what of it each layer bears,
and whether it orders architectures as their compute-optimal loss does."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eutectic.analysis.figures import style
from eutectic.analysis.laws import Array
from eutectic.analysis.probe import SETUP, capacity, chosen, grid, in_order, labels, means, scores
from eutectic.analysis.rank import MEAN, Correlations, canonical, correlation
from eutectic.arch import layout

LETTER, CELL, ABOVE = 0.075, 0.24, 0.8  # inches: of a name's letter, a cell's height, and above a block of them
DODGE = 0.3  # of a step of difficulty or a layer, over all that stands there
FAINT = "0.6"
CONTROL = "{} (control)"


def heat(trials: pd.DataFrame) -> Figure:
    """Of the `trials` table: accuracy by architecture, the best mean on top, and task. A block for each setup."""
    found = scores(trials)
    blocks = [(setup, _block(rows)) for setup, rows in found.groupby(SETUP)]
    heights = [CELL * len(block) + ABOVE for _, block in blocks]
    wide = max(
        LETTER * (max(map(len, block.index)) + len(block.columns) * max(map(len, "\n".join(block.columns).split("\n"))))
        for _, block in blocks
    )
    drawn = Figure(figsize=(wide + 0.6, sum(heights) + 0.6), layout="constrained")
    panels = drawn.subplots(len(blocks), height_ratios=heights, squeeze=False).ravel()
    for axes, ((match, n_layers), block) in zip(panels, blocks, strict=True):
        _cells(axes, block)
        axes.set_title(f"{n_layers} layers, equal {match}", loc="left")
    half = ((found["high"] - found["low"]) / 2).dropna()
    known = f"95% over seeds: ±{half.median():.2f} in the middle, ±{half.max():.2f} at most. " if len(half) else ""
    lacking = dict.fromkeys(label for _, own in found.groupby(SETUP) for label in means(own).left_out)
    without = f" (not {', '.join(lacking)}, which some have not tried)" if lacking else ""
    control = "Control: answers drawn anew, so that nothing is to be learnt. " if found["control"].any() else ""
    style.below(
        drawn,
        "Accuracy on test examples, mean over seeds, at the learning rate that validation chose; chance: of a guess "
        f"that does not read the example. Mean: over tasks{without}. {control}{known}{_counted(trials)}",
    )
    return drawn


def _block(rows: pd.DataFrame) -> pd.DataFrame:
    """Architectures down, controls last; their mean and tasks across, each with its chance below its name."""
    learnt, control = (rows[rows["control"] == drawn_anew] for drawn_anew in (False, True))
    average = means(learnt).table.set_index("arch")
    block = grid(learnt, "accuracy")
    if len(average):
        block.insert(0, MEAN, average["accuracy"])
        block = block.sort_values(MEAN, ascending=False, kind="stable")
    if len(control):
        block = pd.concat([block, grid(control, "accuracy").rename(CONTROL.format)])
    chances = {MEAN: average["chance"].mean()} | rows.groupby("label")["chance"].first().to_dict()
    return block.rename(columns=lambda label: "\n".join([*label.split(" "), f"chance {chances[label]:.3g}"]))


def _cells(axes: Axes, block: pd.DataFrame) -> None:
    values = block.to_numpy(float)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "-" if np.isnan(value) else f"{value:.2f}"
        axes.text(column, row, text, ha="center", va="center", color="white" if value > 0.6 else "black")
    axes.set_xticks(range(len(block.columns)), block.columns)
    axes.set_yticks(range(len(block)), block.index)
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.axvline(0.5, color="white", linewidth=4)
    axes.axhline(block.index.str.endswith(CONTROL.format("")).argmax() - 0.5, color="white", linewidth=4)


def curves(trials: pd.DataFrame) -> Figure | None:
    """Of the `trials` table: accuracy against difficulty, a panel for each axis of each task; None where none is."""
    found = capacity(scores(trials))
    if found.empty:
        return None
    groups = list(found.groupby([*SETUP, "task", "axis", "others"], sort=False))
    looks = _looks(found["arch"])
    drawn, panels = style.panels(len(groups))
    for axes, ((match, n_layers, task, axis, others), rows) in zip(panels, groups, strict=True):
        _curve(axes, rows, looks)
        axes.set_title(f"{task}: {n_layers} layers, equal {match}\n{others}", fontsize=7.5)
        axes.set_xlabel(str(axis))
        style.y_label(axes, "accuracy on test examples")
    handles = [style.key(arch, look) for arch, look in looks.items()]
    chance = Line2D([], [], color=style.NEUTRAL, linestyle=":", label="chance")
    drawn.legend(handles=[*handles, chance], loc="outside right upper", title="architecture", handlelength=3.2)
    style.below(
        drawn,
        "One setting is varied, and all others are as above each panel; what is documented to be harder is to the "
        "right, in steps as they were tried. Bars: 95% over seeds, by the task's mixed model, within 0 and 1. "
        f"{_counted(trials)}",
    )
    return drawn


def _curve(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    values = sorted(rows["value"].unique(), reverse=rows["axis"].iloc[0] == "examples")
    there = [arch for arch in looks if (rows["arch"] == arch).any()]
    for k, arch in enumerate(there):
        own = rows[rows["arch"] == arch].sort_values("value")
        x = own["value"].map(values.index) + _beside(k, len(there))
        line: style.Look = {"linestyle": style.stroke(arch), "elinewidth": 0.8}
        axes.errorbar(x, own["accuracy"], _bars(own), markersize=4, **line, **looks[arch])
    chance = rows.groupby("value")["chance"].first()[values]
    axes.plot(range(len(values)), chance, ":", color=style.NEUTRAL, zorder=1)
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_ylim(-0.03, 1.03)


def scatter(trials: pd.DataFrame, losses: pd.DataFrame) -> Figure | None:
    """Of the `trials` and `losses` tables: mean score against compute-optimal loss, a panel for each setup, sweep and
    budget; None where no two architectures have both."""
    found = scores(trials)
    found["arch"] = found["arch"].map(canonical)
    panels: list[tuple[str, pd.DataFrame]] = []
    said = []
    for (match, n_layers), rows in found.groupby(SETUP):
        for sweep, own in losses.groupby("sweep", sort=False):
            known = own.assign(arch=own["arch"].map(canonical)).dropna(subset="loss")
            both, correlations = means(rows).table.merge(known, on="arch"), correlation(rows, own)
            before = len(panels)
            for row in correlations.table.query("task == @MEAN").to_dict("records"):
                names = f"{n_layers} layers, equal {match}", f"{sweep}, {style.number(row['budget'])} FLOPs"
                points = both[both["budget"] == row["budget"]]
                if len(points) > 1:
                    panels.append(("\n".join(names), points))
                    said.append(f"{', '.join(names)}: {_said(row)}")
            if len(panels) > before and (lacking := _lacking(str(sweep), correlations)):
                said.append(f"Without {', '.join(lacking)}.")
    if not panels:
        return None
    drawn, all_axes = style.panels(len(panels))
    looks = _looks(found["arch"])
    for axes, (title, points) in zip(all_axes, panels, strict=True):
        for _, one in points.groupby("arch"):
            look = looks[one["arch"].iloc[0]]
            axes.errorbar(one["accuracy"], one["loss"], xerr=_bars(one), markersize=5, elinewidth=0.8, **look)
        _names(axes, points)
        axes.set_title(title)
        axes.set_xlabel("mean accuracy over tasks")
        style.y_label(axes, "compute-optimal loss (nats per token)")
    style.below(
        drawn,
        f"{' '.join(said)} Brackets: 95%, by a bootstrap of architectures; bars: 95%, over seeds. Loss: at the best "
        f"size of each budget. {_counted(trials)}",
    )
    return drawn


def _said(row: Mapping[Hashable, Any]) -> str:
    return (
        f"tau {row['tau']:.2f}{_brackets(row, 'tau')}, rho {row['rho']:.2f}{_brackets(row, 'rho')}: {row['sentence']}"
    )


def _lacking(sweep: str, found: Correlations) -> list[str]:
    """Who has no place in the panels of a sweep, and why."""
    return [
        *(f"{arch} at {style.number(budget)} FLOPs of {sweep} ({why})" for arch, budget, why in found.not_optima),
        *(f"{arch} (not in {sweep})" for arch in found.without_loss),
        *(f"{arch} of {sweep} (no scores)" for arch in found.without_scores),
    ]


def _brackets(row: Mapping[Hashable, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"


def _names(axes: Axes, points: pd.DataFrame) -> None:
    """Right of the axes, in the order of their losses and apart from each other."""
    line = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "relpos": (0, 0.5)}
    heights = (np.arange(len(points)) + 0.5) / len(points)
    for height, one in zip(heights, points.sort_values("loss").to_dict("records"), strict=True):
        place: dict[str, Any] = {"xytext": (1.03, height), "textcoords": "axes fraction", "va": "center", "fontsize": 7}
        axes.annotate(one["arch"], (one["accuracy"], one["loss"]), arrowprops=line, **place)


def ablation(table: pd.DataFrame, trials: pd.DataFrame) -> Figure | None:
    """Of the `ablation` table, and the `trials` that it is of: accuracy lost by silencing each layer's mixer, a panel
    for each stack of each setup; None where nothing but controls was silenced."""
    about = chosen(trials).set_index(["trial", "seed"])[[*SETUP, "examples", "control"]]
    rows = table.join(about, on=["trial", "seed"], how="inner").query("not control")
    if rows.empty:
        return None
    rows = rows.assign(label=labels(rows), lost=rows["valid"] - rows["without"])
    groups = list(rows.groupby(["arch", *SETUP], sort=False))
    looks = style.categories(list(in_order(rows)["label"].unique()))
    drawn, panels = style.panels(len(groups), share_y=True)
    for axes, ((arch, match, n_layers), own) in zip(panels, groups, strict=True):
        _layers(axes, own, looks)
        axes.set_title(f"{arch}\n{n_layers} layers, equal {match}")
        axes.set_xlabel("layer, and its mixer")
        style.y_label(axes, "accuracy lost without it")
    handles = [Line2D([], [], linestyle="", label=label, **look) for label, look in looks.items()]
    handles.append(Line2D([], [], linestyle="", marker="_", color=FAINT, label="all there was"))
    drawn.legend(handles=handles, loc="outside right upper", title="task")
    models, seeds = rows.groupby(["trial", "seed"]).ngroups, rows["seed"].nunique()
    style.below(
        drawn,
        "The sequence mixer of one layer at a time gives zeros, in a trained model that is otherwise as it was. "
        "Accuracy on validation examples: mean over seeds, bars from the least to the most; grey, the accuracy of the "
        f"whole, which is the most that can be lost. {models} models, {seeds} seed{'s' * (seeds > 1)}.",
    )
    return drawn


def _layers(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    axes.axhline(0.0, color=style.NEUTRAL, linestyle=":", linewidth=1.0, zorder=1)
    there = [label for label in looks if (rows["label"] == label).any()]
    for k, label in enumerate(there):
        layers = rows[rows["label"] == label].groupby("layer")
        mean, low, high = (layers["lost"].agg(name) for name in ("mean", "min", "max"))
        x = mean.index + 2 * _beside(k, len(there))
        axes.plot(x, layers["valid"].mean(), "_", color=FAINT, zorder=1)
        axes.errorbar(x, mean, [mean - low, high - mean], linestyle="", markersize=4, elinewidth=0.8, **looks[label])
    mixers = rows.drop_duplicates("layer").sort_values("layer")
    axes.set_xticks(
        mixers["layer"], [f"{layer}\n{mixer}" for layer, mixer in zip(mixers["layer"], mixers["mixer"], strict=True)]
    )
    axes.set_xlim(-0.5, len(mixers) - 0.5)


def _looks(archs: pd.Series) -> dict[str, style.Look]:
    shares = {str(arch): layout.parse(arch).share("attn") for arch in archs.unique()}
    ordered = sorted(shares, key=lambda arch: shares[arch])
    return style.looks(ordered, shares)


def _beside(index: int, count: int) -> float:
    return DODGE * ((index + 0.5) / count - 0.5)


def _bars(rows: pd.DataFrame) -> Array:
    low, high = rows["low"].clip(0, 1), rows["high"].clip(0, 1)
    return style.error(*(value.to_numpy(float) for value in (rows["accuracy"], low, high)))


def _counted(trials: pd.DataFrame) -> str:
    seeds, tested = trials["seed"].nunique(), trials["test"].notna().sum()
    return (
        f"{trials['arch'].nunique()} architectures, {seeds} seed{'s' * (seeds > 1)}, {len(trials)} models, {tested} of "
        "them tested."
    )
