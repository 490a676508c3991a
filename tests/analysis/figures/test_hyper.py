"""Hyperparameter figures show the optima, laws and intervals of their runs, and count what is behind them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from tuning_table import best_lr, middle, planted, tuning

from eutectic.analysis.figures import hyper, style
from eutectic.analysis.hyper_law import PUBLISHED
from eutectic.analysis.load import Runs, screen
from eutectic.analysis.report import Report, report
from eutectic.analysis.tuned import tuned

pytestmark = pytest.mark.usefixtures("few_starts")


@pytest.fixture(scope="module")
def tunings() -> tuple[Runs, Report]:
    """Of one size for each of four budgets, twenty runs each; one has no optimum."""
    runs = tuning(middle(planted({"hyena": 0.0, "attn": 1.0})))
    falling = (runs["arch"] == "hyena") & (runs["budget"] == runs["budget"].max())
    runs.loc[falling, "loss"] = 3 + 0.02 * np.log(runs.loc[falling, "lr"])
    found = screen(runs)
    return found, report(found)


def caption(drawn: object) -> str:
    return " ".join(drawn.get_supxlabel().split())  # type: ignore[attr-defined]


def marks(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each architecture, where its cells' marks are, and their areas."""
    found = [c for c in axes.collections if isinstance(c, PathCollection)]
    return {str(c.get_label()): (np.asarray(c.get_offsets()), np.asarray(c.get_sizes())) for c in found}


def lines(axes: Axes, dashes: str) -> list[np.ndarray]:
    return [line.get_xydata() for line in axes.get_lines() if line.get_linestyle() == dashes]


def test_laws_are_drawn_through_the_optima_beside_those_published(tunings: tuple[Runs, Report]) -> None:
    drawn, found = hyper.laws(*tunings), tuned(tunings[0])
    assert drawn is not None
    assert "160 runs, 1 seed, in 8 cells of an architecture, a size and its tokens, 7 of them with an" in caption(drawn)
    for axes, target, over in zip(drawn.axes, ("lr", "batch"), ("params", "tokens"), strict=True):
        points = marks(axes)
        assert points.keys() == {"hyena", "attn"}
        for (arch, (shown, areas)), bar in zip(points.items(), axes.containers, strict=True):
            cells = [cell for cell in found.optima if cell.group == arch and cell.values]
            assert len(cells) == (4 if arch == "attn" else 3)
            assert shown == pytest.approx(np.array([(getattr(cell, over), cell.values[target]) for cell in cells]))
            assert (np.diff(areas) > 0).all(), "cells are in the order of their size, and so of their budget"
            ends = np.array(bar.lines[2][0].get_segments())[:, :, 1]
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


def test_a_law_of_both_is_drawn_against_either_at_one_value_of_the_other() -> None:
    """hyena's law is, to which its cells are carried; attn, with a size a budget, has a law of parameters alone."""
    every = planted({"hyena": 0.0, "attn": 1.0}, power=0.3)
    sizes = [middle(every[every["arch"] == arch], n) for arch, n in (("hyena", 3), ("attn", 1))]
    runs = screen(tuning(pd.concat(sizes), noise=0.0))
    drawn, found = hyper.laws(runs, report(runs)), tuned(runs)
    assert drawn is not None and "cells are carried to them along their law of both" in caption(drawn)
    middles = {x: np.exp(np.mean([np.log(getattr(cell, x)) for cell in found.optima])) for x in ("params", "tokens")}
    by_params, by_tokens, by_batch = drawn.axes
    assert by_params.get_ylabel() == f"best learning rate at {style.number(middles['tokens'])} tokens"
    assert by_tokens.get_ylabel() == f"best learning rate at {style.number(middles['params'])} parameters"
    assert by_batch.get_ylabel() == "best batch (tokens)" and by_tokens.get_xlabel() == "tokens"
    for axes, x, other, power in ((by_params, "params", "tokens", -0.4), (by_tokens, "tokens", "params", 0.3)):
        shown, _ = marks(axes)["hyena"]
        cells = found.cells("hyena", "lr")
        at = [{x: getattr(cell, x), other: middles[other]} for cell in cells]
        truth = [best_lr(place["params"], place["tokens"], 0.3) for place in at]
        assert shown == pytest.approx(np.transpose([[place[x] for place in at], truth]), rel=1e-6)
        slope, *_ = [np.polyfit(*np.log(line.T), 1)[0] for line in lines(axes, "-") if len(line) == 100]
        assert slope == pytest.approx(power, abs=1e-6)
        theirs = {law.source: law for law in PUBLISHED if law.target == "lr" and x in law.exponents}
        broken = {line.get_label(): line.get_xydata() for line in axes.get_lines() if line.get_linestyle() != "-"}
        assert theirs.keys() == {label for label in broken if label in {law.source for law in PUBLISHED}}
        for source, law in theirs.items():
            line = np.asarray(broken[source])
            assert line[:, 1] == pytest.approx(law.predict({x: line[:, 0], other: np.full(100, middles[other])}))
    shown, _ = marks(by_params)["attn"]
    own = [(cell.params, cell.values["lr"]) for cell in found.cells("attn", "lr")]
    assert shown == pytest.approx(np.array(own)) and "attn" not in marks(by_tokens)
    rising = marks(by_params)["hyena"][1]
    compute = np.array([cell.params * cell.tokens for cell in found.cells("hyena", "lr")])
    assert (np.argsort(rising, kind="stable") == np.argsort(compute, kind="stable")).all()


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
