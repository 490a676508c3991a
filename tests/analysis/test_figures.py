"""Every figure shows the report's numbers, on axes with units, and none shows what its runs do not bear."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sweep_table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from eutectic.analysis import schema
from eutectic.analysis.audit import audit
from eutectic.analysis.figures import curves, isoflop, landscape, style
from eutectic.analysis.figures.draw import FIGURES, draw
from eutectic.analysis.load import Runs, load, screen
from eutectic.analysis.report import Report, report

ARCHS = sweep_table.ARCHS
THREE = {"hyena": 0.0, "hyena+attn": 0.5, "attn": 1.0}
BUDGETS = sweep_table.BUDGETS[:3]


def loss(n: float, d: float, r: float) -> float:
    return 1.7 + 0.2 * (r - 0.4) ** 2 + 400 / n**0.34 + 400 / d**0.34


def table(archs: dict[str, float] = ARCHS, budgets: tuple[float, ...] = BUDGETS) -> pd.DataFrame:
    return sweep_table.table(loss, archs, budgets, noise=0.002)


@pytest.fixture(scope="module")
def sweep() -> tuple[Runs, Report]:
    runs = screen(table())
    return runs, report(runs)


def figure(name: str, sweep: tuple[Runs, Report]) -> Figure:
    drawn = FIGURES[name](*sweep)
    assert drawn is not None
    caption = " ".join(drawn.get_supxlabel().split())
    assert "105 runs, 1 seed. FLOPs by 6nd, bytes tokens." in caption
    return drawn


def lines(axes: Axes, style: str) -> list[Line2D]:
    """Of this line style, without the reference lines across all axes and legend handles."""
    found = [line for line in axes.get_lines() if line.get_linestyle() == style]
    return [line for line in found if len(line.get_xdata()) and "_child" in str(line.get_label())]


def bars(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By label: points (n, 2) and the ends of their vertical error bars (n, 2)."""
    found = {}
    for container in axes.containers:
        points, _, (stems,) = container.lines
        found[str(container.get_label())] = (points.get_xydata(), np.array(stems.get_segments())[:, :, 1])
    return found


def inside(axes: Axes) -> bool:
    """All points of error bars within the axes' width."""
    low, high = axes.get_xlim()
    return all(((low < points[:, 0]) & (points[:, 0] < high)).all() for points, _ in bars(axes).values())


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


@pytest.mark.parametrize(("name", "panel", "quantity"), [("frontier", 0, "loss"), ("optima", 0, "params")])
def test_optima_are_the_reports(name: str, panel: int, quantity: str, sweep: tuple[Runs, Report]) -> None:
    """Points of approach 2 with their intervals, and the law's line and band through the report's estimates."""
    runs, found = sweep
    axes = figure(name, sweep).axes[panel]
    points = bars(axes)
    assert list(points) == runs.archs and inside(axes)
    for arch, line, band in zip(runs.archs, lines(axes, "-"), axes.collections[1::2], strict=True):
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


def test_perplexity_is_the_exponential_of_the_loss(sweep: tuple[Runs, Report]) -> None:
    left, right = figure("frontier", sweep).axes
    for a, b in zip(lines(left, "-"), lines(right, "-"), strict=True):
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
    assert drawn is not None and not lines(drawn.axes[0], "-")
    for front, line in zip(found.frontiers, lines(drawn.axes[0], "--"), strict=True):
        assert front.params is not None
        assert np.polyfit(*np.log(line.get_data()), 1)[0] == pytest.approx(front.params.exponent)
    assert all(FIGURES[name](runs, bare) is None for name in ("contours", "residuals", "landscape"))


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
    for (points, ends), hybrid in zip(bars(axes).values(), found.families[0].ratios, strict=True):
        gap = np.array(hybrid.losses) - min(hybrid.losses)
        assert points == pytest.approx(np.stack([hybrid.shares, gap], 1), abs=0.01)
        assert np.diff(ends)[:, 0] / 2 == pytest.approx(hybrid.errors)
    assert list(bars(axes)) == ["1e15", "3e15", "1e16"]


def test_multipliers_are_the_comparisons(sweep: tuple[Runs, Report]) -> None:
    _, found = sweep
    (axes,) = figure("multiplier", sweep).axes
    for comparison, line in zip(found.comparisons, lines(axes, "-"), strict=True):
        points, ends = bars(axes)[comparison.arch]
        assert points[:, 1] == pytest.approx([m.value for m in comparison.multipliers])
        assert ends == pytest.approx(np.array([(m.low, m.high) for m in comparison.multipliers]))
        assert line.get_ydata()[[0, -1]] == pytest.approx(points[[0, -1], 1])
    assert axes.get_ylim()[0] < 1 < axes.get_ylim()[1] and inside(axes)
    assert axes.get_ylabel() == "share of attn's FLOPs for its loss"


def test_contours_pass_through_the_fitted_losses(sweep: tuple[Runs, Report]) -> None:
    runs, found = sweep
    *panels, _ = figure("contours", sweep).axes
    for axes, arch in zip(panels, runs.archs, strict=True):
        fit = found.laws[arch].fit
        contours, dots = axes.collections[0], axes.collections[1]
        for level, path in zip(contours.levels, contours.get_paths(), strict=True):
            if len(path.vertices):
                n, d = path.vertices.T
                assert fit.predict({"N": n, "D": d}) == pytest.approx(np.full(len(n), level), rel=2e-3)
        assert np.asarray(dots.get_offsets()) == pytest.approx(runs.select(arch)[["params", "tokens"]].to_numpy(float))
        assert np.asarray(dots.get_array()) == pytest.approx(runs.select(arch)["loss"].to_numpy())
        n, d = next(line for line in axes.get_lines() if len(line.get_xdata()) == curves.POINTS).get_data()
        assert 6 * n * d == pytest.approx(np.geomspace(BUDGETS[0], BUDGETS[-1], curves.POINTS), rel=1e-4)
        assert n[0] == pytest.approx(found.laws[arch].optima[0].params.value)


def test_of_many_architectures_contours_show_each_share() -> None:
    archs = {"hyena": 0.0, "gla": 0.0, "mamba2": 0.0, **{a: r for a, r in ARCHS.items() if r}}
    runs = screen(table(archs, BUDGETS[:2]))
    drawn = FIGURES["contours"](runs, report(runs))
    assert drawn is not None
    assert [axes.get_title() for axes in drawn.axes[:-1]] == [runs.archs[0], *list(ARCHS)[1:]]


def test_residuals_are_percentages_of_the_fitted_loss(sweep: tuple[Runs, Report]) -> None:
    _, found = sweep
    for axes, name in zip(figure("residuals", sweep).axes, "ND", strict=True):
        for arch, law in found.laws.items():
            (line,) = [line for line in axes.get_lines() if line.get_label() == arch]
            percent = 100 * (law.fit.y / law.fit.predict(law.fit.x) - 1)
            assert line.get_xydata() == pytest.approx(np.stack([law.fit.x[name], percent], 1), abs=1e-9)
        median = axes.get_lines()[-1]
        assert len(median.get_xdata()) == 12 and np.abs(median.get_ydata()).max() < 0.3
    assert "in 12 bins" in " ".join(figure("residuals", sweep).get_supxlabel().split())


def test_the_landscape_is_lowest_at_the_fit(sweep: tuple[Runs, Report]) -> None:
    _, found = sweep
    (axes,) = figure("landscape", sweep).axes
    fit = found.laws["attn"].fit
    star = next(line for line in axes.get_lines() if line.get_label() == "minimum")
    assert np.ravel(star.get_data()) == pytest.approx([fit.values["alpha"], fit.values["beta"]])
    where = [fit.law.names.index(name) for name in landscape.EXPONENTS]
    x, y = np.meshgrid(*(np.array([0.7, 1.0, 1.3]) * fit.values[name] for name in landscape.EXPONENTS))
    height = landscape._least(fit, where, x, y) / fit.objective
    assert height[1, 1] == pytest.approx(1.0, abs=1e-9)
    assert np.delete(height.ravel(), 4).min() > 1.5
    cloud = next(line for line in axes.get_lines() if line.get_label() == "resample")
    assert np.median(cloud.get_xydata(), axis=0) == pytest.approx(np.ravel(star.get_data()), rel=0.1)


def test_the_landscape_has_no_spikes() -> None:
    """On the committed sweep some descents end at a bound; tried again from a neighbour they find what is lower."""
    runs = load(Path(__file__).parents[2] / "results/h200")
    fit = report(replace(runs, used=runs.select("attn"), curves=runs.curves[:0])).laws["attn"].fit
    where = [fit.law.names.index(name) for name in landscape.EXPONENTS]
    x, y = np.meshgrid(np.linspace(0.04, 1.26, 31), np.linspace(0.06, 1.84, 31))
    height = np.log(landscape._least(fit, where, x, y))
    inner = height[1:-1, 1:-1]
    around = np.stack([height[:-2, 1:-1], height[2:, 1:-1], height[1:-1, :-2], height[1:-1, 2:]])
    assert (inner <= around.max(0)).all(), "a cell stands above all its neighbours"


def test_audit_shows_what_was_predicted(sweep: tuple[Runs, Report]) -> None:
    runs, _ = sweep
    drawn = figure("audit", sweep)
    left, right = drawn.axes
    holdouts = [h for h in audit(runs) if h.law == "chinchilla" and h.arch in runs.archs]
    shown = [line.get_xydata() for line in left.get_lines() if line.get_linestyle() == "None"]
    for points, holdout in zip(shown, holdouts, strict=True):
        assert points == pytest.approx(np.stack([holdout.observed, holdout.predicted], 1))
    rows = [label.get_text() for label in right.get_yticklabels()]
    assert rows[0] == "chinchilla" and "frontier-0" in rows and "hybrid-interior, family" in rows
    small = right.get_lines()[0].get_xydata()
    own = small[np.abs(small[:, 1]) < 0.4, 0]
    assert sorted(own) == pytest.approx(sorted(100 * np.expm1(h.rms) for h in holdouts))
    assert "Audited: 105 runs at 3 budgets" in " ".join(drawn.get_supxlabel().split())


def write(frame: pd.DataFrame, folder: Path) -> Path:
    rows: list[dict[str, Any]] = frame.to_dict("records")
    pq.write_table(pa.Table.from_pylist(rows, schema.arrow_schema(schema.RUNS)), folder / "runs.parquet")
    return folder


def test_files_say_what_they_show_and_are_the_same_each_time(tmp_path: Path) -> None:
    paths = draw(write(table(THREE, BUDGETS[:2]), tmp_path))
    # two budgets hold none out, and their runs vary no settings
    names = [name for name in FIGURES if name not in ("audit", "hyper", "hyper_cells")]
    assert [path.name for path in paths] == [f"{name}.{ending}" for name in names for ending in ("png", "svg")]
    assert all(min(Image.open(path).size) > 600 for path in paths[::2])
    words = {path.stem: " ".join(re.findall(r"<!-- (.*?) -->", path.read_text())) for path in paths[1::2]}
    for said in (*THREE, "1e15 FLOPs", "3e15 FLOPs", "parameters", "validation loss (nats per token)"):
        assert said in words["isoflop"]
    assert "training compute (FLOPs)" in words["frontier"] and "tokens per parameter" in words["optima"]
    assert "alpha, exponent of parameters" in words["landscape"] and "32 starts" in words["landscape"]
    assert all("42 runs, 1 seed" in text for text in words.values())
    first = [path.read_bytes() for path in paths]
    assert first == [path.read_bytes() for path in draw(tmp_path)], "a figure is not a function of its table"


@pytest.mark.parametrize(
    ("frame", "names"),
    [
        (table()[:2], ["isoflop"]),
        (table(budgets=BUDGETS[:1]), ["isoflop", "ratio"]),
        (
            table({"attn": 1.0}, BUDGETS[:2]),
            ["isoflop", "frontier", "optima", "contours", "residuals", "landscape"],
        ),
    ],
    ids=["two runs", "one budget", "one architecture"],
)
def test_what_runs_do_not_bear_is_not_drawn(frame: pd.DataFrame, names: list[str], tmp_path: Path) -> None:
    """Nor left from an earlier drawing; files that are not ours are."""
    (tmp_path / "figures").mkdir()
    for stale in ("audit.png", "audit.svg", "mine.png"):
        (tmp_path / "figures" / stale).write_text("")
    expected = {f"{name}.{ending}" for name in names for ending in ("png", "svg")}
    assert {path.name for path in draw(write(frame, tmp_path))} == expected
    assert {path.name for path in (tmp_path / "figures").iterdir()} == expected | {"mine.png"}


def test_many_runs_are_an_image_within_the_svg(
    sweep: tuple[Runs, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = tmp_path / "vectors.svg"
    isoflop.figure(*sweep).savefig(vectors)
    monkeypatch.setattr(style, "MANY", 104)
    isoflop.figure(*sweep).savefig(tmp_path / "image.svg")
    assert (tmp_path / "image.svg").read_text().count("<image") == 3
    assert "<image" not in vectors.read_text()


def test_looks_tell_architectures_apart() -> None:
    one = style.looks(list(ARCHS), ARCHS)
    bright = [sum(look["color"][:3]) for look in one.values()]
    assert bright == sorted(bright), "the share is not read from the brightness"
    assert len({look["marker"] for look in one.values()}) == 5
    shares = {"hyena": 0.0, "mamba2": 0.0, "hyena+attn": 0.5, "mamba2+attn": 0.5, "attn": 1.0}
    two = style.looks(list(shares), shares)
    assert two["attn"]["color"] == (0.0, 0.0, 0.0)
    for mixer in ("hyena", "mamba2"):
        pure, mixed = np.array(two[mixer]["color"]), np.array(two[f"{mixer}+attn"]["color"])
        assert mixed == pytest.approx(0.7 * pure)
    assert two["hyena"]["color"] != two["mamba2"]["color"]


def test_an_interval_that_runs_off_leaves_the_values_a_third_of_the_axis() -> None:
    _, (axes,) = style.panels(1)
    axes.set_yscale("log")
    style.bound(axes, [1e4, 1e5], [1e-300, 1e17, np.nan, np.inf])
    low, high = np.log(axes.get_ylim())
    assert np.log(10) / (high - low) == pytest.approx(1 / 3, rel=0.05)
    style.bound(axes, [1e4, 1e5], [9e3, 1.1e5])
    low, high = np.log(axes.get_ylim())
    assert np.exp(low) == pytest.approx(9e3 * 10**-0.05) and np.exp(high) == pytest.approx(1.1e5 * 10**0.05)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (18.0, 30.0, ["20", "22.5", "25", "27.5"]),
        (1e5, 3e6, ["100k", "200k", "500k", "1M", "2M"]),
        (1e6, 1e9, ["1M", "1B"]),
    ],
)
def test_log_axes_are_labelled_at_any_span(low: float, high: float, labels: list[str]) -> None:
    drawn, (axes,) = style.panels(1)
    axes.plot([low, high], [low, high])
    axes.set_xlim(low, high)
    style.log_axis(axes, "x")
    drawn.draw_without_rendering()
    shown = [label.get_text() for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert set(labels) <= set(shown)
