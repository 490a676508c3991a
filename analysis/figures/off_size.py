"""What models lose that are smaller or larger than the best of their budget, by architecture."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eutectic.analysis.campaign import MAIN
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.figures import style
from eutectic.analysis.minima import NEAR, Minima


def figure(e: Evidence) -> Figure | None:
    """A panel for each budget. None where no architecture has an optimum."""
    shown = [one for one in e.minima.get(MAIN, ()) if one.archs]
    if not shown:
        return None
    runs = e.parts[MAIN]
    cells = [(arch, one.budget) for one in shown for arch in one.archs]
    looks = {arch: look for arch, look in style.looks(runs.archs, runs.shares).items() if arch in dict(cells)}
    drawn, panels = style.panels(len(shown), share_y=True, archs=len(looks))
    for axes, one in zip(panels, shown, strict=True):
        _budget(axes, one, e, looks)
    style.key_to(drawn, looks)
    noise = e.noises.get(MAIN)
    bars = "with the standard error that seeds' noise gives them" if noise else "without errors, for noise is not known"
    style.below(
        drawn,
        f"Mean losses of each size less the loss at the isoFLOP optimum, {bars}, against size over the best size; "
        f"dashed, hybrids; dotted, sizes {NEAR:g} times off. {style.runs(style.rows_of(runs.used, cells))}. FLOPs by "
        f"{runs.used['convention'].iloc[0]}.",
    )
    return drawn


def _budget(axes: Axes, one: Minima, e: Evidence, looks: dict[str, style.Look]) -> None:
    noise = e.noises.get(MAIN)
    for optimum in one.optima:
        if optimum.params is None or optimum.loss is None:
            continue
        sizes = e.parts[MAIN].select(optimum.arch, one.budget).groupby("params")["loss"].agg(["mean", "size"])
        params = sizes.index.to_numpy(float)
        errors = (noise.of(params, one.budget) if noise else 0.0) / np.sqrt(sizes["size"])
        off, lost = params / optimum.params, sizes["mean"] - optimum.loss
        axes.errorbar(
            off,
            lost,
            errors,
            linestyle=style.stroke(optimum.arch),
            linewidth=0.9,
            markersize=3.5,
            elinewidth=0.8,
            label=optimum.arch,
            **looks[optimum.arch],
        )
    for factor in (1 / NEAR, NEAR):
        axes.axvline(factor, color=style.NEUTRAL, linestyle=":", linewidth=0.8, zorder=1)
    axes.axhline(0.0, color=style.NEUTRAL, linewidth=0.8, zorder=1)
    style.log_axis(axes, "x")
    axes.set_title(f"{style.number(one.budget)} FLOPs")
    axes.set_xlabel("parameters over those of the best size")
    style.y_label(axes, "loss above the best (nats per token)")
