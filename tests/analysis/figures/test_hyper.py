"""Hyperparameter figures show the optima, laws and intervals of their runs, and count what is behind them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from tuning_table import planted, tuning

from eutectic.analysis.figures import hyper
from eutectic.analysis.hyper_law import PUBLISHED
from eutectic.analysis.load import Runs, screen
from eutectic.analysis.report import Report, report
from eutectic.analysis.tuned import tuned


@pytest.fixture(scope="module")
def tunings() -> tuple[Runs, Report]:
    """Of one size for each of four budgets, twenty runs each; one has no optimum."""
    every = planted({"hyena": 0.0, "attn": 1.0})
    runs = tuning(every[every.groupby(["arch", "budget"]).cumcount() == 3])
    falling = (runs["arch"] == "hyena") & (runs["budget"] == runs["budget"].max())
    runs.loc[falling, "loss"] = 3 + 0.02 * np.log(runs.loc[falling, "lr"])
    found = screen(runs)
    return found, report(found)


def caption(drawn: object) -> str:
    return " ".join(drawn.get_supxlabel().split())  # type: ignore[attr-defined]


def lines(axes: Axes, style: str) -> list[np.ndarray]:
    return [line.get_xydata() for line in axes.get_lines() if line.get_linestyle() == style]


def test_laws_are_drawn_through_the_optima_beside_those_published(tunings: tuple[Runs, Report]) -> None:
    drawn, found = hyper.laws(*tunings), tuned(tunings[0])
    assert drawn is not None
    assert "160 runs, 1 seed, in 8 cells of an architecture, a size and its tokens, 7 of them with an" in caption(drawn)
    for axes, target, over in zip(drawn.axes, ("lr", "batch"), ("params", "tokens"), strict=True):
        bars = {str(bar.get_label()): bar.lines for bar in axes.containers}
        assert bars.keys() == {"hyena", "attn"}
        for arch, (points, _, (stems,)) in bars.items():
            cells = [cell for cell in found.optima if cell.group == arch and cell.values]
            assert len(cells) == (4 if arch == "attn" else 3)
            assert points.get_xydata() == pytest.approx(
                np.array([(getattr(cell, over), cell.values[target]) for cell in cells])
            )
            ends = np.array(stems.get_segments())[:, :, 1]
            assert ends == pytest.approx(np.array([cell.intervals[target] for cell in cells]))
        slopes = [np.polyfit(*np.log(line.T), 1)[0] for line in lines(axes, "-") if len(line) == 100]
        fitted = [law.fitted for law in found.laws if law.target == target]
        assert slopes == pytest.approx([law.exponents[over] for law in fitted if law])
        cells = [cell for cell in found.optima if cell.values]
        for published in (law for law in PUBLISHED if law.target == target):
            (line,) = (line.get_xydata() for line in axes.get_lines() if line.get_label() == published.source)
            at = {name: np.array([getattr(cell, name) for cell in cells]) for name in ("params", "tokens")}
            shown = np.exp(np.interp(np.log(at[over]), *np.log(line.T)))
            # cells lie near the line of params and tokens on which it is drawn
            assert shown == pytest.approx(published.predict(at), rel=0.06)
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert sorted(labels) == sorted(["hyena", "attn", *{law.source for law in PUBLISHED}])


def test_each_cell_has_its_runs_and_its_minimum(tunings: tuple[Runs, Report]) -> None:
    drawn, found = hyper.planes(*tunings), tuned(tunings[0])
    assert drawn is not None and "8 cells of an architecture, a size and its tokens with their runs" in caption(drawn)
    order = [cell for arch in ("hyena", "attn") for cell in found.optima if cell.group == arch]
    for axes, cell in zip(drawn.axes, order, strict=False):
        (dots,) = (c for c in axes.collections if isinstance(c, PathCollection) and len(c.get_offsets()) == 20)
        above = dots.get_array()
        assert above is not None and above.min() == 0.001 and not np.ma.is_masked(above)
        assert sum(edge[3] > 0 for edge in dots.get_edgecolors()) == cell.n_used
        assert axes.get_title().endswith("D") == (cell.status == "optimum")
        crossed = lines(axes, "-")
        if cell.values:
            across, up = crossed
            assert across == pytest.approx(np.array([(end, cell.values["batch"]) for end in cell.intervals["lr"]]))
            assert up == pytest.approx(np.array([(cell.values["lr"], end) for end in cell.intervals["batch"]]))
        else:
            assert not crossed and axes.get_title().startswith("hyena") and axes.get_title().endswith(cell.status)


def test_contours_are_at_the_best_of_further_settings(tunings: tuple[Runs, Report]) -> None:
    """With weight decay varied, whose best is 0.05, the contour's centre is where the red cross is."""
    runs, random = tunings[0].tried, np.random.default_rng(0)
    one = runs[(runs["arch"] == "attn") & (runs["budget"] == runs["budget"].min())]
    decay = 0.05 * np.exp(random.uniform(-1.5, 1.5, 3 * len(one)))
    three = pd.concat([one] * 3).assign(weight_decay=decay)
    three["lr"] *= np.exp(0.4 * np.log(decay / 0.05))
    three["loss"] += 0.01 * np.log(decay / 0.05) ** 2
    found = screen(three.assign(run_id=[str(k) for k in range(len(three))]))
    drawn, (cell,) = hyper.planes(found, report(found)), tuned(found).optima
    assert drawn is not None and cell.values["weight_decay"] == pytest.approx(0.05, rel=0.1)
    rings = [path.vertices for c in drawn.axes[0].collections for path in c.get_paths() if len(path.vertices) > 50]
    middle = np.exp(np.log(min(rings, key=lambda ring: np.ptp(ring[:, 0]))).mean(0))
    assert middle == pytest.approx([cell.values["lr"], cell.values["batch"]], rel=0.1)


def test_runs_of_one_setting_have_no_such_figures() -> None:
    runs = screen(planted({"hyena": 0.0, "attn": 1.0}))
    assert hyper.laws(runs, report(runs)) is None and hyper.planes(runs, report(runs)) is None
