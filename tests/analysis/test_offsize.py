"""What hybrids lose at sizes off the best less what pure architectures do, by laws and by runs."""

import numpy as np
import pytest
from campaign_table import BUDGETS, NOTHING, Truth, campaign, screened

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


def test_sizes_that_no_run_has_are_left_to_the_laws() -> None:
    tables = campaign(NOTHING, names=("main",))
    rows = tables["main"]
    near = rows[np.abs(np.log(rows["params"] / np.sqrt(rows["budget"] / 6))) < 1.2]
    for one in Evidence(screened({"main": near})).off_sizes:
        assert one.run_gaps == {} and set(one.law_gaps) == {"hyena", "attn"}
        assert all(np.isnan(side.value) for sides in one.by_runs.values() for side in sides)
