"""What is drawn against size and compute shows the report's optima, laws and envelopes."""

from dataclasses import replace

import numpy as np
import pytest
from drawing import ARCHS, BUDGETS, POINTS, bars, caption, figure, inside, labels, lines, table

from eutectic.analysis.figures import envelope, isoflop, style
from eutectic.analysis.figures.draw import FIGURES
from eutectic.analysis.load import Runs, screen
from eutectic.analysis.report import Report, fits


def test_isoflop_shows_every_run_and_each_minimum(sweep: tuple[Runs, Report]) -> None:
    runs, found = sweep
    drawn = figure("isoflop", sweep)
    for axes, budget in zip(drawn.axes, BUDGETS, strict=True):
        assert axes.get_xscale() == "log" and axes.get_xlabel() == "parameters"
        here = runs.used[runs.used["budget"] == budget]
        shown = np.concatenate([line.get_xydata() for line in axes.get_lines() if line.get_zorder() == style.POINTS])
        assert sorted(shown.tolist()) == sorted(here[["params", "loss"]].astype(float).to_numpy().tolist())
        minima = np.array([c.lines[0].get_xydata()[0] for c in axes.containers])
        expected = [(o.params, o.loss) for arch in runs.archs if (o := found.optimum(arch, budget)) and o.params]
        assert minima == pytest.approx(np.array(expected))
        ends = np.array([c.lines[2][0].get_segments()[0][:, 0] for c in axes.containers])
        assert ends.min() >= here["params"].min() * 0.999 and ends.max() <= here["params"].max() * 1.001
    assert drawn.axes[0].get_ylabel() == "validation loss (nats per token)"


def test_isoflop_shows_the_other_curves_minima(sweep: tuple[Runs, Report]) -> None:
    _, found = sweep
    for axes, budget in zip(figure("isoflop", sweep).axes, BUDGETS, strict=True):
        for other, shape in zip(found.other_curves, "x+", strict=True):
            shown = [line.get_xydata()[0] for line in axes.get_lines() if line.get_marker() == shape]
            here = [(o.params, o.loss) for o in other.optima if o.budget == budget and o.params]
            assert len(here) and np.array(shown) == pytest.approx(np.array(here))


def test_of_many_architectures_isoflop_has_hybrids_apart_beside_attention() -> None:
    runs = screen(table({"gla": 0.0, "mamba2": 0.0, **ARCHS}, BUDGETS[:2]))
    drawn = isoflop.figure(runs, fits(runs))
    assert drawn is not None and [axes.get_title() for axes in drawn.axes] == [
        f"{budget} FLOPs, {kind}" for budget in ("1e15", "3e15") for kind in ("one mixer", "hybrids")
    ]
    keys = dict(zip(labels(drawn), drawn.legends[0].get_lines(), strict=True))
    assert list(keys) == runs.archs
    for axes, own in zip(drawn.axes, [["gla", "hyena", "mamba2", "attn"], [*list(ARCHS)[1:]]] * 2, strict=True):
        shown = [line for line in axes.get_lines() if line.get_zorder() == style.POINTS]
        assert [line.get_color() for line in shown] == [keys[arch].get_color() for arch in runs.archs if arch in own]
        curves = {line.get_color(): line.get_linestyle() for line in axes.get_lines() if len(line.get_xdata()) == 100}
        assert curves == {keys[arch].get_color(): "--" if "+" in arch else "-" for arch in own}


def test_isoflop_is_not_drawn_of_one_size_a_budget() -> None:
    runs = screen(table(budgets=BUDGETS[:2]).groupby(["arch", "budget"]).first().reset_index())
    assert len(runs.used) == 10 and isoflop.figure(runs, fits(runs)) is None


def test_envelope_is_the_lowest_curve_and_its_law(sweep: tuple[Runs, Report]) -> None:
    runs, found = sweep
    *panels, bar = figure("envelope", sweep).axes
    for axes, one in zip(panels, found.envelopes, strict=True):
        assert axes.get_title() == one.arch
        *curves, inner, edge, law = axes.get_lines()
        assert len(curves) == 21 and len(curves[0].get_xdata()) == POINTS
        ends = np.array([curve.get_xydata()[-1] for curve in curves])
        own = runs.select(one.arch)
        assert sorted(ends[:, 0]) == pytest.approx(sorted(own["flops"]))
        compute, height = inner.get_data()
        assert (inner.get_linestyle(), edge.get_linestyle()) == ("-", ":")
        assert (np.isnan(height) == one.edge).all() and (np.isnan(edge.get_ydata()) == ~one.edge).all()
        assert height[~one.edge] == pytest.approx(one.loss[~one.edge])
        # no curve is lower, to what is between the points of a curve
        for curve in curves:
            x, y = curve.get_data()
            within = ~one.edge & (x[0] <= compute) & (compute <= x[-1])
            assert (np.interp(np.log(compute[within]), np.log(x), y) >= height[within] - 1e-9).all()
        assert one.frontier.loss is not None
        slope = np.polyfit(*np.log(law.get_data()), 1)[0]
        assert slope == pytest.approx(one.frontier.loss.exponent)
    assert bar.get_ylabel() == "parameters"
    assert "105 curves drawn, out of 105 runs" in caption(figure("envelope", sweep))


def test_of_many_long_curves_some_are_drawn(sweep: tuple[Runs, Report], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the smallest size to the largest, each to its last point."""
    runs, _ = sweep
    monkeypatch.setattr(envelope, "MOST_CURVES", 10)
    monkeypatch.setattr(envelope, "MOST_POINTS", 25)
    shuffled = runs.curves.sample(frac=1.0, random_state=0).sort_values("flops", kind="stable")
    some = envelope.thinned(replace(runs, curves=shuffled))
    assert (some.used.groupby("arch").size() == 7).all()
    for arch in runs.archs:
        assert some.select(arch)["params"].min() == runs.select(arch)["params"].min()
    count = some.curves.groupby("run_id").size()
    assert set(count.index) == set(some.used["run_id"]) and (count == 20).all()
    last = some.curves.groupby("run_id")["flops"].max()
    assert last.to_numpy() == pytest.approx(some.used.set_index("run_id")["flops"].reindex(last.index).to_numpy())
    bare = replace(runs, curves=runs.curves[:0])
    assert FIGURES["envelope"](bare, fits(bare)) is None


@pytest.mark.parametrize(("name", "panel", "quantity"), [("frontier", 0, "loss"), ("optima", 0, "params")])
def test_optima_are_the_reports(name: str, panel: int, quantity: str, sweep: tuple[Runs, Report]) -> None:
    """Points of approach 2 with their intervals, and the law's line and band through the report's estimates."""
    runs, found = sweep
    axes = figure(name, sweep).axes[panel]
    points = bars(axes)
    assert list(points) == runs.archs and inside(axes)
    for arch, line, band in zip(runs.archs, lines(axes, "-", "--"), axes.collections[1::2], strict=True):
        assert line.get_linestyle() == ("--" if "+" in arch else "-")
        own = [o for o in found.optima if o.arch == arch and o.status == "optimum"]
        at, ends = points[arch]
        assert at[:, 1] == pytest.approx([getattr(o, quantity) for o in own])
        assert ends == pytest.approx(np.array([getattr(o, f"{quantity}_interval") for o in own]), rel=1e-6)
        x, y = line.get_data()
        estimates = [getattr(o, quantity) for o in found.laws[arch].optima]
        assert np.interp(BUDGETS, x, y)[[0, -1]] == pytest.approx([estimates[0].value, estimates[-1].value], rel=1e-6)
        edge = band.get_paths()[0].vertices
        last = edge[edge[:, 0] == edge[:, 0].max(), 1]
        assert (last.min(), last.max()) == (pytest.approx(estimates[-1].low), pytest.approx(estimates[-1].high))


def test_optima_without_an_interval_are_bare_points(sweep: tuple[Runs, Report]) -> None:
    """As those of curves through each size's mean are, of which no size has an interval."""
    runs, found = sweep
    bare = replace(found, optima=tuple(replace(one, params_interval=None) for one in found.optima))
    drawn = figure("optima", (runs, bare))
    for panel, full in zip(drawn.axes, figure("optima", sweep).axes, strict=True):
        for arch, (points, ends) in bars(panel).items():
            assert points == pytest.approx(bars(full)[arch][0])
            assert ends == pytest.approx(np.column_stack([points[:, 1], points[:, 1]]))


def test_perplexity_is_the_exponential_of_the_loss(sweep: tuple[Runs, Report]) -> None:
    left, right = figure("frontier", sweep).axes
    for a, b in zip(lines(left, "-", "--"), lines(right, "-", "--"), strict=True):
        assert b.get_ydata() == pytest.approx(np.exp(a.get_ydata()))
    for arch, (points, ends) in bars(left).items():
        assert bars(right)[arch][0][:, 1] == pytest.approx(np.exp(points[:, 1]))
        assert bars(right)[arch][1] == pytest.approx(np.exp(ends))
    assert right.get_ylabel() == "validation perplexity (per token)"


def test_tokens_and_sizes_spend_the_compute(sweep: tuple[Runs, Report]) -> None:
    size, tokens, ratio = figure("optima", sweep).axes
    for arch, (n, n_ends) in bars(size).items():
        (d, d_ends), (m, _) = bars(tokens)[arch], bars(ratio)[arch]
        assert d[:, 1] / n[:, 1] == pytest.approx(m[:, 1])
        # C = 6 N D to the rounding of the runs' shapes, at the optimum and at both ends of its interval
        assert 6 * n[:, 1] * d[:, 1] == pytest.approx(np.array(BUDGETS), rel=0.02)
        assert 6 * n_ends * d_ends[:, ::-1] == pytest.approx(np.array(BUDGETS)[:, None] * [1, 1], rel=0.02)
    assert all(axes.get_yscale() == axes.get_xscale() == "log" for axes in (size, tokens, ratio))


def test_power_laws_stand_in_for_a_law_that_is_refused(sweep: tuple[Runs, Report]) -> None:
    runs, found = sweep
    bare = replace(found, laws={}, refusals=dict.fromkeys(runs.archs, "no"))
    drawn = FIGURES["optima"](runs, bare)
    assert drawn is not None and not lines(drawn.axes[0], "-", "--")
    for front, line in zip(found.frontiers, lines(drawn.axes[0], ":"), strict=True):
        assert front.params is not None
        assert np.polyfit(*np.log(line.get_data()), 1)[0] == pytest.approx(front.params.exponent)
    assert all(FIGURES[name](runs, bare) is None for name in ("contours", "residuals", "landscape"))
