"""Compute-optimal losses at a budget, and how much they vary with the noise that runs have."""

from dataclasses import replace

import numpy as np
import pytest
from campaign_table import BUDGETS, NOTHING, Truth, campaign, screened

from eutectic.analysis import noise as seeds
from eutectic.analysis.load import Runs
from eutectic.analysis.minima import Minima, minima, near
from eutectic.analysis.noise import Noise

TRUTH = Truth()
BUDGET = BUDGETS[1]


def main(truth: Truth = TRUTH, seed: int = 0) -> Runs:
    return screened(campaign(truth, seed, ("main",)))["main"]


def noise(runs: Runs) -> Noise:
    found = seeds.noise({"main": runs}, "main")
    assert found is not None
    return found


def best(arch: str) -> float:
    """The planted loss at the planted best size, N = D."""
    n = np.sqrt(BUDGET / 6)
    return TRUTH.loss(arch, n, n)


def test_curves_through_means_give_the_planted_optima() -> None:
    runs = main()
    found = minima(runs, BUDGET, noise(runs))
    assert (found.seeds, found.missing, found.degrees) == (True, {}, 72)
    for arch, values in zip(found.archs, found.losses.T, strict=True):
        assert values[0] == pytest.approx(best(arch), abs=0.005)
        # the least of a curve through means of three runs and more
        assert 0.001 < values[1:].std() < 0.003


def test_draws_of_several_budgets_have_nothing_to_do_with_each_other() -> None:
    runs = main()
    drawn = [minima(runs, budget, noise(runs)) for budget in BUDGETS[:2]]
    for values in ([one.losses for one in drawn], [one.lowest for one in drawn]):
        together = np.corrcoef(*(value[1:, 0] for value in values))[0, 1]
        assert abs(together) < 0.1  # four standard errors and more of 2,000


def test_without_seeds_errors_are_what_parabolas_leave() -> None:
    """Parabolas are off by what all architectures share, which is no part of it."""
    runs = main(replace(NOTHING, noise=0.002))
    found = minima(runs, BUDGET, None)
    assert not found.seeds and np.isnan(found.far).all()
    assert found.scatter == pytest.approx(0.002, rel=0.35)
    # six architectures of eleven runs near the best size, less three each, and less the eight that are left of a curve
    assert found.degrees == 6 * 11 - 18 - 8


@pytest.mark.parametrize(("archs", "factor"), [(("attn",), 1.3), (("attn", "hyena"), 1.5), (None, 1.0)])
def test_what_one_architecture_is_off_by_counts_and_what_all_are_does_not(
    archs: tuple[str, ...] | None, factor: float
) -> None:
    """A hundredth of a nat at the best size, of which parabolas have no notion."""
    runs = main(replace(NOTHING, noise=0.002))
    best = np.isclose(runs.used["params"], np.sqrt(BUDGET / 6))
    whose = runs.used["arch"].isin(archs or runs.archs)
    moved = replace(runs, used=runs.used.assign(loss=runs.used["loss"] + 0.01 * (best & whose)))
    ratio = minima(moved, BUDGET, None).scatter / minima(runs, BUDGET, None).scatter
    assert ratio == pytest.approx(factor, rel=0.05) and (archs is not None or ratio == pytest.approx(1.0, abs=1e-6))


def test_sizes_far_off_enter_no_parabola() -> None:
    rows = main().select("attn", BUDGET)
    assert rows["params"].nunique() == 7 and near(rows)["params"].nunique() == 5
    few = rows[rows["params"].isin(np.sort(rows["params"].unique())[[0, 2, 3, 6]])]
    assert len(near(few)) == len(few)


def lost(found: Minima) -> np.ndarray:
    """(sides, 1 + count, archs)"""
    return np.stack(found.far) - found.losses


def test_sizes_off_the_best_lose_what_was_planted() -> None:
    runs = main()
    sides = lost(minima(runs, BUDGET, noise(runs)))
    n = np.sqrt(BUDGET / 6)
    for k, arch in enumerate(minima(runs, BUDGET, noise(runs)).archs):
        planted = TRUTH.loss(arch, n / 4, 4 * n) - best(arch)
        # the best size is not known to better than a tenth, and moves one side up and the other down
        assert sides[:, 0, k].mean() == pytest.approx(planted, abs=0.01)
        assert np.corrcoef(sides[:, 1:, k])[0, 1] < -0.3


def test_sizes_that_were_not_trained_lose_nobody_knows_what() -> None:
    runs = main()
    small = runs.used[runs.used["params"] < 3 * np.sqrt(BUDGET / 6)]
    found = minima(replace(runs, used=small), BUDGET, noise(runs))
    assert np.isnan(found.far[1]).all() and np.isfinite(found.far[0]).all()


def test_an_architecture_without_an_optimum_is_said_to_have_none() -> None:
    runs = main()
    rows = runs.used
    cut = rows[(rows["arch"] != "mamba2") | (rows["params"] < np.sqrt(BUDGET / 6) * 1.1)]
    found = minima(replace(runs, used=cut), BUDGET, noise(runs))
    assert found.missing == {"mamba2": "beyond grid"}
    assert "mamba2" not in found.archs and found.losses.shape[1] == 5
    assert found.of(("attn", "mamba2")).shape[1] == 1


def test_three_sizes_have_a_parabola_through_their_means_where_noise_is_known() -> None:
    runs = screened(campaign(TRUTH, names=("domain",)))["domain"]
    known = noise(main())
    found = minima(runs, BUDGET, known)
    n = np.sqrt(BUDGET / 6)
    assert found.missing == {} and len(found.archs) == 8
    for one in found.optima:
        assert one.params and one.tokens and 6 * one.params * one.tokens == pytest.approx(BUDGET)
    for arch, values in zip(found.archs, found.losses.T, strict=True):
        assert values[0] == pytest.approx(TRUTH.loss(arch, n, n, "domain"), abs=0.008)
        assert 0.5 < values[1:].std() / known.of(np.array(n), BUDGET) < 1.2, "a mean of one run"
    assert set(minima(runs, BUDGET, None).missing.values()) == {"too few sizes"}
    ends = runs.used.assign(loss=runs.used["loss"] + 0.1 * np.log(runs.used["params"] / n))
    assert set(minima(replace(runs, used=ends), BUDGET, known).missing.values()) == {"beyond grid"}
