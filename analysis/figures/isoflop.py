"""Loss against size at each budget, by architecture, with the parabola and its minimum."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report


def figure(runs: Runs, report: Report) -> Figure:
    """A panel per budget: every run, each parabola with at least four sizes, each optimum with its 95% interval."""
    drawn, panels = style.panels(len(runs.budgets))
    for axes, budget in zip(panels, runs.budgets, strict=True):
        for arch in runs.archs:
            rows, optimum = runs.select(arch, budget), report.optimum(arch, budget)
            look: dict[str, Any] = {"color": style.colour(arch), "marker": style.marker(arch)}
            axes.plot(rows["params"], rows["loss"], linestyle="", markersize=3.5, alpha=0.8, label=arch, **look)
            if optimum is None or optimum.coefficients is None:
                continue
            sizes = np.geomspace(rows["params"].min(), rows["params"].max(), 100)
            axes.plot(sizes, optimum.predict(sizes), color=look["color"])
            if optimum.params is not None and optimum.loss is not None and optimum.params_interval is not None:
                low, high = np.clip(optimum.params_interval, sizes[0], sizes[-1])
                error = [[optimum.params - low], [high - optimum.params]]
                axes.errorbar(
                    optimum.params,
                    optimum.loss,
                    xerr=error,
                    markersize=7,
                    capsize=2,
                    elinewidth=0.8,
                    markerfacecolor="white",
                    **look,
                )
        axes.set_title(f"{budget:.3g} FLOPs".replace("e+", "e"))
        axes.set_xlabel("parameters")
        style.log_axis(axes, "x")
    panels[0].set_ylabel("validation loss (nats per token)")
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="architecture")
    style.caption(
        drawn,
        report,
        "Runs (small), parabola in log parameters, and its minimum (large, white) with a 95% interval cut at the "
        "sizes trained; a parabola without a large point has its minimum beyond them.",
    )
    return drawn
