"""What the laws L(N, D) leave over: observed against fitted loss, by size and by tokens."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.laws import VARIABLES, Array
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report

PER_BIN, MOST_BINS = 8, 12


def figure(runs: Runs, report: Report) -> Figure | None:
    """A panel for parameters and one for tokens. None where no architecture has a law."""
    if not report.laws:
        return None
    drawn, panels = style.panels(2, share_y=True, archs=len(report.laws))
    looks = style.looks(runs.archs, report.shares)
    off = {arch: 100 * np.expm1(law.fit.residuals) for arch, law in report.laws.items()}
    many = len(runs.used) > style.MANY
    n = sum(law.fit.n for law in report.laws.values())
    bins = min(MOST_BINS, n // PER_BIN)
    for axes, name in zip(panels, ("N", "D"), strict=True):
        at = {arch: np.asarray(law.fit.x[name]) for arch, law in report.laws.items()}
        axes.axhline(0.0, color=style.NEUTRAL, linewidth=0.8, linestyle="--", zorder=1)
        for arch in report.laws:
            axes.plot(
                at[arch],
                off[arch],
                linestyle="",
                markersize=1.5 if many else 3.5,
                alpha=0.4 if many else 0.7,
                label=arch,
                zorder=style.POINTS,
                **looks[arch],
            )
        if bins > 1:
            _median(axes, np.concatenate(list(at.values())), np.concatenate(list(off.values())), bins)
        style.rasterize(axes, len(runs.used))
        axes.set_xlabel(VARIABLES[name])
        style.log_axis(axes, "x")
    panels[0].set_ylabel("observed over fitted loss, less 1 (%)")
    style.legend(drawn, panels[0])
    text = "Residuals of each architecture's L(N, D)."
    if bins > 1:
        text += f" Black, the median of all and the band of their middle half, in {bins} bins of equal numbers of runs."
    if report.refusals:
        text += f" Architectures without a law, not shown: {len(report.refusals)}."
    style.caption(drawn, report, runs.used[runs.used["arch"].isin(report.laws)], text)
    return drawn


def _median(axes: Axes, x: Array, y: Array, bins: int) -> None:
    parts = np.array_split(np.argsort(x, kind="stable"), bins)
    middle = [float(np.exp(np.log(x[part]).mean())) for part in parts]
    low, centre, high = np.array([np.quantile(y[part], [0.25, 0.5, 0.75]) for part in parts]).T
    axes.fill_between(middle, low, high, color="black", alpha=0.15, linewidth=0)
    axes.plot(middle, centre, color="black", zorder=3)
