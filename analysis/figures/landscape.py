"""The objective of one fit over its two exponents, all else fitted anew: how well they are known, and its basins."""

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.fit import Fit
from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report
from eutectic.analysis.solve import SAME_PLACE, Descent, descend, starts

EXPONENTS = ("alpha", "beta")
FINEST, COARSEST, WORK = 61, 15, 60_000  # sides of the grid, and the rows of data it may take in all
CLOUD = 500
LEVELS = (1.1, 1.3, 2, 3, 5, *(step * 10.0**k for k in range(1, 30) for step in (1, 3)))
MOST_LEVELS = 10


def figure(runs: Runs, report: Report) -> Figure | None:
    """Of the reference's law, or the first's. None where no architecture has one."""
    if not report.laws:
        return None
    arch = report.comparisons[0].reference if report.comparisons else next(iter(report.laws))
    fit, theta = report.laws[arch].fit, report.laws[arch].candidate.theta[1:]
    where = [fit.law.names.index(name) for name in EXPONENTS]
    cloud = theta[~np.isnan(theta[:, 0])][:CLOUD, where]
    top = np.maximum(2.0 * fit.theta[where], 1.05 * np.quantile(cloud, 0.99, axis=0))
    first = starts(fit.problem, fit.loss_fn, 0, None)
    ends = _descend(fit, first)
    same = ends.converged & (np.abs(ends.theta - fit.centred).max(1) < SAME_PLACE)
    drawn, (axes,) = style.panels(1)
    _contours(axes, fit, where, top, float(ends.value[same].min(initial=np.inf)))
    axes.plot(*cloud.T, ".", color="black", markersize=1.5, alpha=0.3, label="resample")
    axes.plot(*first[:, where].T, "+", color=style.COOL, markersize=4, label="start")
    if not same.all():
        axes.plot(*ends.theta[~same][:, where].T, "X", color=style.ACCENT, markersize=6, label="other end")
    axes.plot(*fit.theta[where], "*", color=style.ACCENT, markersize=11, markeredgecolor="white", label="minimum")
    axes.set_xlim(0, top[0])
    axes.set_ylim(0, top[1])
    axes.set_title(f"{arch}: {fit.law.formula}")
    axes.set_xlabel("alpha, exponent of parameters")
    axes.set_ylabel("beta, exponent of tokens")
    style.legend(drawn, axes, "")
    style.caption(drawn, report, runs.select(arch), _text(fit, ends, same, len(cloud)))
    return drawn


def _text(fit: Fit, ends: Descent, same: np.typing.NDArray[np.bool_], resamples: int) -> str:
    others = int((ends.converged & ~same).sum())
    return (
        f"The objective ({fit.loss_fn.text}) over its minimum, with E, A and B fitted anew at each alpha and beta, for "
        f"the {fit.n} runs of one architecture. Of {len(same)} starts {int(same.sum())} ended in the minimum, {others} "
        f"in another and {int((~ends.converged).sum())} did not converge; {resamples} resamples. What is off the axes "
        "is not shown."
    )


def _contours(axes: Axes, fit: Fit, where: list[int], top: Array, lowest: float) -> None:
    side = int(np.clip(np.sqrt(WORK / fit.n), COARSEST, FINEST))
    x, y = np.meshgrid(*(np.linspace(end / side, end, side) for end in top))
    height = np.log(_least(fit, where, x, y) / max(lowest, 1e-300))
    levels = [level for level in LEVELS if height.min() < np.log(level) < height.max()][-MOST_LEVELS:]
    axes.contourf(x, y, height, np.log(levels), cmap="Blues_r", alpha=0.5, extend="both")
    lines = axes.contour(x, y, height, np.log(levels), colors=style.NEUTRAL, linewidths=0.7)
    labels = axes.clabel(lines, fmt=lambda value: style.number(float(np.exp(value))), fontsize=6, zorder=5)
    for label in labels:  # among dots
        label.set_path_effects([patheffects.withStroke(linewidth=2, foreground="white")])


def _least(fit: Fit, where: list[int], x: Array, y: Array) -> Array:
    """The least objective at each pair of exponents. Some descents from the minimum run into bounds: each cell is tried
    again from the lowest of its neighbours."""
    held = np.stack([x.ravel(), y.ravel()], 1)  # exponents are the same, centred or not
    start = np.tile(fit.centred, (x.size, 1))
    start[:, where] = held
    first = _descend(fit, start, where)
    grid, cells = np.arange(x.size).reshape(x.shape), np.arange(x.size)
    beside = np.stack([np.roll(grid, step, axis).ravel() for axis in (0, 1) for step in (-1, 1)])
    again = first.theta[beside[first.value[beside].argmin(0), cells]]
    again[:, where] = held
    return np.minimum(first.value, _descend(fit, again, where).value).reshape(x.shape)


def _descend(fit: Fit, theta: Array, held: list[int] | None = None) -> Descent:
    fixed = None if held is None else np.isin(np.arange(theta.shape[1]), held)
    return descend(fit.problem, fit.loss_fn, theta, fit.problem.y[None], np.ones((1, fit.n)), fixed)
