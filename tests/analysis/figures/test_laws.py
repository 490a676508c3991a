"""What is drawn of the laws L(N, D) is the fit: contours, residuals, the landscape of the objective."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawing import ARCHS, BUDGETS, caption, figure, table

from eutectic.analysis.figures import curves, landscape
from eutectic.analysis.figures.draw import FIGURES
from eutectic.analysis.load import Runs, load, screen
from eutectic.analysis.report import Report, report

pytestmark = pytest.mark.usefixtures("few_starts")


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


def test_of_many_architectures_contours_show_the_best_and_attention() -> None:
    """Best at the largest budget: at the other gla is, and attention is the worst of all at both."""
    frame = table({"gla": 0.0, "mamba2": 0.0, "s4d": 0.0, **ARCHS}, BUDGETS[:2])
    above = {"mamba2": -0.1, "hyena": 0.3, "s4d": 0.2, "attn": 0.4}
    frame["loss"] += frame["arch"].map(above).fillna(0.0)
    frame.loc[frame["arch"] == "gla", "loss"] += np.where(
        frame["budget"][frame["arch"] == "gla"] == BUDGETS[0], -0.1, 0.4
    )
    runs = screen(frame)
    drawn = FIGURES["contours"](runs, report(runs))
    assert drawn is not None
    shown = ["mamba2", "s4d", "hyena*3+attn", "hyena+attn", "hyena+attn*3", "attn"]
    assert [axes.get_title() for axes in drawn.axes[:-1]] == shown
    said = "those of least loss at 3e15 FLOPs, and attention; not shown: hyena, gla. 84 runs, 1 seed."
    assert said in caption(drawn)


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
    (axes,) = figure("landscape", sweep, n_runs=21).axes
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
    runs = load(Path(__file__).parents[3] / "results/h200")
    fit = report(replace(runs, used=runs.select("attn"), curves=runs.curves[:0])).laws["attn"].fit
    where = [fit.law.names.index(name) for name in landscape.EXPONENTS]
    x, y = np.meshgrid(np.linspace(0.04, 1.26, 31), np.linspace(0.06, 1.84, 31))
    height = np.log(landscape._least(fit, where, x, y))
    inner = height[1:-1, 1:-1]
    around = np.stack([height[:-2, 1:-1], height[2:, 1:-1], height[1:-1, :-2], height[1:-1, 2:]])
    assert (inner <= around.max(0)).all(), "a cell stands above all its neighbours"
