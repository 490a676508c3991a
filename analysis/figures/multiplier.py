"""What an architecture's compute is worth: the share of the reference's FLOPs that it needs for the same loss."""

import numpy as np
from matplotlib.figure import Figure

from eutectic.analysis.compare import multiplier
from eutectic.analysis.figures import style
from eutectic.analysis.figures.curves import POINTS, band, show_axes, show_points
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report


def figure(runs: Runs, report: Report) -> Figure | None:
    """None for one budget, and where fewer than two architectures have a law."""
    if len(report.budgets) < 2 or not report.comparisons:
        return None
    looks, archs = style.looks(runs.archs, report.shares), [comparison.arch for comparison in report.comparisons]
    drawn, (axes,) = style.panels(1, archs=len(archs))
    compute = np.geomspace(report.budgets[0], report.budgets[-1], POINTS)
    reference = report.comparisons[0].reference
    shown = []
    for k, comparison in enumerate(report.comparisons):
        look = looks[comparison.arch]
        ours, theirs = (report.laws[name].candidate for name in (comparison.arch, reference))
        between = [one.value for one in multiplier(ours, theirs, compute)]
        at = band(np.array(report.budgets), list(comparison.multipliers))
        shown.append(at)
        axes.plot(compute, between, style.stroke(comparison.arch), color=look["color"])
        x = style.dodge(at.compute, report.budgets, k, len(report.comparisons))
        show_points(axes, at, x, comparison.arch, look)
    axes.axhline(1.0, color=style.NEUTRAL, linewidth=0.8, linestyle="--", zorder=1)
    show_axes(axes, shown, report, 1.0)
    axes.set_xlabel(f"training compute of {reference} (FLOPs)")
    axes.set_ylabel(f"share of {reference}'s FLOPs for its loss")
    style.key_to(drawn, {arch: looks[arch] for arch in archs})
    style.caption(
        drawn,
        report,
        runs.used[runs.used["arch"].isin([*archs, reference])],
        f"Below 1, the architecture is better than {reference}. From both laws L(N, D), each at its own best size, "
        "with the 95% interval of paired resamples at the budgets; dashed, hybrids. What runs off the axis is cut; an "
        "arrow there, the interval has no end: too many resamples do not meet the loss within four decades.",
    )
    return drawn
