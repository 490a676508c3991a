"""Loss against attention's share at each budget, each at its best size, and where the best share may be."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from eutectic.analysis.bootstrap import LEVEL
from eutectic.analysis.evidence import Evidence, of_these
from eutectic.analysis.figures import style
from eutectic.analysis.minima import Minima
from eutectic.analysis.verdicts import OF_TRAINED, places

_CURVES = {"by a parabola": style.ACCENT, "by a cubic": style.COOL}


def figure(e: Evidence) -> Figure | None:
    """A panel for each budget. None where no budget has the optima of three shares."""
    part = e.shares
    shown = [one for one in e.minima.get(part, ()) if one.degrees and len(of_these(one.archs, e.family(part))) > 2]
    if not shown:
        return None
    drawn, panels = style.panels(len(shown))
    for axes, one in zip(panels, shown, strict=True):
        _budget(axes, one, e, part)
    style.legend(drawn, max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1])), "best share")
    how = "of seeds" if shown[0].seeds else "that runs scatter by about their parabolas"
    rows = style.rows_of(
        e.parts[part].used, [(arch, one.budget) for one in shown for arch in of_these(one.archs, e.family(part))]
    )
    style.below(
        drawn,
        f"{_mixed(rows, e, part)} at their isoFLOP optima, each with a 95% interval by the noise {how}. Filled, the "
        "shares that may be the best, by the intervals of all differences at once. Bands, the minimum of a curve "
        f"through the shares, with its 95% interval, where it is inside. {style.runs(rows)}.",
    )
    return drawn


def _mixed(rows: pd.DataFrame, e: Evidence, part: str) -> str:
    depths = style.either(rows["n_layers"])
    return f"Losses of layouts of {' and '.join(of_these(e.family(part), e.pure(part)))}, {depths} layers deep,"


def _budget(axes: Axes, one: Minima, e: Evidence, part: str) -> None:
    archs = of_these(one.archs, e.family(part))
    shares = np.array([e.parts[part].shares[arch] for arch in archs])
    losses = one.of(archs)
    found = places(one, e, part)
    may = (shares >= found[OF_TRAINED].low) & (shares <= found[OF_TRAINED].high)
    bars = stats.t.ppf((1 + LEVEL) / 2, one.degrees) * losses[1:].std(0)
    for filled, own in ((True, may), (False, ~may)):
        look: style.Look = {"color": "black", "marker": "o", "markerfacecolor": "black" if filled else "white"}
        label = "may be of those trained" if filled else "is not"
        axes.errorbar(
            shares[own],
            losses[0, own],
            bars[own],
            linestyle="",
            markersize=4.5,
            capsize=2,
            label=label,
            zorder=3,
            **look,
        )
    for name, colour in _CURVES.items():
        if name in found:
            best = found[name]
            axes.axvspan(max(0.0, best.low), min(1.0, best.high), color=colour, alpha=0.15, linewidth=0)
            axes.axvline(best.value, color=colour, label=name, zorder=2)
    axes.set_title(f"{style.number(one.budget)} FLOPs")
    axes.set_xlabel("attention's share of the sequence mixers")
    axes.set_xlim(-0.05, 1.05)
    style.y_label(axes, style.LOSS)
