"""The law L(N, D) as contours, with the runs it was fitted to and the efficient frontier."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eutectic.analysis.figures import style
from eutectic.analysis.figures.curves import POINTS, band
from eutectic.analysis.fit import Fit
from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs
from eutectic.analysis.optimum import Cost
from eutectic.analysis.report import ArchLaw, Report

CELLS = 60
MARGIN = 1.3
_PALETTE = "viridis"
_LABELLED = np.linspace([0.45, 0.03], [0.96, 0.55], 100).T  # in shares of the axes


def figure(runs: Runs, report: Report) -> Figure | None:
    """A panel for each architecture with a law, or, of many, for some. None where none has one."""
    shown, others = style.chosen(list(report.laws), runs)
    if not shown:
        return None
    drawn, panels = style.panels(len(shown))
    losses = np.concatenate([report.laws[arch].fit.y for arch in shown])
    norm = LogNorm(losses.min(), losses.max())
    levels = np.array(MaxNLocator(10).tick_values(losses.min(), losses.max()))
    for axes, arch in zip(panels, shown, strict=True):
        _panel(axes, report.laws[arch], report.budgets, levels, norm, len(runs.used) > style.MANY)
        axes.set_title(arch)
        axes.set_xlabel("parameters")
        style.y_label(axes, "training tokens")
    bar = drawn.colorbar(
        ScalarMappable(norm, _PALETTE), ax=panels, pad=0.01, aspect=40, ticks=levels[1:-1], format="%.3g"
    )
    bar.minorticks_off()
    bar.set_label(style.LOSS)
    style.caption(
        drawn,
        report,
        runs.used[runs.used["arch"].isin(shown)],
        "Contours of L(N, D); dots, runs, coloured by their own loss; dotted, equal compute at the budgets; red, the "
        "least loss at each compute with the 95% interval of its size, cut at the axes." + others,
    )
    return drawn


def _panel(axes: Axes, law: ArchLaw, budgets: tuple[float, ...], levels: Array, norm: LogNorm, many: bool) -> None:
    fit, candidate = law.fit, law.candidate
    n, d = fit.x["N"], fit.x["D"]
    sizes = np.geomspace(n.min() / MARGIN, n.max() * MARGIN, CELLS)
    tokens = np.geomspace(d.min() / MARGIN, d.max() * MARGIN, CELLS)
    x, y = np.meshgrid(sizes, tokens)
    lines = axes.contour(x, y, fit.predict({"N": x, "D": y}), levels, norm=norm, cmap=_PALETTE, linewidths=0.9)
    axes.scatter(
        n, d, c=fit.y, s=12, norm=norm, cmap=_PALETTE, edgecolors="black", linewidths=0.3, rasterized=many, zorder=3
    )
    for budget in budgets:
        axes.plot(
            sizes, _tokens(candidate.cost, budget, sizes), color=style.NEUTRAL, linewidth=0.6, linestyle=":", zorder=1
        )
    compute = np.geomspace(budgets[0], budgets[-1], POINTS)
    best = band(compute, [candidate.estimate(v) for v in candidate.optimum(compute).params.T])
    axes.plot(best.value, _tokens(candidate.cost, compute, best.value), color=style.ACCENT, zorder=4)
    edge = np.concatenate([best.low, best.high[::-1]])
    around = np.concatenate([compute, compute[::-1]])
    axes.fill(edge, _tokens(candidate.cost, around, edge), color=style.ACCENT, alpha=0.2, linewidth=0, zorder=2)
    axes.set_xlim(sizes[0], sizes[-1])
    axes.set_ylim(tokens[0], tokens[-1])
    style.log_axis(axes, "x")
    style.log_axis(axes, "y")
    _label(axes, lines, fit, levels)


def _label(axes: Axes, lines: QuadContourSet, fit: Fit, levels: Array) -> None:
    """Contours where they cross a line beside the frontier, so that no label is cut by the axes."""
    ends = np.log([axes.get_xlim(), axes.get_ylim()])
    n, d = (np.exp(np.interp(share, [0, 1], side)) for share, side in zip(_LABELLED, ends, strict=True))
    along = fit.predict({"N": n, "D": d})
    crossed = levels[(levels > along[-1]) & (levels < along[0])]
    at = [(float(np.interp(-level, -along, n)), float(np.interp(-level, -along, d))) for level in crossed]
    axes.clabel(lines, crossed, manual=at, fmt="%.3g", fontsize=6)


def _tokens(cost: Cost, compute: Array | float, params: Array) -> Array:
    """What a compute leaves for tokens at these sizes."""
    return np.exp(np.log(compute) - cost.log(np.log(params)))
