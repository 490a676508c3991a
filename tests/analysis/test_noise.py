"""The noise of seeds is pooled over cells that differ in the seed alone, and its law is the one planted."""

from dataclasses import replace
from itertools import count

import numpy as np
import pandas as pd
import pytest
from campaign_table import NOTHING, campaign, screened

from eutectic.analysis.load import Runs
from eutectic.analysis.noise import noise, pooled

COUNT = count()


def part(losses: dict[tuple[float, float], list[float]], heads: int = 4) -> Runs:
    """By budget and size, the losses of seeds."""
    rows = [
        {"arch": "attn", "budget": budget, "params": size, "n_heads": heads, "loss": loss}
        for (budget, size), own in losses.items()
        for loss in own
    ]
    frame = pd.DataFrame(rows).assign(run_id=[f"{next(COUNT):016x}" for _ in rows])
    return Runs(frame, frame, frame[:0], frame[:0])


def test_deviations_are_pooled_by_their_degrees() -> None:
    losses = {(1e15, 1): [3.0, 3.2], (1e15, 2): [2.0, 2.1, 2.2], (3e15, 1): [1.0, 1.4], (3e15, 2): [7.0]}
    first, second = pooled({"main": part(losses)})
    assert [(one.part, one.budget, one.degrees, one.cells, one.sizes) for one in (first, second)] == [
        ("main", 1e15, 3, 2, (1, 2)),
        ("main", 3e15, 1, 1, (1, 1)),
    ]
    # squares about the means: 0.02, 0.02 and 0.08
    assert [one.deviation.value for one in (first, second)] == pytest.approx([np.sqrt(0.04 / 3), np.sqrt(0.08)])
    # of three degrees chi squared is within 0.2158 and 9.348 in 95%
    assert (first.deviation.low, first.deviation.high) == pytest.approx(
        (np.sqrt(0.04 / 9.3484), np.sqrt(0.04 / 0.215795)), rel=1e-4
    )


def test_one_seed_tells_no_noise() -> None:
    single = {"main": part({(1e15, 1): [3.0], (1e15, 2): [2.0]})}
    assert pooled(single) == () and noise(single, "main") is None


def test_few_seeds_are_pooled_whatever_the_size() -> None:
    found = noise({"main": part({(1e15, 1): [3.0, 3.2], (1e15, 2): [2.0, 2.1, 2.2]})}, "main")
    assert found is not None and found.slope == 0
    assert found.of(np.array([0.1, 1.0, 9.0]), 3e15) == pytest.approx([np.sqrt(0.04 / 3)] * 3, rel=1e-4)


def test_cells_of_two_parts_or_of_other_heads_are_not_one() -> None:
    """Of the same architecture, budget and size, but a nat apart."""
    one, two, other = part({(1e15, 1): [3.0, 3.2]}), part({(1e15, 1): [4.0, 4.2]}), part({(1e15, 1): [5.0, 5.2]}, 8)
    both = replace(two, used=pd.concat([two.used, other.used]))
    found = pooled({"ratio": one, "domain": both})
    assert [(o.part, o.cells) for o in found] == [("ratio", 1), ("domain", 2)]
    assert [o.deviation.value for o in found] == pytest.approx([np.sqrt(0.02)] * 2)


def test_a_run_of_two_parts_counts_once() -> None:
    main = part({(1e15, 1): [3.0, 3.2], (1e15, 2): [2.0]})
    further = part({(1e15, 1): [3.6, 3.8]})
    heads = replace(further, used=pd.concat([main.used, further.used]))
    found = pooled({"main": main, "heads": heads})
    assert [(one.degrees, one.cells) for one in found] == [(1, 1)] * 2


def test_a_part_with_few_seeds_goes_by_the_main_part_and_then_by_all() -> None:
    few = part({(1e15, 1): [3.0, 3.2]})
    many = part({(1e15, size): [3.0, 3.02, 3.04] for size in range(1, 6)})
    loud = part({(1e15, size): [3.0, 4.0, 5.0] for size in range(1, 6)})
    parts = {"main": many, "placement": loud, "ratio": few}
    expected = {"main": 0.02, "ratio": 0.02, "placement": 1.0}
    for name, deviation in expected.items():
        found = noise(parts, name)
        assert found is not None and found.of(np.array([3.0]), 1e15) == pytest.approx([deviation], rel=1e-3)
    alone = noise({"ratio": few}, "ratio")
    assert alone is not None and alone.degrees == 1


def test_noise_that_grows_with_size_is_found_and_goes_with_the_root_of_compute() -> None:
    """A standard deviation of 0.01 (N / sqrt(C))^0.6 at one budget, of four thousand runs."""
    random = np.random.default_rng(0)
    sizes = np.geomspace(1e6, 16e6, 5)
    at = lambda size, budget: 0.01 * (size / np.sqrt(budget) / 0.1) ** 0.6  # noqa: E731
    found = noise({"main": part({(1e15, s): random.normal(3, at(s, 1e15), 800).tolist() for s in sizes})}, "main")
    assert found is not None and found.slope == pytest.approx(1.2, abs=0.05)
    assert found.of(2 * sizes[:4], 4e15) == pytest.approx(at(2 * sizes[:4], 4e15), rel=0.05)
    ends = found.of(np.array([1e5, 1e6, 16e6, 1e9]), 1e15)
    assert ends[0] == ends[1] and ends[2] == ends[3], "beyond the sizes that had seeds it is as at their end"


def test_cells_that_differ_more_than_by_chance_cost_degrees() -> None:
    random = np.random.default_rng(0)
    cells = 400
    alike = {(1e15, 1.0 + k / cells): random.normal(3, 0.01, 3).tolist() for k in range(cells)}
    scales = 0.01 * np.exp(random.normal(0, 0.8, cells))
    apart = {(1e15, 1.0 + k / cells): random.normal(3, scale, 3).tolist() for k, scale in enumerate(scales)}
    one, other = (noise({"main": part(losses)}, "main") for losses in (alike, apart))
    assert one is not None and other is not None
    assert 0.8 * 2 * cells < one.degrees <= 2 * cells and other.degrees < 0.3 * 2 * cells


def test_a_planted_noise_is_in_its_interval() -> None:
    held = [pooled(screened(campaign(NOTHING, k, ("placement",))))[-1].deviation for k in range(40)]
    assert sum(one.low <= 0.003 <= one.high for one in held) >= 35
