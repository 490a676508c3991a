"""Loss against heads: contrasts with one head, and the slope, are those planted."""

from dataclasses import replace

import numpy as np
import pytest
from campaign_table import BUDGETS, NOTHING, campaign, screened
from scipy import stats

from eutectic.analysis.heads import HYENA, Heads, by_heads, heads
from eutectic.analysis.load import Runs
from eutectic.analysis.noise import Noise, noise


def runs(head: float, seed: int = 0) -> Runs:
    return screened(campaign(replace(NOTHING, head=head), seed, ("heads",)))["heads"]


def seeds(table: Runs) -> Noise:
    known = noise({"heads": table}, "heads")
    assert known is not None
    return known


def found(table: Runs) -> tuple[Heads, ...]:
    return by_heads(table, seeds(table))


def test_a_planted_slope_is_found_at_each_budget() -> None:
    table = runs(-0.01, seed=1)
    for budget, one in zip(BUDGETS, found(table), strict=False):
        assert one.budget == budget
        assert one.slope.low < -0.01 < one.slope.high
        assert list(one.differences) == [2, 4, 8, 16]
        assert [d.value for d in one.differences.values()] == pytest.approx([-0.01, -0.02, -0.03, -0.04], abs=0.006)
        # a mean of two sizes of two runs less another
        known = seeds(table)
        sizes = table.used.loc[table.used["budget"] == budget, "params"].unique()
        error = np.sqrt((known.of(sizes, budget) ** 2).sum() / 4)
        margins = [(d.high - d.low) / 2 for d in one.differences.values()]
        assert margins == pytest.approx([stats.t.ppf(0.975, known.degrees) * error] * 4, rel=0.1)
        assert one.best.value == min(d.value for d in one.differences.values()) and one.best.high < 0
        # Hyena was planted as one head
        assert one.hyena is not None and one.hyena.value == pytest.approx(-0.04, abs=0.006) and one.hyena.high < 0


def test_the_best_of_many_heads_that_do_nothing_is_not_told_from_one() -> None:
    told = [one.best.high < 0 or one.best.low > 0 for k in range(40) for one in found(runs(0.0, k))]
    assert np.mean(told) <= 0.1


def test_heads_are_the_layout_s_or_the_model_s() -> None:
    assert (heads("multihyena", 4), heads("multihyena(n_heads=2)", 4), heads("hyena", 4)) == (4, 2, HYENA)
    assert heads("multihyena+attn", 4) is None and heads("attn", 4) is None


def test_sizes_that_lack_a_number_of_heads_leave_it_out() -> None:
    table = runs(-0.01)
    widest = table.used.groupby("budget")["d_model"].transform("max")
    some = table.used[(table.used["d_model"] < widest) | ~table.used["arch"].str.contains("16|^hyena")]
    assert [(list(one.differences), one.hyena) for one in found(replace(table, used=some))] == [([2, 4, 8], None)] * 2


def test_without_one_head_there_is_nothing_to_compare_with() -> None:
    table = runs(-0.01)
    assert found(replace(table, used=table.used[table.used["arch"] != "multihyena(n_heads=1)"])) == ()
