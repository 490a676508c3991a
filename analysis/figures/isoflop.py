"""Loss against size at each budget, by architecture, with the isoFLOP curve and its minimum."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eutectic.analysis.figures import style
from eutectic.analysis.isoflop import IsoflopOptimum, Method
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report

_OTHERS: dict[Method, str] = {"cubic": "x", "akima": "+"}


def figure(runs: Runs, report: Report) -> Figure:
    """A panel per budget: every run, each parabola with sizes enough, its optimum with a 95% interval, and the optima
    of the other curves."""
    drawn, panels = style.panels(len(runs.budgets))
    looks = style.looks(runs.archs, report.shares)
    for axes, budget in zip(panels, runs.budgets, strict=True):
        here = runs.used[runs.used["budget"] == budget]
        for arch, rows in here.groupby("arch", sort=False):
            look, optimum = looks[str(arch)], report.optimum(str(arch), budget)
            axes.plot(
                rows["params"],
                rows["loss"],
                linestyle="",
                markersize=3.5,
                alpha=0.8,
                zorder=style.POINTS,
                **look,
            )
            if optimum is not None and optimum.coefficients is not None:
                _curve(axes, optimum, rows["params"].min(), rows["params"].max(), look)
        _others(axes, report, budget, looks)
        style.rasterize(axes, len(runs.used))
        axes.set_title(f"{style.number(budget)} FLOPs")
        axes.set_xlabel("parameters")
        style.log_axis(axes, "x")
        style.y_label(axes, style.LOSS)
    for arch, look in looks.items():
        panels[0].add_line(Line2D([], [], linestyle="", markersize=4, label=arch, **look))
    style.legend(drawn, panels[0])
    style.caption(
        drawn,
        report,
        "Runs (small), parabola in log parameters, and its minimum (large, white) with a 95% interval cut at the "
        "sizes trained; a parabola without a large point has its minimum beyond them. x and +, the minima of a cubic "
        "and of Akima's interpolation.",
    )
    return drawn


def _curve(axes: Axes, optimum: IsoflopOptimum, smallest: float, largest: float, look: style.Look) -> None:
    sizes = np.geomspace(smallest, largest, 100)
    axes.plot(sizes, optimum.predict(sizes), color=look["color"])
    if optimum.params is None or optimum.params_interval is None or optimum.loss is None:
        return
    value = np.array([optimum.params])
    low, high = np.clip(optimum.params_interval, smallest, largest)
    axes.errorbar(
        value,
        [optimum.loss],
        xerr=style.error(value, low, high),
        markersize=7,
        capsize=2,
        elinewidth=0.8,
        markerfacecolor="white",
        **look,
    )


def _others(axes: Axes, report: Report, budget: float, looks: Mapping[str, style.Look]) -> None:
    for other in report.other_curves:
        for optimum in other.optima:
            if optimum.budget == budget and optimum.params is not None and optimum.loss is not None:
                colour, shape = looks[optimum.arch]["color"], _OTHERS[other.method]
                axes.plot(
                    optimum.params, optimum.loss, shape, color=colour, markersize=4, markeredgewidth=0.8, zorder=4
                )
