"""The spread over placements and over shares, noise taken off, is what was planted."""

from dataclasses import replace

import numpy as np
import pytest
from campaign_table import NOTHING, Truth, campaign, screened

from eutectic.analysis.noise import noise
from eutectic.analysis.placement import Spread, spreads

PARTS = ("ratio", "placement")
SHARES = np.array([0, 1 / 12, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 3 / 4, 1])


def spread(truth: Truth, seed: int = 0, names: tuple[str, ...] = PARTS) -> Spread:
    parts = screened(campaign(truth, seed, names))
    known = noise(parts, "placement")
    assert known is not None
    (found,) = spreads(parts, known, seed)
    return found


def test_planted_deviations_are_in_their_intervals() -> None:
    # placements stand at -2, -1, 0, 1 and 2 times the order, and shares on a parabola
    order, amount = 0.004 * np.std(np.arange(5), ddof=1), np.std(0.6 * (SHARES - 0.4) ** 2, ddof=1)
    planted = Truth(order=0.004, robust=1.0)
    held = [spread(planted, k) for k in range(20)]
    for name, truth in (("placements", order), ("shares", amount), ("gap", order - amount)):
        found = [getattr(one, name) for one in held]
        assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=3e-4)
        assert sum(one.low <= truth <= one.high for one in found) >= 17


def test_placements_that_do_nothing_have_no_spread_left() -> None:
    """The noise of a mean of three runs at two sizes is itself a spread of 0.0017."""
    found = [spread(NOTHING, k) for k in range(20)]
    assert sum(one.placements.low > 0 for one in found) <= 2
    assert np.median([one.placements.value for one in found]) < 0.0009
    left_out = sum(one.gap.high < 0 or one.gap.low > 0 for one in found)
    assert left_out <= 2


def test_placements_that_matter_more_are_told() -> None:
    assert spread(replace(NOTHING, order=0.02)).gap.low > 0


def test_the_cells_are_those_of_the_sizes_in_common() -> None:
    found = spread(Truth())
    assert found.cells.groupby("kind")["name"].nunique().to_dict() == {"placement": 5, "share": 8}
    assert found.cells.groupby("kind")["runs"].agg(set).to_dict() == {"placement": {3}, "share": {1}}
    assert len(found.cells) == 2 * (5 + 8)
    assert found.among_hybrids is not None and found.among_hybrids.value > found.gap.value


def test_nothing_is_said_without_shares_at_the_size() -> None:
    parts = screened(campaign(Truth(), names=("ratio", "placement", "main")))
    known = noise(parts, "placement")
    assert known is not None
    other = replace(parts["ratio"], used=parts["ratio"].used.assign(d_model=1))
    deeper = replace(parts["main"], used=parts["main"].used.assign(n_layers=8))
    assert spreads(parts | {"ratio": other, "main": deeper}, known) == ()
    few = replace(parts["ratio"], used=parts["ratio"].used[parts["ratio"].used["attn_share"] > 0.6])
    assert spreads({"ratio": few, "placement": parts["placement"]}, known) == ()
