"""What hybrids lose at sizes off the best less what pure architectures do, by laws and by runs."""

import numpy as np
import pytest
from campaign_table import BUDGETS, Truth, campaign, screened

from eutectic.analysis.evidence import Evidence
from eutectic.analysis.offsize import OffSize

pytestmark = pytest.mark.usefixtures("few_starts")

TRUTH = Truth()


def lost(arch: str, budget: float) -> float:
    """The planted nats at four times off, to either side."""
    n = np.sqrt(budget / 6)
    return TRUTH.loss(arch, 4 * n, n / 4) - TRUTH.loss(arch, n, n)


@pytest.fixture(scope="module")
def found() -> tuple[OffSize, ...]:
    return Evidence(screened(campaign(TRUTH, names=("main",)))).off_sizes


def test_planted_losses_are_found_by_laws_and_by_runs(found: tuple[OffSize, ...]) -> None:
    assert [one.budget for one in found] == list(BUDGETS)
    for one in found:
        assert list(one.by_law) == ["hyena", "hyena*3+attn", "hyena+attn", "hyena+attn*3", "attn"]
        for arch, sides in one.by_law.items():
            assert [side.value for side in sides] == pytest.approx([lost(arch, one.budget)] * 2, abs=0.005)
        for sides in one.by_runs.values():
            assert all(side.low < side.value < side.high for side in sides)


def test_gaps_are_the_hybrids_less_each_end(found: tuple[OffSize, ...]) -> None:
    for one in found:
        for gaps, near in ((one.law_gaps, 0.004), (one.run_gaps, 0.01)):
            assert set(gaps) == {"hyena", "attn"}
            for arch, gap in gaps.items():
                assert gap.value == pytest.approx(lost("hyena+attn", one.budget) - lost(arch, one.budget), abs=near)
                assert gap.high < 0


def test_of_sizes_that_no_run_has_nothing_is_said() -> None:
    """Neither by runs nor by laws, which nothing holds there; the side that was trained is spoken of all the same."""
    rows = campaign(TRUTH, names=("main",))["main"]
    off = np.log(rows["params"] / np.sqrt(rows["budget"] / 6))
    for one in Evidence(screened({"main": rows[np.abs(off) < 1.0]})).off_sizes:
        assert one.run_gaps == {} and one.law_gaps == {}
        sides = [side for found in (one.by_runs, one.by_law) for both in found.values() for side in both]
        assert sides and all(np.isnan(side.value) for side in sides)
    for one in Evidence(screened({"main": rows[off > -1.0]})).off_sizes:
        for arch, (small, large) in one.by_law.items():
            assert np.isnan(small.value) and large.value == pytest.approx(lost(arch, one.budget), abs=0.01)
        for arch, gap in one.law_gaps.items():
            assert gap.value == pytest.approx(lost("hyena+attn", one.budget) - lost(arch, one.budget), abs=0.01)
