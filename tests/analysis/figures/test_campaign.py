"""The figures of a campaign show its claims' numbers, and are a function of its parquet."""

from pathlib import Path

import numpy as np
import pytest
from campaign_table import BUDGETS, Truth, campaign, screened
from drawing import bars
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from eutectic.analysis.evidence import Evidence
from eutectic.analysis.figures import isoflop
from eutectic.analysis.figures.campaign import CAMPAIGN, draw_campaign
from eutectic.analysis.report import fits
from eutectic.analysis.verdicts import places

pytestmark = pytest.mark.usefixtures("few_starts")


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return Evidence(screened(campaign(Truth(order=0.004))))


def drawn(name: str, evidence: Evidence) -> tuple[Figure, list[Axes], str]:
    figure = CAMPAIGN[name](evidence)
    assert figure is not None
    return figure, figure.axes, " ".join(figure.get_supxlabel().split())


def test_files_are_the_same_each_time_and_none_is_left(evidence: Evidence, tmp_path: Path) -> None:
    paths = draw_campaign(evidence, tmp_path)
    assert [path.name for path in paths] == [f"{name}.{ending}" for name in CAMPAIGN for ending in ("png", "svg")]
    assert all(min(Image.open(path).size) > 600 for path in paths[::2])
    first = [path.read_bytes() for path in paths]
    assert first == [path.read_bytes() for path in draw_campaign(evidence, tmp_path)]
    assert draw_campaign(Evidence({"domain": evidence.parts["domain"]}), tmp_path) == []
    assert list((tmp_path / "figures").iterdir()) == []


def test_best_share_is_each_budget_s(evidence: Evidence) -> None:
    _, panels, caption = drawn("best_share", evidence)
    assert "layouts of hyena and attn, 12 layers deep" in caption and "120 runs, 1 seed" in caption
    for axes, one in zip(panels, evidence.minima["ratio"], strict=True):
        found = places(one, evidence, "ratio")
        lines = {line.get_label(): line.get_xdata()[0] for line in axes.get_lines() if "by a" in str(line.get_label())}
        assert lines == pytest.approx({name: best.value for name, best in found.items() if "by a" in name})
        points, _ = bars(axes)["may be of those trained"]
        trained = found["of those trained"]
        assert (points[:, 0].min(), points[:, 0].max()) == pytest.approx((trained.low, trained.high))
        assert sum(len(points) for points, _ in bars(axes).values()) == 8


def test_ordering_has_placements_beside_shares(evidence: Evidence) -> None:
    _, (axes,), caption = drawn("ordering", evidence)
    (spread,) = evidence.spreads
    assert f"{spread.placements.value:.3f} [" in axes.get_title() and f"{spread.shares.value:.3f} [" in axes.get_title()
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert " ".join(ticks) == "spread front middle back ends 0 0.083 0.17 0.25 0.33 0.5 0.75 1"
    assert "Placements: 30 runs, 3 seeds; shares: 16 runs, 1 seed." in caption
    for points, ends in bars(axes).values():
        order = np.argsort(points[:, 0])
        points, ends = points[order], ends[order]
        assert len(points) == 13
        # three runs of a placement and one of a share
        assert np.diff(ends[:5])[:, 0] * np.sqrt(3) == pytest.approx(np.diff(ends[5:])[0, 0])
        assert points[4, 1] - points[0, 1] == pytest.approx(0.016, abs=0.006)


def test_heads_are_the_differences_from_one(evidence: Evidence) -> None:
    _, panels, caption = drawn("heads", evidence)
    assert "48 runs, 2 seeds" in caption
    for axes, one in zip(panels, evidence.heads, strict=True):
        points, ends = bars(axes)["all"]
        assert points[:, 0].tolist() == [1, 2, 4, 8, 16]
        assert points[1:, 1] == pytest.approx([d.value for d in one.differences.values()])
        assert ends[1:] == pytest.approx(np.array([(d.low, d.high) for d in one.differences.values()]))


def test_off_size_is_loss_above_the_best(evidence: Evidence) -> None:
    _, panels, caption = drawn("off_size", evidence)
    assert "198 runs, 3 seeds" in caption and "4 times off" in caption
    for axes, one in zip(panels, evidence.minima["main"], strict=True):
        assert list(bars(axes)) == list(one.archs)
        for optimum in one.optima:
            points, _ = bars(axes)[optimum.arch]
            assert len(points) == 7 and points[:, 1].min() == pytest.approx(0.0, abs=0.002)
            assert points[points[:, 1].argmin(), 0] == pytest.approx(1.0, rel=0.3)


def test_winners_are_the_rankings(evidence: Evidence) -> None:
    _, (axes,), caption = drawn("winners", evidence)
    assert len(axes.texts) == len(evidence.rankings) == 9 * len(BUDGETS)
    for text, one in zip(axes.texts, evidence.rankings, strict=True):
        assert text.get_text().startswith(one.winner or "not tested")
    assert "198 runs, 3 seeds" in caption


def test_worth_is_by_the_minima_the_best_on_top(evidence: Evidence) -> None:
    """Open where the line of an architecture's optima is carried on beyond its budgets."""
    _, panels, caption = drawn("worth", evidence)
    assert "198 runs, 3 seeds" in caption
    rows = [label.get_text() for label in panels[0].get_yticklabels()]
    values = {one.arch: one.multipliers[BUDGETS[-1]].value for one in evidence.worth}
    assert rows == sorted(values, key=lambda arch: -values[arch])
    for axes, budget in zip(panels, BUDGETS, strict=True):
        points = {rows[int(c.lines[0].get_ydata()[0])]: c.lines[0] for c in axes.containers}
        shown = {one.arch: one for one in evidence.worth if 0 < one.multipliers[budget].value < np.inf}
        assert set(points) == set(shown) and len(shown) >= 4
        for arch, point in points.items():
            one, (low, high) = shown[arch], axes.get_xlim()
            assert point.get_xdata() == [one.multipliers[budget].value] and low < point.get_xdata()[0] < high
            assert (point.get_markerfacecolor() == "white") == one.extrapolated(budget)


def test_isoflop_curves_are_those_of_the_findings(evidence: Evidence) -> None:
    """Through each size's mean, with the interval of the least loss by seeds' noise; no parabola's minimum beside."""
    runs = evidence.parts["main"]
    figure = isoflop.figure(runs, fits(runs, 0, evidence.optima("main"), evidence.optima_by))
    assert figure is not None and "curves through each size's mean" in figure.get_supxlabel()
    optima = [one for one in evidence.optima("main") if one.budget == BUDGETS[0]]
    axes = figure.axes[0]
    ends = [lines for lines in axes.collections if isinstance(lines, LineCollection)]
    found = sorted((*path[0], path[1, 1]) for lines in ends for path in lines.get_segments())
    expected = sorted((one.params, *one.loss_interval) for one in optima if one.params and one.loss_interval)
    assert len(found) == len(optima) and np.array(found) == pytest.approx(np.array(expected))
    for one in optima:
        rows = runs.select(one.arch, BUDGETS[0])
        means = rows.groupby("params")["loss"].mean()
        assert one.predict(means.index.to_numpy(float)) == pytest.approx(means.to_numpy())


def test_a_lone_sweep_has_the_figures_that_it_bears(tmp_path: Path) -> None:
    main = Evidence(screened(campaign(Truth(), names=("main",))))
    assert {path.stem for path in draw_campaign(main, tmp_path)} == {"best_share", "off_size", "winners", "worth"}
    used = main.parts["main"].used
    own = used[used["arch"].isin(main.family("main"))]
    assert len(own) < len(used) and f" {len(own)} runs, " in drawn("best_share", main)[2]
