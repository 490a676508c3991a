"""What an architecture's compute is worth: the share of the reference's FLOPs that it needs for the same loss."""

import numpy as np
from matplotlib.figure import Figure

from eutectic.analysis.compare import multiplier
from eutectic.analysis.figures import style
from eutectic.analysis.figures.curves import POINTS, band, show_axes, show_line, show_points
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
        show_line(axes, line, look)
        x = style.dodge(at.compute, report.budgets, k, len(report.comparisons))
        show_points(axes, at, x, comparison.arch, look)
    axes.axhline(1.0, color=style.NEUTRAL, linewidth=0.8, linestyle="--", zorder=1)
    show_axes(axes, shown, report, 1.0)
    axes.set_xlabel(f"training compute of {reference} (FLOPs)")
    axes.set_ylabel(f"share of {reference}'s FLOPs for its loss")
    style.legend(drawn, axes)
    style.caption(
        drawn,
        report,
        f"Below 1, the architecture is better than {reference}. From both laws L(N, D), each at its own best size, "
        "with the 95% interval of paired resamples at the budgets and between them. What runs off the axis is cut; an "
        "arrow there, the interval has no end: too many resamples do not meet the loss within four decades.",
    )
    return drawn
