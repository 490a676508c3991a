"""The learning rate's law is in parameters and tokens where sizes of a budget fix both exponents, else in one."""

import json

import numpy as np
import pytest
from tuning_table import BUDGETS, best_lr, middle, planted, tuning

from eutectic.analysis.compare import Estimate
from eutectic.analysis.hyper import HyperOptimum, Window, optima
from eutectic.analysis.hyper_law import PUBLISHED, law
from eutectic.analysis.load import screen
from eutectic.analysis.settings import _tuned
from eutectic.analysis.tuned import BOTH, _in_both, table, tuned

POWER = 0.3  # of tokens in the planted learning rate; of params -0.4
FRAME = planted({"hyena": 0.0, "attn": 1.0}, power=POWER)


def test_exponents_of_both_are_those_planted() -> None:
    found = tuned(screen(tuning(middle(FRAME, 3), noise=0.0)))
    assert [(one.arch, one.target, one.over, one.cells) for one in found.laws] == [
        (arch, *rest) for arch in ("hyena", "attn") for rest in (("lr", BOTH, 12), ("batch", ("tokens",), 12))
    ]
    for lr, batch in (found.laws[:2], found.laws[2:]):
        assert lr.fitted is not None and batch.fitted is not None
        assert lr.fitted.exponents == pytest.approx({"params": -0.4, "tokens": POWER}, abs=1e-6)
        assert lr.fitted.constant == pytest.approx(best_lr(1, 1, POWER), rel=1e-4)
        assert batch.fitted.exponents == pytest.approx({"tokens": 0.35}, abs=1e-5)
        beside = {theirs.source: theirs for theirs in lr.published}
        for theirs in (theirs for theirs in PUBLISHED if theirs.target == "lr"):
            assert beside[theirs.source].exponents == theirs.exponents
            centre = {name: np.array([value]) for name, value in lr.fitted.centre.items()}
            assert beside[theirs.source].value == pytest.approx(theirs.predict(centre)[0])
    plain = json.loads(json.dumps(found.to_dict()))["laws"][0]
    assert (plain["over"], plain["published"][2]["exponents"]) == (["params", "tokens"], {"params": -1 / 3})


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_one_size_a_budget_has_a_law_of_one_variable(noise: float) -> None:
    """However exact its cells are: tokens are told from parameters by how sizes of the ladder miss the best."""
    every = planted({"attn": 1.0}, power=POWER, budgets=tuple(1e15 * 3.0**k for k in range(7)))
    runs = screen(tuning(middle(every), scatter=noise, noise=noise))
    cells = optima(table(runs), Window())
    assert [cell.status for cell in cells] == ["optimum"] * 7
    lr, batch = tuned(runs).laws
    assert (lr.over, batch.over) == (("params",), ("tokens",))
    assert (lr.fitted, batch.fitted) == (law(cells, "lr", ["params"]), law(cells, "batch", ["tokens"]))


def test_one_budget_has_a_law_of_one_variable() -> None:
    """However many its sizes are: they lie on the curve of its compute."""
    one = FRAME[(FRAME["budget"] == BUDGETS[0]) & (FRAME["arch"] == "attn")]
    lr, _ = tuned(screen(tuning(one, noise=0.0))).laws
    assert (lr.over, lr.cells) == (("params",), 7)


@pytest.mark.parametrize(("cells", "over"), [(5, ("params",)), (6, BOTH)])
def test_a_law_of_both_needs_three_degrees_of_freedom(cells: int, over: tuple[str, ...]) -> None:
    attn = FRAME[(FRAME["arch"] == "attn") & FRAME["budget"].isin(BUDGETS[:2])]
    lr, _ = tuned(screen(tuning(middle(attn, 3)[:cells], noise=0.0))).laws
    assert (lr.over, lr.cells) == (over, cells)


def test_exponents_that_cells_do_not_fix_are_one() -> None:
    """Here cells differ from the law by so much that a decade of tokens may change the best by more than twice."""
    attn = FRAME[FRAME["arch"] == "attn"]
    for scatter, over in ((0.1, BOTH), (0.5, ("params",))):
        found = tuned(screen(tuning(middle(attn, 3), scatter=scatter, seed=3)))
        both = law(found.cells("attn", "lr"), "lr", BOTH)
        assert both is not None and found.laws[0].over == over
        halves = [(high - low) / 2 for low, high in (both.intervals[name] for name in BOTH)]
        assert (max(halves) <= np.log10(2)) == (over == BOTH)


@pytest.mark.parametrize("scatter", [0.0, 0.1])
def test_intervals_of_chosen_laws_cover_as_often_as_they_say(scatter: float) -> None:
    """Of three sizes of three budgets, and of the best learning rate three decades of compute above, off the curve."""
    random, hits, size = np.random.default_rng(0), [], (5e7, 2e9)
    grid = [(n := np.sqrt(c / 120) * 1.6**k, c / 6 / n) for c in (1e14, 3e14, 1e15) for k in (-1, 0, 1)]
    at = {name: Estimate(value, value, value) for name, value in zip(BOTH, size, strict=True)}
    for _ in range(1000):
        found = []
        for n, d in grid:
            error = 0.05 * random.uniform(0.5, 2)
            value = best_lr(n, d, POWER) * np.exp(np.hypot(error, scatter) * random.normal())
            found.append(HyperOptimum("", n, d, "optimum", 9, 9, 0.0, {}, {"lr": value}, {"lr": error}))
        fitted = _in_both(found)
        if fitted is not None:
            said, truth = _tuned(fitted, at), best_lr(*size, POWER) * np.exp(scatter * random.normal())
            exponents = not fitted.excludes("params", -0.4), not fitted.excludes("tokens", POWER)
            hits.append((*exponents, said.low < truth < said.high))
    assert len(hits) > 975
    for covered in np.mean(hits, axis=0):
        assert 0.92 <= covered <= 0.985
