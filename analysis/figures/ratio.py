"""The best share of attention: loss against share at each budget, and the optimum against compute."""

import numpy as np
from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report


def figure(runs: Runs, report: Report) -> Figure:
    """Left, each share's loss at its best size, above the budget's lowest. Right, the best share by budget."""
    drawn, (left, right) = style.panels(2)
    for index, hybrid in enumerate(report.hybrids):
        colour = style.budget_colour(index, len(report.hybrids))
        label = f"{hybrid.budget:.3g}".replace("e+", "e")
        gap = np.array(hybrid.losses) - hybrid.best_loss
        left.errorbar(
            hybrid.shares,
            gap,
            hybrid.errors,
            color=colour,
            marker="o",
            markersize=4,
            capsize=2,
            linestyle="",
            label=label,
        )
        if hybrid.coefficients is None:
            left.plot(hybrid.shares, gap, color=colour, linewidth=0.8, linestyle=":")
        else:
            shares = np.linspace(min(hybrid.shares), max(hybrid.shares), 100)
            curve = np.polynomial.polynomial.polyval(shares, hybrid.coefficients)
            left.plot(shares, curve - hybrid.best_loss, color=colour)
        if hybrid.share is not None and hybrid.interval is not None:
            error = [[hybrid.share - hybrid.interval[0]], [hybrid.interval[1] - hybrid.share]]
            right.errorbar(hybrid.budget, hybrid.share, error, color=colour, marker="o", capsize=2)
        else:
            right.plot(hybrid.budget, hybrid.best_share, color=colour, marker="o", markerfacecolor="white")
    left.set_xlabel("attention's share of the sequence mixers")
    left.set_ylabel("loss above the best share trained (nats per token)")
    left.set_xlim(-0.05, 1.05)
    if report.hybrids:
        left.legend(title="FLOPs")
    right.set_ylabel("best share of attention")
    right.set_ylim(-0.05, 1.05)
    style.compute_axis(right, runs.budgets)
    style.caption(
        drawn,
        report,
        "Left: loss at each share's best size with its standard error; solid, a parabola in the share. Right: "
        "filled, the optimum with a 95% interval; white, the best of those tried where no optimum can be called.",
    )
    return drawn
