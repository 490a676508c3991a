"""isoFLOP fits against truths we made: the optimum, its interval's coverage, and the cases that have none."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eutectic.analysis import isoflop
from eutectic.analysis.frontier import frontier, power_law

SIZES = np.geomspace(1e6, 1e7, 6)


def losses(best: float, curvature: float, floor: float, sizes: np.ndarray = SIZES) -> np.ndarray:
    return floor + curvature * np.log(sizes / best) ** 2


@given(best=st.floats(1.1e6, 9e6), curvature=st.floats(0.01, 1.0), floor=st.floats(1.0, 5.0))
def test_an_exact_parabola_is_recovered(best: float, curvature: float, floor: float) -> None:
    tokens = 1e15 / (6 * SIZES)
    found = isoflop.fit("attn", 1e15, SIZES, tokens, losses(best, curvature, floor))
    assert found.status == "optimum"
    assert found.params == pytest.approx(best, rel=1e-6)
    assert found.loss == pytest.approx(floor, abs=1e-9)
    assert found.tokens == pytest.approx(1e15 / (6 * best), rel=1e-6)
    assert found.predict(SIZES) == pytest.approx(losses(best, curvature, floor))
    assert max(map(abs, found.residuals)) < 1e-9


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    inside_params = inside_loss = 0
    for _ in range(1000):
        seen = losses(3e6, 0.1, 3.0) + random.normal(0, 0.005, len(SIZES))
        found = isoflop.fit("attn", 1e15, SIZES, SIZES, seen)
        assert found.params_interval is not None and found.loss_interval is not None
        inside_params += found.params_interval[0] <= 3e6 <= found.params_interval[1]
        inside_loss += found.loss_interval[0] <= 3.0 <= found.loss_interval[1]
    # 950 expected with a standard deviation of 7
    assert 925 <= inside_params <= 975
    assert 925 <= inside_loss <= 975


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (losses(2e7, 0.1, 3.0), "beyond grid"),
        (losses(5e5, 0.1, 3.0), "beyond grid"),
        (losses(3e6, -0.1, 3.0), "no minimum"),
    ],
)
def test_what_the_data_cannot_say_is_not_said(seen: np.ndarray, status: str) -> None:
    found = isoflop.fit("attn", 1e15, SIZES, SIZES, seen)
    assert (found.status, found.params, found.loss) == (status, None, None)
    assert found.best_loss == seen.min()


def test_seeds_are_points_and_not_sizes() -> None:
    few = np.repeat(SIZES[:3], 4)
    assert isoflop.fit("attn", 1e15, few, few, losses(2e6, 0.1, 3.0, few)).status == "too few sizes"
    many = np.repeat(SIZES, 2)
    found = isoflop.fit("attn", 1e15, many, many, losses(2e6, 0.1, 3.0, many))
    assert (found.n_runs, found.n_sizes) == (12, 6)


def test_a_power_law_is_recovered_with_its_interval() -> None:
    compute = np.geomspace(1e12, 1e15, 5)
    law = power_law(list(compute), list(2.5 * (compute / 1e12) ** -0.07))
    assert law is not None and law.interval is not None
    assert (law.coefficient, law.exponent) == (pytest.approx(2.5), pytest.approx(-0.07))
    assert law.interval == pytest.approx((-0.07, -0.07), abs=1e-7)
    assert law.predict(compute) == pytest.approx(2.5 * (compute / 1e12) ** -0.07)
    noisy = power_law(list(compute), [2.5, 2.2, 1.8, 1.6, 1.25])
    assert noisy is not None and noisy.interval is not None
    x = np.log(compute)
    y = np.log([2.5, 2.2, 1.8, 1.6, 1.25])
    slope = np.cov(x, y)[0, 1] / x.var(ddof=1)
    error = np.sqrt(((y - y.mean() - slope * (x - x.mean())) ** 2).sum() / 3 / ((x - x.mean()) ** 2).sum())
    assert noisy.interval == pytest.approx((slope - 3.18244631 * error, slope + 3.18244631 * error))


def test_a_frontier_takes_optima_only() -> None:
    optima = [
        isoflop.fit("attn", c, SIZES, 1e9 * np.ones(6), losses(2e6 * c / 1e15, 0.1, 3.0 * (c / 1e15) ** -0.05))
        for c in (1e15, 2e15, 4e15)
    ]
    beyond = dataclasses.replace(optima[0], budget=9e15, status="beyond grid", params=None)
    law = frontier("attn", [*optima, beyond])
    assert law.params is not None and law.loss is not None
    assert (law.params.n, law.params.exponent) == (3, pytest.approx(1.0))
    assert law.loss.exponent == pytest.approx(-0.05)
    assert frontier("attn", optima[:1]).loss is None
    assert frontier("hyena", optima).loss is None
