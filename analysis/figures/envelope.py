"""Training curves against compute, their lower envelope, and the power law through it (approach 1)."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from eutectic.analysis.envelope import Envelope
from eutectic.analysis.figures import style
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report

MOST_CURVES, MOST_POINTS = 40, 250  # of an architecture, and of a curve, that are drawn
_PALETTE = "viridis"


def figure(runs: Runs, report: Report) -> Figure | None:
    """A panel for each architecture with training curves, or, of many, for some. None where no curves were logged."""
    found = {one.arch: one for one in report.envelopes}
    shown, others = style.chosen(list(found), runs)
    if not shown:
        return None
    some = thinned(runs)
    own = some.used[some.used["arch"].isin(shown)]
    curves = some.curves.merge(own[["run_id", "arch", "params"]], on="run_id")
    norm = LogNorm(own["params"].min(), own["params"].max())
    drawn, panels = style.panels(len(shown), share_y=True)
    for axes, arch in zip(panels, shown, strict=True):
        _curves(axes, curves[curves["arch"] == arch], norm)
        _envelope(axes, found[arch])
        axes.set_title(arch)
        axes.set_xlabel("training compute (FLOPs)")
        style.log_axis(axes, "x")
        axes.xaxis.set_major_formatter(lambda value, _: style.number(value))
        style.log_axis(axes, "y")
        style.y_label(axes, "training loss (nats per token)")
    bar = drawn.colorbar(ScalarMappable(norm, _PALETTE), ax=panels, pad=0.01, aspect=40)
    style.log_axis(bar.ax, "y")
    bar.set_label("parameters")
    style.caption(
        drawn,
        report,
        runs.used[runs.used["arch"].isin(shown)],
        "Thin, training curves, coloured by size; black, the lowest of all from a tenth of the smallest budget on, "
        "dotted where the smallest or the largest model is the lowest, so that the best may lie beyond; red, the power "
        "law through the rest. Before a run's end its loss is higher than that of a run planned to end there, whose "
        f"learning rate has decayed.{others} {curves['run_id'].nunique()} curves drawn, out of",
    )
    return drawn


def thinned(runs: Runs) -> Runs:
    """With the curves of some runs of each architecture, from the smallest to the largest, and of each some points."""
    ordered = runs.used.sort_values(["arch", "params", "budget", "seed"], kind="stable")
    own = [rows.iloc[:: -(-len(rows) // MOST_CURVES)] for _, rows in ordered.groupby("arch")]
    used = pd.concat(own)
    curves = runs.curves[runs.curves["run_id"].isin(used["run_id"])].assign(run_id=lambda c: c["run_id"].astype(str))
    count = curves.groupby("run_id")["flops"].transform("size")
    behind = curves.groupby("run_id").cumcount(ascending=False)  # so that a curve's last point stays
    return replace(runs, used=used, curves=curves[behind % np.ceil(count / MOST_POINTS) == 0])


def _curves(axes: Axes, curves: pd.DataFrame, norm: LogNorm) -> None:
    for _, curve in curves.groupby("run_id", sort=False):
        colour = ScalarMappable(norm, _PALETTE).to_rgba(curve["params"].iloc[0])
        axes.plot(curve["flops"], curve["train_loss"], color=colour, linewidth=0.6, alpha=0.7)


def _envelope(axes: Axes, found: Envelope) -> None:
    for edge, stroke in ((False, "-"), (True, ":")):
        axes.plot(found.compute, np.where(found.edge == edge, found.loss, np.nan), stroke, color="black")
    law = found.frontier.loss
    if law is not None:
        inner = found.compute[~found.edge]
        axes.plot(inner, law.predict(inner), "--", color=style.ACCENT)
