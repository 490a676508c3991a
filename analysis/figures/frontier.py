"""The compute-optimal loss, and perplexity, against compute, by architecture."""

from matplotlib.figure import Figure

from eutectic.analysis.figures import style
from eutectic.analysis.figures.curves import curves, show
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report


def figure(runs: Runs, report: Report) -> Figure | None:
    """Left, loss; right, perplexity. None for one budget."""
    found = curves(runs, report)
    if found is None:
        return None
    drawn, (left, right) = style.panels(2, archs=len(found))
    looks = {arch: look for arch, look in style.looks(runs.archs, report.shares).items() if arch in found}
    show(left, "loss", found, looks, report)
    show(right, "perplexity", found, looks, report)
    left.set_ylabel(style.LOSS)
    right.set_ylabel("validation perplexity (per token)")
    style.key_to(drawn, looks)
    style.caption(
        drawn,
        report,
        runs.used[runs.used["arch"].isin(found)],
        "Points, loss at the isoFLOP optimum with a 95% interval, a little apart sideways; lines, dashed for hybrids, "
        "the least loss of L(N, D) with its 95% band of resamples where that has both ends; dotted, a power law "
        "through the points where L(N, D) is refused. What runs off the axis is cut.",
    )
    return drawn
