"""Profile intervals: Student's where the law is linear, calibrated where it is not, open where the data are silent."""

import numpy as np
import planted
import pytest
from scipy import optimize, stats

from eutectic.analysis import losses, solve
from eutectic.analysis.fit import Fit, fit
from eutectic.analysis.laws import CHINCHILLA, FRONTIER, FRONTIER_0, LAWS, Array
from eutectic.analysis.losses import LossFn
from eutectic.analysis.profile import Profile, _own, profile
from eutectic.analysis.solve import Refused

LS = LossFn("ls-log")
COMPUTE = np.geomspace(1e17, 1e21, 18)
FRONTIER_STEEP = np.array([np.log(1.8), np.log(2000.0), 0.18])


def frontier(noise: float, seed: int, loss: LossFn = LS) -> Fit:
    y = np.exp(FRONTIER.log(FRONTIER_STEEP, {"C": COMPUTE}))
    return fit(FRONTIER, {"C": COMPUTE}, y * np.exp(np.random.default_rng(seed).normal(0, noise, len(y))), loss)


def covers(found: Profile, value: float) -> bool:
    low, high = found.interval
    return (low is None or low <= value) and (high is None or value <= high)


@pytest.mark.parametrize("seed", range(3))
def test_a_linear_laws_is_students_interval(seed: int) -> None:
    """ln L = ln K - kappa ln C: the slope and intercept of a regression, with n - 2 degrees of freedom."""
    y = planted.losses(FRONTIER_0, {"C": COMPUTE}, 0.02, seed)
    found = fit(FRONTIER_0, {"C": COMPUTE}, y, LS)
    line = stats.linregress(-np.log(COMPUTE), np.log(y))
    t = stats.t.ppf(0.975, len(y) - 2)
    kappa, coefficient = profile(found, "kappa"), profile(found, "K")
    assert kappa.estimate == found.values["kappa"] == pytest.approx(line.slope)
    assert kappa.interval == pytest.approx((line.slope - t * line.stderr, line.slope + t * line.stderr), rel=1e-7)
    ends = line.intercept - t * line.intercept_stderr, line.intercept + t * line.intercept_stderr
    assert np.log(coefficient.interval) == pytest.approx(ends, rel=1e-7)
    assert kappa.critical == pytest.approx(t**2)


def test_squares_of_losses() -> None:
    """Over a narrow range they are those of logarithms, but for scale, and a unit of losses changes nothing."""
    compute = np.geomspace(1e20, 1.5e20, 18)
    y = planted.losses(FRONTIER_0, {"C": compute}, 1e-3)
    cases = ((LossFn("ls"), 1.0), (LossFn("ls"), 1.44), (LS, 1.0))
    ends = [profile(fit(FRONTIER_0, {"C": compute}, y * unit, loss), "kappa").interval for loss, unit in cases]
    assert ends[1] == pytest.approx(ends[0], rel=1e-7)
    assert ends[2] == pytest.approx(ends[0], rel=0.02)


@pytest.mark.parametrize("name", ["chinchilla", "gamma", "repeated", "hybrid-linear"])
def test_held_values_are_the_laws_own(name: str) -> None:
    """In what is held the law is itself, and the least there is the one that another search finds."""
    law = LAWS[name]
    x = planted.inputs(law)
    found = fit(law, x, planted.losses(law, x, 0.003), LS)
    assert _own(found).evaluate(found.theta[None])[0][0] == pytest.approx(law.log(found.theta, x), abs=1e-9)
    for parameter in ("B", "beta"):
        k, one = law.names.index(parameter), profile(found, parameter)
        at = int(np.nanargmin(np.abs(one.rise - 6)))
        value = np.log(one.grid[at]) if parameter == "B" else one.grid[at]

        def rise(others: Array, k: int = k, value: float = value) -> float:
            theta = np.insert(others, k, value)
            return float(((law.log(theta, x) - np.log(found.y)) ** 2).sum()) / found.objective - 1

        start = np.delete(found.theta, k)
        best = optimize.minimize(
            rise,
            start,
            method="Nelder-Mead",
            options={"maxiter": 40_000, "maxfev": 40_000, "xatol": 1e-10, "fatol": 1e-12, "adaptive": True},
        )
        assert one.rise[at] <= best.fun * (found.n - len(law.names)) * (1 + 1e-6), parameter
        assert one.rise[at] == pytest.approx(best.fun * (found.n - len(law.names)), rel=0.02), parameter


@pytest.mark.parametrize("loss", ["huber", "lad", "ls", "ls-log"])
def test_the_grid_is_about_the_estimate(loss: str) -> None:
    x = planted.inputs(CHINCHILLA)
    found = fit(CHINCHILLA, x, planted.losses(CHINCHILLA, x, 0.003), losses.find(loss))
    for parameter in CHINCHILLA.names:
        one = profile(found, parameter)
        assert one.parameter == parameter and len(one.grid) == len(one.rise)
        assert (np.diff(one.grid) > 0).all()
        at = int(np.argmin(np.abs(one.grid - found.values[parameter])))
        assert one.grid[at] == pytest.approx(one.estimate, rel=1e-12) and one.rise[at] == pytest.approx(0, abs=1e-6)
        assert np.nanmin(one.rise) > -1e-6
        low, high = one.interval
        assert low is not None and high is not None and low < one.estimate < high
        ends = np.interp([low, high], one.grid, one.rise)
        assert ends == pytest.approx(one.critical, rel=0.02)


def test_profiles_of_hubers_loss_with_a_wide_delta_are_those_of_squares() -> None:
    x = planted.inputs(CHINCHILLA)
    y = planted.losses(CHINCHILLA, x, 0.003)
    wide, squares = (profile(fit(CHINCHILLA, x, y, f), "alpha") for f in (LossFn("huber", 0.1), LS))
    assert wide.interval == pytest.approx(squares.interval, rel=1e-6)


def test_coverage() -> None:
    """Of 140 simulations of 18 runs, nominally 95% (binomially 133 +- 3)."""
    truth = FRONTIER.values(FRONTIER_STEEP)
    hits = {"E": 0, "kappa": 0}
    for seed in range(140):
        found = frontier(0.01, seed)
        for name in hits:
            hits[name] += covers(profile(found, name), truth[name])
    assert all(0.91 * 140 <= count <= 0.98 * 140 for count in hits.values()), hits


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["huber", "lad", "ls-log"])
def test_coverage_of_chinchillas_law(loss: str) -> None:
    """Noise of .003, three times Huber's delta, 35 runs."""
    x, truth = planted.inputs(CHINCHILLA), planted.CHINCHILLA
    hits = dict.fromkeys(("E", "alpha", "beta"), 0)
    for seed in range(200):
        found = fit(CHINCHILLA, x, planted.losses(CHINCHILLA, x, 0.003, seed), losses.find(loss))
        for name in hits:
            hits[name] += covers(profile(found, name), truth[name])
    assert all(0.91 * 200 <= count <= 0.98 * 200 for count in hits.values()), hits


def test_the_side_where_the_data_say_less_is_longer() -> None:
    """The floor E lies below all losses: it is bounded from above far better than from below."""
    for seed in range(3):
        one = profile(frontier(0.02, seed), "E")
        low, high = one.interval
        assert low is not None and high is not None
        assert one.estimate - low > 1.35 * (high - one.estimate)


def test_a_side_is_open_where_the_objective_never_rises_enough() -> None:
    """With ten times the noise the floor may as well be zero."""
    one = profile(frontier(0.1, 0), "E")
    assert one.interval[0] is None and one.interval[1] is not None
    below = one.rise[one.grid < one.estimate]
    assert below.max() < one.critical and below[0] == pytest.approx(below[1], rel=1e-3)  # level, as E goes to zero
    without = fit(FRONTIER_0, {"C": COMPUTE}, frontier(0.1, 0).y, LS)
    degrees = len(COMPUTE) - 3
    assert below[0] == pytest.approx((without.objective / frontier(0.1, 0).objective - 1) * degrees, rel=1e-3)


@pytest.mark.parametrize("loss", ["huber", "lad", "ls", "ls-log"])
def test_points_without_noise_have_no_interval(loss: str) -> None:
    x = planted.inputs(CHINCHILLA)
    found = fit(CHINCHILLA, x, planted.losses(CHINCHILLA, x), losses.find(loss))
    with pytest.raises(Refused, match="the profile of E has no interval: the points lie on the law exactly"):
        profile(found, "E")


def test_refits_that_do_not_converge_are_not_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    found = frontier(0.01, 0)
    monkeypatch.setattr(solve, "STEPS", 1)
    with pytest.raises(Refused, match="the profile of kappa has no interval: refits with it held did not all converge"):
        profile(found, "kappa")
