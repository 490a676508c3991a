"""Power laws, their bands, the optima they take, and what is said of two that differ."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eutectic.analysis import isoflop
from eutectic.analysis.frontier import agreement, frontier, power_law

COMPUTE = np.geomspace(1e12, 1e15, 5)
NOISY = [2.5, 2.2, 1.8, 1.6, 1.25]
T3 = 3.18244631  # Student's t at 97.5% of three degrees of freedom


def test_a_power_law_is_recovered_with_its_interval() -> None:
    law = power_law(COMPUTE, 2.5 * (COMPUTE / 1e12) ** -0.07)
    assert law is not None and law.interval is not None
    assert (law.coefficient, law.exponent) == (pytest.approx(2.5), pytest.approx(-0.07))
    assert law.interval == pytest.approx((-0.07, -0.07), abs=1e-7)
    assert law.predict(COMPUTE) == pytest.approx(2.5 * (COMPUTE / 1e12) ** -0.07)
    noisy = power_law(COMPUTE, NOISY)
    assert noisy is not None and noisy.interval is not None
    x, y = np.log(COMPUTE), np.log(NOISY)
    slope = np.cov(x, y)[0, 1] / x.var(ddof=1)
    error = np.sqrt(((y - y.mean() - slope * (x - x.mean())) ** 2).sum() / 3 / ((x - x.mean()) ** 2).sum())
    assert noisy.interval == pytest.approx((slope - T3 * error, slope + T3 * error))


def test_the_band_is_that_of_the_regression_line() -> None:
    law = power_law(COMPUTE, NOISY)
    assert law is not None
    at = np.array([1e12, 1e13, 1e18])
    band = law.band(at)
    assert band is not None
    # the textbook's way: the covariance of intercept and slope, at C = 1
    design = np.vander(np.log(COMPUTE), 2)
    solution, rss, *_ = np.linalg.lstsq(design, np.log(NOISY))
    covariance = rss[0] / 3 * np.linalg.inv(design.T @ design)
    points = np.vander(np.log(at), 2)
    margin = T3 * np.sqrt(np.einsum("ij,jk,ik->i", points, covariance, points))
    assert band[0] == pytest.approx(np.exp(points @ solution - margin))
    assert band[1] == pytest.approx(np.exp(points @ solution + margin))


def test_two_points_leave_no_interval_and_one_no_law() -> None:
    law = power_law([1e12, 1e13], [2.0, 1.0])
    assert law is not None and law.exponent == pytest.approx(-np.log10(2))
    assert (law.interval, law.errors, law.band(COMPUTE)) == (None, None, None)
    assert power_law([1e12, 1e12], [2.0, 1.0]) is None


def test_the_band_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    inside = np.zeros(2)
    for _ in range(1000):
        law = power_law(COMPUTE, 3.0 * (COMPUTE / 1e12) ** 0.5 * np.exp(random.normal(0, 0.1, 5)))
        assert law is not None
        band = law.band(np.array([1e14, 1e18]))
        assert band is not None
        inside += (band[0] <= [30, 3000]) & (band[1] >= [30, 3000])
    # 950 expected with a standard deviation of 7
    assert ((inside >= 925) & (inside <= 975)).all()


@given(scale=st.floats(1e-9, 1e9), order=st.permutations(range(5)))
def test_units_and_the_order_of_points_do_not_matter(scale: float, order: list[int]) -> None:
    one, other = power_law(COMPUTE, NOISY), power_law(COMPUTE[order], scale * np.array(NOISY)[order])
    assert one is not None and other is not None
    assert other.exponent == pytest.approx(one.exponent)
    assert other.interval == pytest.approx(one.interval)
    assert np.array(other.band(COMPUTE)) == pytest.approx(scale * np.array(one.band(COMPUTE)))


def test_a_frontier_takes_optima_only() -> None:
    sizes = np.geomspace(1e6, 1e7, 6)
    optima = [
        isoflop.fit("attn", c, sizes, 1e9 * np.ones(6), 3.0 * x**-0.05 + 0.1 * np.log(sizes / (2e6 * x)) ** 2)
        for c, x in ((1e15, 1), (2e15, 2), (4e15, 4))
    ]
    beyond = dataclasses.replace(optima[0], budget=9e15, status="beyond grid", params=None)
    law = frontier("attn", [*optima, beyond])
    assert law.params is not None and law.loss is not None
    assert (law.params.n, law.params.exponent) == (3, pytest.approx(1.0))
    assert law.loss.exponent == pytest.approx(-0.05)
    assert frontier("attn", optima[:1]).loss is None
    assert frontier("hyena", optima).loss is None


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.48, 0.52), "agree"),
        ((0.40, 0.70), "agree"),
        ((0.50, 0.51), "agree"),
        ((0.53, 0.55), "agree"),
        ((0.531, 0.55), "disagree"),
        ((0.40, 0.469), "disagree"),
    ],
)
def test_approaches_disagree_where_their_intervals_are_apart(interval: tuple[float, float], verdict: str) -> None:
    one, other = (0.5, (0.47, 0.53)), (sum(interval) / 2, interval)
    assert agreement(one, other).verdict == agreement(other, one).verdict == verdict
    assert agreement(one, other).ratio == pytest.approx(sum(interval))
