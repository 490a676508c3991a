"""Loss against attention's share at each budget, and the parabola that its best share is read from."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.load import Runs
from eutectic.analysis.ratio import HybridOptimum
from eutectic.analysis.report import Report

APART = 0.008  # shares between the points of two budgets


def figure(runs: Runs, report: Report) -> Figure | None:
    """A panel for each set of mixers that attention is mixed with. None where no three shares have an optimum."""
    shown = [family for family in report.families if family.mixed]
    if not shown:
        return None
    drawn, panels = style.panels(len(shown))
    for axes, family in zip(panels, shown, strict=True):
        for hybrid in family.ratios:
            index = report.budgets.index(hybrid.budget)
            apart = APART * (index - (len(report.budgets) - 1) / 2)
            _budget(axes, hybrid, apart, style.budget_colour(index, len(report.budgets)))
        axes.set_title(f"attention mixed with {family.name}")
        axes.set_xlabel("attention's share of the sequence mixers")
        axes.set_xlim(-0.05, 1.05)
        style.y_label(axes, "loss above the best share (nats per token)")
    style.legend(drawn, max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1])), "FLOPs")
    style.caption(
        drawn,
        report,
        style.rows_of(runs.used, [(arch, h.budget) for family in shown for h in family.ratios for arch in h.archs]),
        "Each share's loss at its isoFLOP optimum with its standard error, a little apart sideways; solid, the "
        "parabola of least squares (points weigh the same) whose minimum is the best share at this budget; dotted, "
        "points joined where no optimum can be called.",
    )
    return drawn


def _budget(axes: Axes, hybrid: HybridOptimum, apart: float, colour: tuple[float, ...]) -> None:
    gap = np.array(hybrid.losses) - hybrid.best_loss
    look: style.Look = {"color": colour, "marker": "o", "markersize": 4, "capsize": 2, "linestyle": ""}
    label = style.number(hybrid.budget)
    shown = np.array(hybrid.shares) + apart
    axes.errorbar(shown, gap, hybrid.errors, label=label, **look)
    if hybrid.coefficients is None:
        axes.plot(shown, gap, color=colour, linewidth=0.8, linestyle=":")
    else:
        shares = np.linspace(min(hybrid.shares), max(hybrid.shares), 100)
        axes.plot(
            shares, np.polynomial.polynomial.polyval(shares, hybrid.coefficients) - hybrid.best_loss, color=colour
        )
