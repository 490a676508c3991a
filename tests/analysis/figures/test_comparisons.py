"""What is drawn of architectures beside each other shows the report's best shares and multipliers."""

from dataclasses import replace

import numpy as np
import pytest
from drawing import ARCHS, BUDGETS, bars, caption, figure, inside, lines, table
from matplotlib.collections import LineCollection

from eutectic.analysis.compare import multiplier
from eutectic.analysis.figures import style
from eutectic.analysis.figures.curves import POINTS, Curve, show_line
from eutectic.analysis.figures.draw import FIGURES
from eutectic.analysis.load import Runs, screen
from eutectic.analysis.report import Report, fits

pytestmark = pytest.mark.usefixtures("few_starts")


def test_share_is_the_laws_and_each_budgets(sweep: tuple[Runs, Report]) -> None:
    _, found = sweep
    law, ratios = found.families[0].law, found.families[0].ratios
    assert law is not None
    (axes,) = figure("share", sweep).axes
    line = next(line for line in axes.get_lines() if len(line.get_xdata()) == 2 * len(BUDGETS) - 1)
    assert line.get_ydata()[::2] == pytest.approx([o.share.value for o in law.optima], abs=1e-6)
    edge = axes.collections[0].get_paths()[0].vertices
    for optimum in law.optima:
        here = edge[np.isclose(edge[:, 0], optimum.compute, rtol=1e-9), 1]
        assert (here.min(), here.max()) == pytest.approx((optimum.share.low, optimum.share.high), abs=1e-6)
    points = [container.lines[0] for container in axes.containers]
    assert [hybrid.verdict for hybrid in ratios] == ["optimum"] * 3
    assert [point.get_ydata()[0] for point in points] == pytest.approx([hybrid.share for hybrid in ratios])
    assert all(point.get_markerfacecolor() != "white" for point in points)
    assert axes.get_ylim() == (-0.05, 1.05)


def test_ratio_is_loss_above_the_best(sweep: tuple[Runs, Report]) -> None:
    _, found = sweep
    (axes,) = figure("ratio", sweep).axes
    parabolas = lines(axes, "-")
    for (points, ends), hybrid, line in zip(bars(axes).values(), found.families[0].ratios, parabolas, strict=True):
        gap = np.array(hybrid.losses) - min(hybrid.losses)
        assert points == pytest.approx(np.stack([hybrid.shares, gap], 1), abs=0.01)
        assert np.diff(ends)[:, 0] / 2 == pytest.approx(hybrid.errors)
        r, height = line.get_data()
        assert height == pytest.approx(np.polyval(np.polyfit(hybrid.shares, gap, 2), r))
        assert r[np.argmin(height)] == pytest.approx(hybrid.share, abs=0.01)
    assert list(bars(axes)) == ["1e15", "3e15", "1e16"]


def test_multipliers_are_the_comparisons(sweep: tuple[Runs, Report]) -> None:
    _, found = sweep
    (axes,) = figure("multiplier", sweep).axes
    between = [line for line in lines(axes, "-", "--") if len(line.get_xdata()) == POINTS]
    for comparison, line in zip(found.comparisons, between, strict=True):
        points, ends = bars(axes)[comparison.arch]
        assert points[:, 1] == pytest.approx([m.value for m in comparison.multipliers])
        assert ends == pytest.approx(np.array([(m.low, m.high) for m in comparison.multipliers]))
        assert line.get_ydata()[[0, -1]] == pytest.approx(points[[0, -1], 1])
    assert axes.get_ylim()[0] < 1 < axes.get_ylim()[1] and inside(axes)
    assert axes.get_ylabel() == "share of attn's FLOPs for its loss"


def test_a_multiplier_without_an_end_runs_off_the_axis(sweep: tuple[Runs, Report]) -> None:
    """`hyena` does not come down to attention's loss in one resample of ten, and `hyena+attn` starts below it."""
    runs, found = sweep
    laws = dict(found.laws)
    for arch, factor in (("hyena", 3.0), ("hyena+attn", 0.1)):
        candidate = laws[arch].candidate
        scale = np.where(np.arange(len(candidate.losses)) % 10 == 5, factor, 1.0)
        laws[arch] = replace(laws[arch], candidate=replace(candidate, losses=candidate.losses * scale[:, None]))
    compute = np.array(BUDGETS)
    comparisons = tuple(
        replace(c, multipliers=tuple(multiplier(laws[c.arch].candidate, laws["attn"].candidate, compute)))
        for c in found.comparisons
    )
    drawn = FIGURES["multiplier"](runs, replace(found, laws=laws, comparisons=comparisons))
    assert drawn is not None
    (axes,) = drawn.axes
    low, high = axes.get_ylim()
    assert 1e-3 < low < high < 1e3
    for arch, end, beyond, shape in (("hyena", 1, high, "^"), ("hyena+attn", 0, low, "v")):
        points, ends = bars(axes)[arch]
        assert ((ends[:, end] - beyond) * (2 * end - 1) > 0).all() and (low < points[:, 1]).all()
        assert all(low < other < high for other in ends[:, 1 - end])
        colour = next(c.lines[0].get_color() for c in axes.containers if c.get_label() == arch)
        (arrows,) = [line for line in lines(axes, "None") if line.get_marker() == shape and not line.get_clip_on()]
        assert arrows.get_color() == colour and (arrows.get_ydata() == end).all()
        assert arrows.get_xdata() == pytest.approx(points[:, 0])
    assert all(isinstance(bar, LineCollection) for bar in axes.collections), "a band without an end covers the axes"


def test_a_band_is_drawn_where_it_has_both_ends() -> None:
    _, (axes,) = style.panels(1)
    compute = np.array([1.0, 2.0, 3.0, 4.0])
    curve = Curve(compute, np.ones(4), np.array([0.5, 0.5, 0.5, 0.0]), np.array([2.0, 3.0, np.inf, np.inf]))
    show_line(axes, curve, {"color": "black"}, "-", 1)
    (band,) = [path.vertices for path in axes.collections[0].get_paths()]
    assert (band[:, 0].max(), band[:, 1].min(), band[:, 1].max()) == (2.0, 0.5, 3.0)


def test_families_without_a_mix_have_no_panel() -> None:
    """mamba2 has its end alone, gla a mix but no more than that and attention."""
    runs = screen(table({"mamba2": 0.0, **ARCHS, "gla+attn": 0.5}, BUDGETS[:2]))
    for name in ("ratio", "share"):
        drawn = FIGURES[name](runs, fits(runs))
        assert drawn is not None and [axes.get_title().split(":")[0].split()[-1] for axes in drawn.axes] == ["hyena"]
        assert " 70 runs, 1 seed." in caption(drawn)
