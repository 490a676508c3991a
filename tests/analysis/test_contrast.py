"""The best of some against the best of others: intervals that hold it whichever are best, and verdicts from them."""

import numpy as np
import pytest

from eutectic.analysis.compare import Estimate
from eutectic.analysis.contrast import best_of, contenders, negative, worst
from eutectic.analysis.laws import Array


def seen(truth: list[float], seed: int, count: int = 400) -> Array:
    """Losses with errors of 1, and as many resamples with such errors."""
    random = np.random.default_rng(seed)
    values = np.array(truth) + random.normal(size=len(truth))
    return np.concatenate([values[None], values + random.normal(size=(count, len(truth)))])


def test_it_is_the_difference_of_the_least() -> None:
    found = best_of(seen([5.0, 1.0], 0), seen([3.0, 9.0, 4.0], 1), 1000)
    ours, theirs = seen([5.0, 1.0], 0)[0], seen([3.0, 9.0, 4.0], 1)[0]
    assert found.value == pytest.approx(ours.min() - theirs.min())
    assert found.low < found.value < found.high


def test_of_one_and_one_it_is_the_plain_interval() -> None:
    """1.96 standard errors of a difference, wider by Student's t."""
    drawn = [seen([0.0], k, 20_000) for k in (0, 1)]
    many, few = (best_of(*drawn, degrees) for degrees in (100_000, 4))
    assert (many.high - many.low) / 2 == pytest.approx(1.96 * np.sqrt(2), rel=0.02)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2.7764 / 1.96, rel=0.01)


@pytest.mark.parametrize(("ours", "theirs"), [(7, 1), (1, 7), (7, 2)])
def test_many_do_not_win_by_their_number(ours: int, theirs: int) -> None:
    """All are equal: by plain intervals of pairs one of seven would be below a single one in a case of eight."""
    held = [best_of(seen([0.0] * ours, 2 * k), seen([0.0] * theirs, 2 * k + 1), 1000) for k in range(300)]
    left_out = np.mean([one.low > 0 or one.high < 0 for one in held])
    assert left_out <= 0.07, left_out


def test_resamples_that_have_no_value_are_left_out() -> None:
    ours, theirs = seen([0.0, 1.0], 0), seen([0.5], 1)
    missing = ours.copy()
    missing[5, 0] = np.nan
    assert best_of(missing, theirs, 50).low == pytest.approx(best_of(ours, theirs, 50).low, rel=0.05)


def test_contenders_are_those_that_no_other_is_surely_below() -> None:
    assert contenders(seen([0.0, 0.1, 50.0, 0.2], 0), 1000).tolist() == [True, True, False, True]
    assert contenders(seen([0.0, 50.0, 50.0], 0), 1000).tolist() == [True, False, False]


def test_the_worst_is_the_largest_in_each_respect() -> None:
    assert worst([Estimate(-2, -3, -1), Estimate(-1, -5, 1)]) == Estimate(-1, -3, 1)


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ([(-2, -1), (-3, -0.1)], "supported"),
        ([(1, 2), (0.1, 3)], "contradicted"),
        ([(-2, -1), (-3, 0.1)], "undecided"),
        ([(-2, -1), (0.1, 0.2)], "undecided"),
        ([(np.nan, np.nan)], "undecided"),
        ([], "not tested"),
    ],
)
def test_a_verdict_takes_every_interval(ends: list[tuple[float, float]], verdict: str) -> None:
    assert negative([Estimate((low + high) / 2, low, high) for low, high in ends]) == verdict
