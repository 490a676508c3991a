"""The noise of seeds is pooled over cells that differ in the seed alone, with its interval."""

import numpy as np
import pandas as pd
import pytest
from campaign_table import NOTHING, Truth, campaign, screened

from eutectic.analysis.load import Runs
from eutectic.analysis.noise import at, noises


def part(losses: dict[tuple[float, int], list[float]]) -> Runs:
    """By budget and size, the losses of seeds."""
    rows = [
        {"arch": "attn", "budget": budget, "params": size, "n_heads": 4, "loss": loss}
        for (budget, size), own in losses.items()
        for loss in own
    ]
    frame = pd.DataFrame(rows)
    return Runs(frame, frame, frame[:0], frame[:0])


def test_deviations_are_pooled_by_their_degrees() -> None:
    found = noises(
        {"main": part({(1e15, 1): [3.0, 3.2], (1e15, 2): [2.0, 2.1, 2.2], (3e15, 1): [1.0, 1.4], (3e15, 2): [7]})}
    )
    assert [(one.budget, one.degrees, one.cells) for one in found] == [(1e15, 3, 2), (3e15, 1, 1), (None, 4, 3)]
    # squares about the means: 0.02, 0.02 and 0.08
    assert [one.deviation.value for one in found] == pytest.approx(
        [np.sqrt(0.04 / 3), np.sqrt(0.08), np.sqrt(0.12 / 4)]
    )
    # of four degrees chi squared is within 0.4844 and 11.143 in 95%
    assert (found[-1].deviation.low, found[-1].deviation.high) == pytest.approx(
        (np.sqrt(0.12 / 11.1433), np.sqrt(0.12 / 0.484419)), rel=1e-4
    )
    assert at(found, 1e15) is found[-1], "three degrees are too few"


def test_one_seed_tells_no_noise() -> None:
    assert noises({"main": part({(1e15, 1): [3.0], (1e15, 2): [2.0]})}) == ()
    assert at((), 1e15) is None


def test_cells_of_two_parts_or_of_other_heads_are_not_one() -> None:
    """Of the same architecture, budget and size, but a tenth of a nat apart."""
    tables = screened(campaign(Truth(head=-0.1), names=("heads", "ratio", "code")))
    found = noises(tables)
    assert found[-1].deviation.value == pytest.approx(0.003, rel=0.5)
    assert {one.budget: one.cells for one in found} == {3e14: 10, 1e15: 10, None: 20}


def test_a_planted_noise_is_in_its_interval() -> None:
    held = [noises(screened(campaign(NOTHING, k, ("placement",))))[-1].deviation for k in range(40)]
    assert sum(one.low <= 0.003 <= one.high for one in held) >= 35
