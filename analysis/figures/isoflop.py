"""Loss against size at each budget, by architecture, with the isoFLOP curve and its minimum."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.isoflop import IsoflopOptimum, Method
from eutectic.analysis.load import Runs
from eutectic.analysis.report import PARABOLAS, Report

_OTHERS: dict[Method, str] = {"cubic": "x", "akima": "+"}


def figure(runs: Runs, report: Report) -> Figure | None:
    """A panel per budget, of many architectures one for those of one mixer and one for hybrids: every run, each curve
    with sizes enough, its optimum with a 95% interval, of size or else of loss, and beside parabolas the optima of
    other curves. None where none has two sizes at a budget."""
    if runs.used.groupby(["arch", "budget"])["params"].nunique().max() < 2:
        return None
    looks = style.looks(runs.archs, report.shares)
    groups, beside = {"": runs.archs}, ""
    alone = [arch for arch in runs.archs if style.stroke(arch) == "-"]
    hybrids = [arch for arch in runs.archs if arch not in alone or report.shares[arch] == 1.0]
    if len(runs.archs) > max(style.MANY_ARCHS, len(alone)):
        groups, beside = {", one mixer": alone, ", hybrids": hybrids}, ", pure attention beside them"
    drawn, panels = style.panels(len(runs.budgets) * len(groups), rows_of=len(groups), archs=len(runs.archs))
    places = [(budget, *group) for budget in runs.budgets for group in groups.items()]
    for axes, (budget, title, own) in zip(panels, places, strict=True):
        _panel(axes, runs, report, budget, {arch: looks[arch] for arch in own})
        axes.set_title(f"{style.number(budget)} FLOPs{title}")
        style.y_label(axes, style.LOSS)
    style.key_to(drawn, looks)
    others = " x and +, the minima of a cubic and of Akima's interpolation." if report.optima_by == PARABOLAS else ""
    style.caption(
        drawn,
        report,
        runs.used,
        f"Runs (small), {report.optima_by}, dashed for hybrids{beside}, and minima (large, white) with 95% intervals "
        f"cut at the sizes trained; a curve without a large point has its minimum beyond them.{others}",
    )
    return drawn


def _panel(axes: Axes, runs: Runs, report: Report, budget: float, looks: Mapping[str, style.Look]) -> None:
    for arch, look in looks.items():
        rows, optimum = runs.select(arch, budget), report.optimum(arch, budget)
        axes.plot(rows["params"], rows["loss"], linestyle="", markersize=3, alpha=0.8, zorder=style.POINTS, **look)
        if optimum is not None and optimum.coefficients is not None:
            _curve(axes, optimum, rows["params"].min(), rows["params"].max(), look)
    if report.optima_by == PARABOLAS:
        _others(axes, report, budget, looks)
    style.rasterize(axes, len(runs.used))
    axes.set_xlabel("parameters")
    style.log_axis(axes, "x")


def _curve(axes: Axes, optimum: IsoflopOptimum, smallest: float, largest: float, look: style.Look) -> None:
    sizes = np.geomspace(smallest, largest, 100)
    axes.plot(sizes, optimum.predict(sizes), style.stroke(optimum.arch), color=look["color"], linewidth=1.0)
    if optimum.params is None or optimum.loss is None:
        return
    size, loss = np.array([optimum.params]), np.array([optimum.loss])
    across = upright = None
    if optimum.params_interval is not None:
        across = style.error(size, *np.clip(optimum.params_interval, smallest, largest))
    elif optimum.loss_interval is not None:
        upright = style.error(loss, *map(np.array, optimum.loss_interval))
    axes.errorbar(
        size,
        loss,
        upright,
        across,
        markersize=5,
        capsize=2,
        elinewidth=0.8,
        markerfacecolor="white",
        **look,
    )


def _others(axes: Axes, report: Report, budget: float, looks: Mapping[str, style.Look]) -> None:
    for other in report.other_curves:
        for optimum in other.optima:
            if optimum.arch in looks and optimum.budget == budget and optimum.params and optimum.loss:
                colour, shape = looks[optimum.arch]["color"], _OTHERS[other.method]
                axes.plot(
                    optimum.params, optimum.loss, shape, color=colour, markersize=3, markeredgewidth=0.7, zorder=4
                )
