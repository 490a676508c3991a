"""What models gain from longer contexts: each document's change of loss, their mean, and all models side by side."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from eutectic.analysis.context import summary
from eutectic.analysis.figures import style

MOST_LABELS = 7
FAINT = "0.6"  # the documents' lines


def figure(table: pd.DataFrame) -> Figure:
    """Of the `context` table (analysis/schema.py): a panel for each model, and one of all."""
    means = summary(table)
    means["title"] = _titles(means)
    contexts = sorted(means["context"].unique())
    groups = list(means.groupby(["title", "model", "targets"]))
    drawn, (*own, last) = style.panels(len(groups) + 1)
    looks = style.categories([str(number) for number in range(len(groups))]).values()
    for axes, look, ((title, model, targets), rows) in zip(own, looks, groups, strict=True):
        documents = table[(table["model"] == model) & (table["targets"] == targets)]
        _changes(axes, documents, rows, look, contexts)
        axes.axhline(0.0, color=style.NEUTRAL, linewidth=0.8, zorder=1)
        axes.set_title(str(title))
        style.y_label(axes, "change of loss (nats per token)")
    shared = table.groupby("document").filter(lambda rows: set(rows["context"]) == set(contexts))
    for look, (title, model, targets) in zip(looks, (name for name, _ in groups), strict=True):
        rows = (
            summary(shared[(shared["model"] == model) & (shared["targets"] == targets)]) if len(shared) else means[:0]
        )
        last.plot(_place(rows["context"], contexts), rows["nats"], markersize=4, label=title, **look)
    last.set_title("all, of the same documents")
    last.set_ylabel("loss of the targets (nats per token)")
    last.legend()
    for axes in (*own, last):
        _context_axis(axes, contexts, means["seq_len"].dropna().unique())
    style.below(drawn, _caption(table, means, shared))
    return drawn


def _titles(means: pd.DataFrame) -> pd.Series:
    """Architectures, with the checkpoint or the targets where that alone does not tell two apart."""
    names = means["arch"].map(style.without_options, na_action="ignore").fillna(means["model"])
    if means.groupby(names)["model"].nunique().max() > 1:
        names = names + ", " + means["model"]
    if means["targets"].nunique() > 1:
        names = names + ", last " + means["targets"].astype(str)
    return names


def _place(contexts: "np.ndarray | pd.Series", drawn: list[int]) -> np.ndarray:
    """On a log axis, where none stands two doublings below the least."""
    least = min((context for context in drawn if context), default=1)
    return np.maximum(np.asarray(contexts, float), least / 4)


def _changes(axes: Axes, documents: pd.DataFrame, means: pd.DataFrame, look: style.Look, contexts: list[int]) -> None:
    for _, rows in documents.sort_values("context").groupby("document"):
        nats = rows["nats"].to_numpy()
        axes.plot(_place(rows["context"], contexts), nats - nats[0], color=FAINT, linewidth=0.5, zorder=1)
    value, low, high = (means[name].to_numpy() for name in ("change", "low", "high"))
    lengths = style.error(value, low, high)
    axes.errorbar(_place(means["context"], contexts), value, lengths, markersize=4, capsize=2, elinewidth=0.8, **look)


def _context_axis(axes: Axes, contexts: list[int], trained: np.ndarray) -> None:
    for length in trained:
        axes.axvline(length, color=style.NEUTRAL, linestyle=":", linewidth=1, zorder=1)
    axes.set_xscale("log", base=2)
    step = -(-len(contexts) // MOST_LABELS)
    at = _place(np.array(contexts[::step]), contexts)
    names = dict(zip(at.tolist(), map(_short, contexts[::step]), strict=True))
    axes.xaxis.set_major_locator(FixedLocator(at.tolist()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: names.get(value, "")))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("context (tokens before the targets)")


def _short(context: int) -> str:
    """256, 4k, 1.5k: k is 1024."""
    return f"{context / 1024:.3g}k" if context >= 1024 else str(context)


def _caption(table: pd.DataFrame, means: pd.DataFrame, shared: pd.DataFrame) -> str:
    targets = ", ".join(str(n) for n in sorted(table["targets"].unique()))
    sources = ", ".join(sorted(table["source"].unique()))
    counts, models, whole = means["documents"], means["model"].nunique(), shared["document"].nunique()
    return (
        f"Loss of the last {targets} tokens of held-out documents ({sources}) after a separator and so many of the "
        f"document's tokens before them. By model, on axes of their own: its change from a context of "
        f"{means['context'].min()}, thin of each document, and the mean with a 95% interval by a bootstrap of "
        f"documents. Last panel: means over the {whole} documents that are long enough for every context. "
        f"{models} models, {counts.min()} to {counts.max()} documents a point. Dotted, the length that models were "
        "trained with: beyond it no token stood so far from the beginning, and rotary positions, where attention has "
        "them, are not learnt there. k = 1024."
    )
