"""What compute is worth by the lowest sizes: shares of FLOPs that were planted, and what their intervals are."""

from dataclasses import replace

import numpy as np
import pytest
from campaign_table import BUDGETS, Truth, campaign, screened
from scipy import stats

from eutectic.analysis.evidence import Evidence
from eutectic.analysis.isoflop import IsoflopOptimum
from eutectic.analysis.minima import Minima
from eutectic.analysis.worth import worth

NOISE = 0.003  # of ln L
FALL = 0.08  # ln L falls by so much of ln C
ARCHS = {"attn": 1.0, "hyena": 1.5, "hyena+attn": 0.7}  # and of attention's FLOPs they need so many


def planted(budget: float, archs: dict[str, float] = ARCHS, noise: float = NOISE, degrees: int = 10_000) -> Minima:
    random = np.random.default_rng(int(budget))
    logs = np.array([1.0 - FALL * (np.log(budget / 1e15) - np.log(share)) for share in archs.values()])
    errors = np.concatenate([np.zeros((1, len(archs))), noise * random.normal(size=(4000, len(archs)))])
    optima = tuple(IsoflopOptimum(arch, budget, "optimum", 5, 5, 3.0, 1e6) for arch in archs)
    losses = np.exp(logs + errors)
    none = np.full_like(losses, np.nan)
    return Minima(budget, optima, none, losses, (none, none), np.nan, degrees, True)


def test_planted_shares_come_back_with_the_interval_of_both_errors() -> None:
    for one in worth([planted(budget) for budget in BUDGETS]):
        assert one.reference == "attn" and list(one.multipliers) == list(BUDGETS)
        for found in one.multipliers.values():
            assert found.value == pytest.approx(ARCHS[one.arch]) and found.share == 1.0
        middle = one.multipliers[1e15]
        # the reference's error, and the two of the line that the architecture is on, by how near their budgets are
        along = abs(np.log(ARCHS[one.arch])) / np.log(10**0.5)
        error = NOISE / FALL * np.sqrt(1 + (1 - along) ** 2 + along**2)
        assert np.log(middle.high / middle.low) == pytest.approx(2 * 1.96 * error, rel=0.12)


def test_noise_that_is_less_well_known_widens_intervals_as_student_s_t_does() -> None:
    well, badly = (worth([planted(budget, degrees=k) for budget in BUDGETS])[0] for k in (10_000, 4))
    widths = [np.log(one.multipliers[1e15].high / one.multipliers[1e15].low) for one in (well, badly)]
    assert widths[1] / widths[0] == pytest.approx(stats.t.ppf(0.975, 4) / stats.norm.ppf(0.975), rel=1e-3)


def test_beyond_the_budgets_lines_are_carried_on_as_far_as_they_are_long_and_that_is_told() -> None:
    near, far = worth([planted(budget, {"attn": 1.0, "hyena": 1.5, "mamba2": 8.0}) for budget in BUDGETS])
    assert [near.extrapolated(budget) for budget in BUDGETS] == [False, False, True]
    assert far.multipliers[1e15].value == pytest.approx(8.0) and far.extrapolated(1e15)
    assert far.multipliers[3e15].value == np.inf and far.extrapolated(3e15)
    (early,) = worth([planted(budget, {"attn": 1.0, "hyena": 0.1}, 0.0) for budget in BUDGETS])
    assert [early.multipliers[budget].value for budget in BUDGETS] == [0.0, pytest.approx(0.1), pytest.approx(0.1)]


def test_one_optimum_is_no_line_and_budgets_without_both_have_no_share() -> None:
    first, middle, last = (planted(budget) for budget in BUDGETS)
    alone = replace(middle, optima=middle.optima[:1], lowest=middle.lowest[:, :1])
    assert worth([first, alone]) == ()
    found = {one.arch: one for one in worth([first, alone, last])}
    assert set(found) == {"hyena", "hyena+attn"}
    assert list(found["hyena"].multipliers) == [3e14, 3e15] and found["hyena"].budgets == (3e14, 3e15)


def test_a_line_that_does_not_fall_reaches_nothing_and_another_is_not_asked() -> None:
    archs = {"attn": 1.0, "hyena": 1.5}
    first, middle, last = (planted(budget, archs) for budget in BUDGETS)
    flat = replace(last, lowest=np.column_stack([last.lowest[:, 0], middle.lowest[:, 1]]))
    found = worth([first, middle, flat])[0].multipliers
    assert found[3e15].value == np.inf and found[3e14].value == pytest.approx(1.5)
    half = flat.lowest.copy()  # of a third of the draws, which are no fewer for it: the interval is open above
    half[::3, 1] = last.lowest[::3, 1]
    (one,) = worth([first, middle, replace(flat, lowest=half)])
    assert one.multipliers[3e15].value == pytest.approx(1.5) and one.multipliers[3e15].high == np.inf


def test_of_a_campaign_it_is_what_its_losses_say() -> None:
    truth = Truth()
    evidence = Evidence(screened(campaign(truth, names=("main",))))

    def best(arch: str, compute: float) -> float:
        n = np.sqrt(compute / 6)
        return truth.loss(arch, n, n)

    grid = np.geomspace(1e14, 1e16, 4001)
    found = {one.arch: one for one in evidence.worth}
    for arch in ("mamba2", "hyena+attn*3"):
        losses = np.array([best(arch, compute) for compute in grid])
        needed = grid[np.abs(losses - best("attn", 1e15)).argmin()] / 1e15
        one = found[arch].multipliers[1e15]
        assert one.low < needed < one.high and one.value == pytest.approx(needed, rel=0.1)
    rows = evidence.parts["main"].used.query("seed == 0")
    assert Evidence({"main": replace(evidence.parts["main"], used=rows)}).worth == ()
