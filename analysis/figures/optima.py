"""The compute-optimal size, its tokens, and tokens per parameter, against compute, by architecture."""

from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.figures.curves import curves, show
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report

_LABELS = {
    "params": "compute-optimal parameters",
    "tokens": "compute-optimal tokens",
    "ratio": "tokens per parameter",
}


def figure(runs: Runs, report: Report) -> Figure | None:
    """A panel each. None for one budget."""
    found = curves(runs, report)
    if found is None:
        return None
    drawn, panels = style.panels(len(_LABELS), archs=len(found))
    looks = {arch: look for arch, look in style.looks(runs.archs, report.shares).items() if arch in found}
    for axes, (name, label) in zip(panels, _LABELS.items(), strict=True):
        show(axes, name, found, looks, report)
        axes.set_ylabel(label)
    style.key_to(drawn, looks)
    style.caption(
        drawn,
        report,
        runs.used[runs.used["arch"].isin(found)],
        "Points, the isoFLOP optimum (approach 2) with a 95% interval, a little apart sideways; that of tokens is of "
        "the size, at the tokens its compute leaves. Lines, dashed for hybrids, the optimum of L(N, D) (approach 3) "
        "with its 95% band of resamples where that has both ends; dotted, a power law through the points where L(N, D) "
        "is refused. What runs off the axis is cut.",
    )
    return drawn
