"""What is drawn of compute-optimal decisions against compute: approach 2's points, and laws' lines with bands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from eutectic.analysis.archs import columns
from eutectic.analysis.compare import Estimate
from eutectic.analysis.figures import style
from eutectic.analysis.frontier import Frontier
from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs
from eutectic.analysis.optimum import fit_cost
from eutectic.analysis.report import Report

POINTS = 25


@dataclass(frozen=True)
class Curve:
    """A quantity at each compute with its 95% interval, NaN where it has none; all (computes,)."""

    compute: Array
    value: Array
    low: Array
    high: Array

    @property
    def exp(self) -> "Curve":
        return Curve(self.compute, np.exp(self.value), np.exp(self.low), np.exp(self.high))


@dataclass(frozen=True)
class Curves:
    """Of one architecture, by quantity: loss, perplexity, params, tokens, ratio (tokens per parameter).

    points: isoFLOP optima. lines: of the law L(N, D), or, where there is none, the power laws through the optima.
    """

    points: Mapping[str, Curve]
    lines: Mapping[str, Curve]


def curves(runs: Runs, report: Report) -> dict[str, Curves] | None:
    """By architecture that has an optimum or a law; None for one budget, and where none has."""
    if len(report.budgets) < 2:
        return None
    found = {arch: Curves(_points(runs, report, arch), _lines(report, arch)) for arch in runs.archs}
    return {arch: own for arch, own in found.items() if len(own.points["loss"].value) or own.lines} or None


def band(compute: Array, estimates: list[Estimate]) -> Curve:
    return Curve(compute, *np.array([(e.value, e.low, e.high) for e in estimates]).T)


def show(axes: Axes, name: str, found: Mapping[str, Curves], looks: Mapping[str, style.Look], report: Report) -> None:
    """Draw one quantity of every architecture on log axes."""
    everything = []
    for k, (arch, both) in enumerate(found.items()):
        own, line, look = both.points[name], both.lines.get(name), looks[arch]
        everything.append(own)
        show_points(axes, own, style.dodge(own.compute, report.budgets, k, len(found)), arch, look)
        if line is not None:
            everything.append(line)
            show_line(axes, line, look, style.stroke(arch) if arch in report.laws else ":", len(found))
    show_axes(axes, everything, report)


def show_points(axes: Axes, curve: Curve, at: Array, label: str, look: style.Look) -> None:
    """Points with their intervals, at these computes; arrows at the axes' edges where these are open."""
    error = style.error(curve.value, *style.ends(curve.low, curve.high))
    axes.errorbar(at, curve.value, error, linestyle="", markersize=4, capsize=1.5, elinewidth=0.8, label=label, **look)
    edges = axes.get_xaxis_transform()
    for is_open, edge, shape in ((np.isinf(curve.high), 1.0, "^"), (curve.low == 0, 0.0, "v")):
        if is_open.any():
            arrows: style.Look = {"color": look["color"], "marker": shape, "markersize": 5, "linestyle": ""}
            height = np.full(is_open.sum(), edge)
            axes.plot(at[is_open], height, clip_on=False, in_layout=False, transform=edges, **arrows)


def show_line(axes: Axes, curve: Curve, look: style.Look, stroke: str, beside: int) -> None:
    """A line with its band, where that has both ends, the fainter the more there are beside each other."""
    axes.plot(curve.compute, curve.value, stroke, color=look["color"])
    closed = (curve.low > 0) & np.isfinite(curve.high)
    axes.fill_between(
        curve.compute, curve.low, curve.high, closed, color=look["color"], alpha=0.3 / max(3, beside), linewidth=0
    )


def show_axes(axes: Axes, shown: Sequence[Curve], report: Report, *values: float) -> None:
    """Log axes about the curves shown, and about these values."""
    style.compute_axis(axes, report.budgets)
    ends = np.concatenate([end for curve in shown for end in style.ends(curve.low, curve.high)])
    style.bound(axes, np.concatenate([values, *(curve.value for curve in shown)]), ends)
    style.log_axis(axes, "y")


def _points(runs: Runs, report: Report, arch: str) -> dict[str, Curve]:
    """The intervals of tokens and of their ratio are those of the size, at the tokens that its compute leaves."""
    found = [o for o in report.optima if o.arch == arch and o.status == "optimum"]
    compute = np.array([o.budget for o in found])
    n, d, loss = (np.array([getattr(o, name) for o in found], float) for name in ("params", "tokens", "loss"))
    nothing = np.nan, np.nan
    low, high = np.array([o.params_interval or nothing for o in found], float).reshape(-1, 2).T
    loss_low, loss_high = np.array([o.loss_interval or nothing for o in found], float).reshape(-1, 2).T
    cost = fit_cost(*columns(runs.select(arch), "params", "tokens", "flops"))
    fewer, more = (d * np.exp(cost.log(np.log(n)) - cost.log(np.log(end))) for end in (high, low))
    height = Curve(compute, loss, loss_low, loss_high)
    return {
        "loss": height,
        "perplexity": height.exp,
        "params": Curve(compute, n, low, high),
        "tokens": Curve(compute, d, fewer, more),
        "ratio": Curve(compute, d / n, fewer / high, more / low),
    }


def _lines(report: Report, arch: str) -> dict[str, Curve]:
    compute = np.geomspace(min(report.budgets), max(report.budgets), POINTS)
    if arch not in report.laws:
        return _power_laws(next(f for f in report.frontiers if f.arch == arch), compute)
    candidate = report.laws[arch].candidate
    best = candidate.optimum(compute)
    values = {"loss": best.loss, "params": best.params, "tokens": best.tokens, "ratio": best.tokens / best.params}
    found = {name: band(compute, [candidate.estimate(v) for v in value.T]) for name, value in values.items()}
    return found | {"perplexity": found["loss"].exp}


def _power_laws(front: Frontier, compute: Array) -> dict[str, Curve]:
    if front.loss is None or front.params is None or front.tokens is None:
        return {}
    nothing = np.full(len(compute), np.nan), np.full(len(compute), np.nan)
    laws = {"loss": front.loss, "params": front.params, "tokens": front.tokens}
    found = {name: Curve(compute, law.predict(compute), *(law.band(compute) or nothing)) for name, law in laws.items()}
    ratio = Curve(compute, found["tokens"].value / found["params"].value, *nothing)
    return found | {"perplexity": found["loss"].exp, "ratio": ratio}
