"""What an architecture's compute is worth: the share of the reference's FLOPs that it needs for the same loss."""

import numpy as np
from matplotlib.figure import Figure

from eutectic.analysis.compare import multiplier
from eutectic.analysis.figures import style
from eutectic.analysis.figures.curves import POINTS, band
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report


def figure(runs: Runs, report: Report) -> Figure | None:
    """None for one budget, and where fewer than two architectures have a law."""
    if len(report.budgets) < 2 or not report.comparisons:
        return None
    drawn, (axes,) = style.panels(1)
    looks = style.looks(runs.archs, report.shares)
    compute = np.geomspace(report.budgets[0], report.budgets[-1], POINTS)
    reference = report.comparisons[0].reference
    shown = []
    for k, comparison in enumerate(report.comparisons):
        look = looks[comparison.arch]
        ours, theirs = (report.laws[name].candidate for name in (comparison.arch, reference))
        line = band(compute, multiplier(ours, theirs, compute))
        at = band(np.array(report.budgets), list(comparison.multipliers))
        shown += [line, at]
        axes.plot(compute, line.value, color=look["color"])
        axes.fill_between(compute, line.low, line.high, color=look["color"], alpha=0.1, linewidth=0)
        axes.errorbar(
            style.dodge(at.compute, report.budgets, k, len(report.comparisons)),
            at.value,
            style.error(at.value, at.low, at.high),
            linestyle="",
            markersize=4,
            capsize=1.5,
            elinewidth=0.8,
            label=comparison.arch,
            **look,
        )
    axes.axhline(1.0, color=style.NEUTRAL, linewidth=0.8, linestyle="--", zorder=1)
    style.compute_axis(axes, report.budgets)
    values = np.concatenate([[1.0], *(curve.value for curve in shown)])
    style.bound(axes, values, np.concatenate([end for curve in shown for end in (curve.low, curve.high)]))
    style.log_axis(axes, "y")
    axes.set_xlabel(f"training compute of {reference} (FLOPs)")
    axes.set_ylabel(f"share of {reference}'s FLOPs for its loss")
    style.legend(drawn, axes)
    style.caption(
        drawn,
        report,
        f"Below 1, the architecture is better than {reference}. From both laws L(N, D), each at its own best size, "
        "with the 95% interval of paired resamples at the budgets and between them. What runs off the axis is cut.",
    )
    return drawn
