"""Perplexity at the best size against compute, by architecture, with the frontier's power law."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report


def figure(runs: Runs, report: Report) -> Figure:
    """One panel: exp(loss) of each isoFLOP optimum with its 95% interval, and exp of the law of the loss."""
    drawn, (axes,) = style.panels(1)
    for law in report.frontiers:
        found = [o for o in report.optima if o.arch == law.arch and o.status == "optimum"]
        if not found:
            continue
        look: dict[str, Any] = {"color": style.colour(law.arch), "marker": style.marker(law.arch)}
        budgets = np.array([o.budget for o in found])
        height = np.exp(np.array([o.loss for o in found], float))
        low, high = np.exp(np.array([o.loss_interval for o in found], float)).T
        error = [height - low, high - height]
        axes.errorbar(budgets, height, error, linestyle="", markersize=4, capsize=2, label=law.arch, **look)
        if law.loss is not None:
            compute = np.geomspace(budgets.min(), budgets.max(), 50)
            axes.plot(compute, np.exp(law.loss.predict(compute)), color=look["color"])
    axes.set_ylabel("validation perplexity (per token)")
    style.compute_axis(axes, runs.budgets)
    style.log_axis(axes, "y")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="architecture")
    style.caption(
        drawn,
        report,
        "Perplexity of the isoFLOP optimum with a 95% interval, and the power law of the loss fitted through them.",
    )
    return drawn
