"""The best share of attention against compute: by the law L(N, D, r), and straight from each budget."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eutectic.analysis.compare import estimate
from eutectic.analysis.figures import style
from eutectic.analysis.figures.curves import band
from eutectic.analysis.hybrid import HybridLaw
from eutectic.analysis.load import Runs
from eutectic.analysis.ratio import HybridOptimum
from eutectic.analysis.report import Report

_LAW, _DIRECT = style.COOL, style.ACCENT
# marker, whether it is filled, and what it means
_VERDICTS = {"interior": ("D", True), "undecided": ("D", False), "r=0": ("v", True), "r=1": ("^", True)}
_DIRECTS = {"optimum": ("o", True), "boundary": ("s", False), "best of those tried": ("o", False)}


def figure(runs: Runs, report: Report) -> Figure | None:
    """A panel for each set of mixers that attention is mixed with. None for one budget, and where none has
    three shares."""
    shown = [family for family in report.families if family.told]
    if len(report.budgets) < 2 or not shown:
        return None
    drawn, panels = style.panels(len(shown))
    for axes, family in zip(panels, shown, strict=True):
        if family.law is not None and family.law.optima:
            _law(axes, family.law, report.budgets)
        for hybrid in family.ratios:
            _direct(axes, hybrid, report.budgets)
        axes.set_title(_title(family.name, family.law))
        axes.set_ylim(-0.05, 1.05)
        style.compute_axis(axes, report.budgets)
        style.y_label(axes, "best share of attention")
    _legend(drawn)
    style.caption(
        drawn,
        report,
        runs.used[runs.used["arch"].isin({arch for family in shown for arch in family.archs})],
        "Blue, the best share by the law L(N, D, r) with a 95% band of resamples, and by verdict at each budget; red, "
        "straight from a budget: the minimum of the parabola through the shares trained, with a 95% interval, or, "
        "where none can be called, the best of those trained.",
    )
    return drawn


def _title(name: str, law: HybridLaw | None) -> str:
    if law is None:
        return f"{name}: no law"
    return f"{name}: {law.fit.law.name if law.optima else 'no dependence on the share'}"


def _law(axes: Axes, law: HybridLaw, budgets: tuple[float, ...]) -> None:
    halves, whole = np.arange(0, len(budgets) - 0.5, 0.5), np.arange(len(budgets))
    compute = np.exp(np.interp(halves, whole, np.log(budgets)))  # the budgets and halfway between them
    found = law.best(compute).share
    assert found is not None
    line = band(compute, [estimate(v, law.fit.degrees, log=False) for v in found.T])
    axes.plot(compute, line.value, color=_LAW)
    axes.fill_between(compute, np.clip(line.low, 0, 1), np.clip(line.high, 0, 1), color=_LAW, alpha=0.15, linewidth=0)
    for optimum in law.optima:
        shape, filled = _VERDICTS[optimum.verdict]
        face = _LAW if filled else "white"
        axes.plot(optimum.compute, optimum.share.value, color=_LAW, marker=shape, markersize=5, markerfacecolor=face)


def _direct(axes: Axes, hybrid: HybridOptimum, budgets: tuple[float, ...]) -> None:
    shape, filled = _DIRECTS[hybrid.verdict]
    value = hybrid.best_share if hybrid.share is None else hybrid.share
    low, high = hybrid.interval or (value, value)
    axes.errorbar(
        style.dodge(np.array([hybrid.budget]), budgets, 1, 2),
        [value],
        [[value - low], [high - value]],
        color=_DIRECT,
        marker=shape,
        markersize=5,
        markerfacecolor=_DIRECT if filled else "white",
        capsize=2,
        elinewidth=0.8,
    )


def _legend(drawn: Figure) -> None:
    handles = []
    for colour, prefix, verdicts in ((_LAW, "law: ", _VERDICTS), (_DIRECT, "", _DIRECTS)):
        for name, (shape, filled) in verdicts.items():
            face = colour if filled else "white"
            look: style.Look = {"marker": shape, "color": colour, "markerfacecolor": face}
            handles.append(Line2D([], [], linestyle="", label=prefix + name, **look))
    drawn.legend(handles=handles, loc="outside right upper", title="verdict")
