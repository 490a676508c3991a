"""The noise of seeds is pooled over cells that differ in the seed alone, with its interval."""

from dataclasses import replace
from itertools import count

import numpy as np
import pandas as pd
import pytest
from campaign_table import NOTHING, campaign, screened

from eutectic.analysis.load import Runs
from eutectic.analysis.noise import at, noises

COUNT = count()


def part(losses: dict[tuple[float, int], list[float]], heads: int = 4) -> Runs:
    """By budget and size, the losses of seeds."""
    rows = [
        {"arch": "attn", "budget": budget, "params": size, "n_heads": heads, "loss": loss}
        for (budget, size), own in losses.items()
        for loss in own
    ]
    frame = pd.DataFrame(rows).assign(run_id=[f"{next(COUNT):016x}" for _ in rows])
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
    """Of the same architecture, budget and size, but a nat apart."""
    one, two, other = part({(1e15, 1): [3.0, 3.2]}), part({(1e15, 1): [4.0, 4.2]}), part({(1e15, 1): [5.0, 5.2]}, 8)
    both = replace(two, used=pd.concat([two.used, other.used]))
    found = noises({"ratio": one, "domain": both})[-1]
    assert (found.deviation.value, found.cells) == (pytest.approx(np.sqrt(0.02)), 3)


def test_a_run_of_two_parts_counts_once() -> None:
    main = part({(1e15, 1): [3.0, 3.2], (1e15, 2): [2.0]})
    further = part({(1e15, 1): [3.6, 3.8]})
    heads = replace(further, used=pd.concat([main.used, further.used]))
    (_, whole) = noises({"main": main, "heads": heads})
    assert (whole.degrees, whole.cells) == (2, 2)
    assert whole.deviation.value == pytest.approx(np.sqrt(0.02))


def test_a_planted_noise_is_in_its_interval() -> None:
    held = [noises(screened(campaign(NOTHING, k, ("placement",))))[-1].deviation for k in range(40)]
    assert sum(one.low <= 0.003 <= one.high for one in held) >= 35
