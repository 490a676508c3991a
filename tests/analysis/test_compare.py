"""Comparisons against truths that can be worked out: laws that differ by a factor of compute, and ones that cross."""

from dataclasses import replace

import numpy as np
import pytest

from eutectic.analysis.compare import Candidate, candidates, crossover, missized, multiplier, win_probability
from eutectic.analysis.fit import fit
from eutectic.analysis.laws import CHINCHILLA, Array
from eutectic.analysis.losses import LossFn
from eutectic.analysis.optimum import Cost, optimum

ASKED = np.array([1e18, 1e19])
BASE = np.array([np.log(1.7), np.log(400.0), 0.34, np.log(400.0), 0.34])
LS = LossFn("ls-log")


def design() -> dict[str, Array]:
    compute = np.repeat(np.geomspace(1e17, 1e19, 4), 6)
    params = np.sqrt(compute / 6) * np.tile(np.geomspace(0.2, 5, 6), 4)
    return {"N": params, "D": compute / (6 * params)}


def found(laws: dict[str, Array], noise: float = 0.0, shared: bool = False, labels: str = "") -> dict[str, Candidate]:
    """labels: the architectures named in it get labels of their own; the others share theirs."""
    x, random = design(), np.random.default_rng(0)
    same = random.normal(0, noise, len(x["N"]))
    fits = {
        name: fit(
            CHINCHILLA, x, np.exp(CHINCHILLA.log(t, x) + (same if shared else random.normal(0, noise, len(same)))), LS
        )
        for name, t in laws.items()
    }
    own = {name: [f"{name if name in labels else ''}{k}" for k in range(len(same))] for name in laws}
    return candidates(fits, dict.fromkeys(laws, Cost()), own, ASKED, 300, 0)[0]


def test_a_factor_of_compute_is_a_multiplier() -> None:
    """B's coefficients make B at C what A is at C / 2: A needs half of B's compute, wherever."""
    worse = BASE + np.array([0, 1, 0, 1, 0]) * 0.17 * np.log(2)
    both = found({"a": BASE, "b": worse})
    for there, back in zip(
        multiplier(both["a"], both["b"], ASKED), multiplier(both["b"], both["a"], ASKED), strict=True
    ):
        assert (there.value, there.low, there.high) == pytest.approx((0.5, 0.5, 0.5), rel=1e-3)
        assert (back.value, back.share) == (pytest.approx(2.0, rel=1e-3), 1.0)
    assert np.isnan(crossover(both["a"], both["b"], ASKED).value)


def crossing(noise: float) -> dict[str, Candidate]:
    """One falls faster and starts higher: their optima are equal at 1e18.5."""
    steeper = BASE + np.array([0, 0, 0.02, 0, 0.02])
    at = np.array(10**18.5)
    gap, lower = (optimum(CHINCHILLA, theta, Cost(), at).loss - 1.7 for theta in (BASE, steeper))
    return found({"flat": BASE, "steep": steeper + np.array([0, 1, 0, 1, 0]) * np.log(gap / lower)}, noise)


def shifted(one: Candidate, by: Array) -> Candidate:
    """With every loss of the fit (0) and of each resample off by this much of its logarithm."""
    return replace(one, losses=one.losses * np.exp(by[:, None]))


def test_a_loss_never_reached_has_an_open_multiplier() -> None:
    """Where one resample in ten ends above the reference's loss, or begins below it, the interval has no end there."""
    both = found({"a": BASE, "b": BASE + np.array([0, 1, 0, 1, 0]) * 0.17 * np.log(2)})
    off = np.random.default_rng(0).normal(0, 0.01, 301)
    known = multiplier(shifted(both["a"], off), both["b"], ASKED)[0]
    for off_by, ends in ((1.0, (known.low, np.inf)), (-1.0, (0.0, known.high))):
        off[1:31] = off_by
        (some, _) = multiplier(shifted(both["a"], off), both["b"], ASKED)
        assert (some.value, some.share) == (known.value, 0.9)
        assert (some.low, some.high) == pytest.approx(ends, rel=0.1)
    off[1:31] = np.nan  # not converged: neither reached nor not
    assert np.isfinite(multiplier(shifted(both["a"], off), both["b"], ASKED)[0].high)
    higher = found({"a": BASE, "b": BASE + np.array([0.3, 0, 0, 0, 0])})
    never = multiplier(higher["b"], higher["a"], np.array([1e23]))[0]
    assert (never.value, never.low, never.high, never.share) == (np.inf, np.inf, np.inf, 0.0)


def test_a_crossing_beyond_the_grid_opens_the_interval_there() -> None:
    """`steep` is better above 1e18.5. Where it is better, or worse, all along, they cross below the grid, or above."""
    both, at = crossing(noise=1e-4), 10**18.5
    known = crossover(both["flat"], both["steep"], ASKED)
    for off_by, ends in ((1.0, (known.low, np.inf)), (-1.0, (0.0, known.high))):
        off = np.zeros(301)
        off[1:61] = off_by
        for pair in ((both["flat"], shifted(both["steep"], off)), (shifted(both["steep"], off), both["flat"])):
            some = crossover(*pair, ASKED)
            assert (some.value, some.share) == (pytest.approx(at, rel=0.1), 0.8)
            assert (some.low, some.high) == pytest.approx(ends, rel=0.2)
    off[61:] = off[0] = -1.0  # the fit does not cross: there is no side to lie beyond
    none = crossover(both["flat"], shifted(both["steep"], off), ASKED)
    assert np.isnan([none.value, none.low, none.high]).all() and none.share == 0.0


def test_a_crossing_is_found_where_it_is() -> None:
    both, at = crossing(noise=1e-4), 10**18.5
    found_at = crossover(both["flat"], both["steep"], ASKED)
    assert found_at.value == pytest.approx(at, rel=0.1)
    assert found_at.low < at < found_at.high and found_at.share > 0.95
    wins = win_probability(both, np.array([1e17, 1e20]))
    assert wins["flat"][0] > 0.97 and wins["steep"][1] > 0.97
    assert wins["flat"] + wins["steep"] == pytest.approx(1.0)


def test_what_runs_share_cancels_when_they_are_paired() -> None:
    """The same noise in both (a seed's data order, say): paired resampling knows the multiplier far better."""
    laws = {"a": BASE, "b": BASE + np.array([0, 0.05, 0, 0.05, 0])}
    paired = found(laws, 0.003, shared=True)
    apart = found(laws, 0.003, shared=True, labels="b")
    widths = [np.log(m.high / m.low) for c in (paired, apart) for m in multiplier(c["a"], c["b"], ASKED)[:1]]
    assert widths[0] < widths[1] / 5


def test_a_wrong_size_costs_what_the_law_says() -> None:
    one = found({"a": BASE})["a"]
    # alpha = beta and A = B: N* = D* = sqrt(C / 6), and four times too small is as bad as four times too large
    best = np.sqrt(1e18 / 6)
    worse = 400 * ((best / 4) ** -0.34 + (best * 4) ** -0.34 - 2 * best**-0.34)
    small, large = missized(one, 1e18)
    assert (small.value, large.value) == pytest.approx((worse, worse), rel=1e-4)
    assert one.optimum(np.array([1e18])).params[0, 0] == pytest.approx(best, rel=1e-4)
