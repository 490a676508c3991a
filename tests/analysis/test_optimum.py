"""Optima of laws against their closed forms, at 6ND and at other costs, and of attention's share within 0 and 1."""

import numpy as np
import planted
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eutectic.analysis.laws import CHINCHILLA, GAMMA, LAWS, Array
from eutectic.analysis.optimum import Cost, best_share, fit_cost, optimum

COMPUTE = np.geomspace(1e17, 1e24, 8)
MIX = LAWS["hybrid-interior"]


def closed_form(theta: Array, compute: Array, cost: Cost) -> tuple[Array, Array]:
    """Least A/N^a + B/D^b where ln C = k0 + k1 ln N + ln D: a A/N^a = k1 b B/D^b there (Hoffmann et al. 2022, eq. 4,
    which is of k0 = ln 6, k1 = 1)."""
    _, log_a, alpha, log_b, beta = theta
    k0, k1 = cost.coefficients[:2]
    ratio = np.log(alpha / (k1 * beta)) + log_a - log_b
    log_n = (ratio + beta * (np.log(compute) - k0)) / (alpha + k1 * beta)
    return np.exp(log_n), compute / np.exp(k0 + k1 * log_n)


def mixed(slope: float, bend: float, of_b: tuple[float, float] | None = None) -> Array:
    """Parameters of the interior law whose A and B both go as exp(slope r + bend r^2): so does what can be reduced."""
    b = of_b or (slope, bend)
    values = planted.CHINCHILLA | {"A_r": slope, "A_rr": bend, "B_r": b[0], "B_rr": b[1]}
    return np.array([np.log(values[p.name]) if p.logarithmic else values[p.name] for p in MIX.parameters])


@settings(max_examples=25, deadline=None)
@given(
    alpha=st.floats(0.1, 0.8), beta=st.floats(0.1, 0.8), power=st.floats(0.7, 1.3), a=st.floats(2, 9), b=st.floats(2, 9)
)
def test_the_closed_form(alpha: float, beta: float, power: float, a: float, b: float) -> None:
    theta = np.array([0.6, a, alpha, b, beta])
    for cost in (Cost(), Cost((3.0, power, 0.0, 0.0))):
        params, tokens = closed_form(theta, COMPUTE, cost)
        inside = (params > 1e3) & (params < COMPUTE / 1e3)
        assume(inside.any())
        at = optimum(CHINCHILLA, theta, cost, COMPUTE)
        assert at.params[inside] == pytest.approx(params[inside], rel=1e-5)
        assert at.tokens[inside] == pytest.approx(tokens[inside], rel=1e-5)
        spent = cost.log(np.log(at.params)) + np.log(at.tokens)
        assert spent == pytest.approx(np.log(COMPUTE), rel=1e-12)
        least = np.exp(CHINCHILLA.log(theta, {"N": params, "D": tokens}))
        assert at.loss[inside] == pytest.approx(least[inside], rel=1e-11)


def test_a_power_of_the_sum_has_the_sums_optimum() -> None:
    """Found by golden section, the law's terms not being linear in ln N."""
    params, tokens = closed_form(planted.theta(CHINCHILLA), COMPUTE, Cost())
    theta = np.stack([np.append(planted.theta(CHINCHILLA), 0.8), np.full(6, np.nan)])
    at = optimum(GAMMA, theta[:, None], Cost(), COMPUTE)
    assert at.params[0] == pytest.approx(params, rel=1e-5) and at.tokens[0] == pytest.approx(tokens, rel=1e-5)
    assert np.isnan(at.params[1]).all() and np.isnan(at.tokens[1]).all() and np.isnan(at.loss[1]).all()


def test_chinchillas_own_optimum() -> None:
    """Besiroglu et al. 2024: about 20 tokens a parameter at Chinchilla's 5.76e23 FLOPs."""
    theta = np.array([np.log(1.8172), np.log(482.01), 0.3478, np.log(2085.43), 0.3658])
    at = optimum(CHINCHILLA, theta, Cost(), np.array(5.76e23))
    assert float(at.tokens / at.params) == pytest.approx(19.5, abs=2)
    assert float(at.params) == pytest.approx(7e10, rel=0.05)


def test_thetas_and_budgets_broadcast() -> None:
    """(3, 1, p) and five budgets: (3, 5), each cell as alone; where theta is unknown so is all of the optimum."""
    theta = np.stack([planted.theta(CHINCHILLA), planted.theta(CHINCHILLA) + 0.02, np.full(5, np.nan)])
    at = optimum(CHINCHILLA, theta[:, None], Cost(), COMPUTE[:5])
    assert at.params.shape == at.tokens.shape == at.loss.shape == (3, 5)
    alone = optimum(CHINCHILLA, theta[1], Cost(), COMPUTE[3])
    assert (at.params[1, 3], at.tokens[1, 3], at.loss[1, 3]) == (alone.params, alone.tokens, alone.loss)
    for values in (at.params, at.tokens, at.loss):
        assert np.isnan(values[2]).all() and np.isfinite(values[:2]).all()


def test_cost_of_one_architecture_and_of_a_mix() -> None:
    params, tokens = planted.grid()
    six = fit_cost(params, tokens, 6 * params * tokens)
    assert six.coefficients == pytest.approx((np.log(6), 1, 0, 0), abs=1e-9) and six.error < 1e-12
    share = np.resize([0.0, 0.25, 0.5, 1.0], len(params))
    true = np.exp(2.0 + 0.95 * np.log(params) + 0.4 * share - 0.01 * share * np.log(params))
    mix = fit_cost(params, tokens, true * tokens, share)
    assert mix.coefficients == pytest.approx((2.0, 0.95, 0.4, -0.01), abs=1e-9)
    assert mix.log(np.log(params), share) == pytest.approx(np.log(true), rel=1e-12)
    # what the power law misses is told: an offset that matters for small models only
    offset = fit_cost(params, tokens, (6 * params + 3e8) * tokens)
    assert 0.01 < offset.error < 1
    assert np.abs(offset.log(np.log(params)) - np.log(6 * params + 3e8)).max() == pytest.approx(offset.error)
    # a share that is everywhere the same has no effect to fit
    assert fit_cost(params, tokens, 6 * params * tokens, np.full(len(params), 0.5)).coefficients[2:] == (0.0, 0.0)


@pytest.mark.parametrize("share", [0.013, 0.3, 0.5, 0.737, 0.99])
def test_the_best_share_within(share: float) -> None:
    """exp(-2 s r + r^2) is least at r = s, whatever the budget."""
    at = best_share(MIX, mixed(-2 * share, 1.0), Cost(), COMPUTE)
    assert at.share == pytest.approx(share, abs=2e-5)
    there = optimum(MIX, mixed(-2 * share, 1.0), Cost(), COMPUTE, at.share)
    assert (at.loss == there.loss).all() and (at.params == there.params).all()


@pytest.mark.parametrize(
    ("slope", "bend", "end"), [(0.02, 1.0, 0.0), (-2.02, 1.0, 1.0), (0.5, 0.0, 0.0), (-0.5, 0.0, 1.0)]
)
def test_the_best_share_at_an_end_is_that_end_exactly(slope: float, bend: float, end: float) -> None:
    assert (best_share(MIX, mixed(slope, bend), Cost(), COMPUTE).share == end).all()


@pytest.mark.parametrize(("slope", "end"), [(0.2, 1.0), (0.4, 1.0), (0.6, 0.0), (-0.2, 1.0)])
def test_losses_that_bend_downwards_have_the_better_end(slope: float, end: float) -> None:
    """exp(s r - r^2 / 2) at 1 is exp(s - 1/2) of that at 0."""
    assert (best_share(MIX, mixed(slope, -0.5), Cost(), COMPUTE).share == end).all()


def test_the_best_share_is_one_at_all_budgets_where_exponents_are_shared() -> None:
    """What is reducible at the optimum goes as A^w B^(1 - w), w = beta / (alpha + beta), at every budget: between the
    size's best share of .2 and the tokens' of .6."""
    weight = 0.37 / (0.35 + 0.37)
    at = best_share(MIX, mixed(-0.4, 1.0, of_b=(-1.2, 1.0)), Cost(), COMPUTE)
    assert at.share == pytest.approx(0.2 * weight + 0.6 * (1 - weight), abs=1e-4)


def test_the_best_share_moves_with_compute_where_exponents_differ() -> None:
    law = LAWS["hybrid-exponents"]
    theta = np.zeros(len(law.names))
    for name, value in zip(MIX.names, mixed(-0.4, 1.0), strict=True):
        theta[law.names.index(name)] = value
    theta[law.names.index("alpha_r")] = 0.01
    at, dense = best_share(law, theta, Cost(), COMPUTE), np.linspace(0, 1, 2001)
    losses = optimum(law, theta, Cost(), COMPUTE, dense[:, None]).loss
    assert at.share == pytest.approx(dense[losses.argmin(0)], abs=1e-3)
    assert at.share is not None and (np.diff(at.share) > 3e-3).all()


def test_a_dearer_share_is_used_less() -> None:
    """The same law, but attention costs 30% more FLOPs a token: its optimum is at less."""
    theta, cost = mixed(-1.0, 1.0), Cost((float(np.log(6)), 1.0, 0.3, 0.0))
    at, dense = best_share(MIX, theta, cost, COMPUTE), np.linspace(0, 1, 2001)
    losses = optimum(MIX, theta, cost, COMPUTE, dense[:, None]).loss
    assert at.share == pytest.approx(dense[losses.argmin(0)], abs=1e-3)
    assert at.share is not None and (at.share < 0.49).all()


def test_an_unknown_theta_has_no_share() -> None:
    at = best_share(MIX, np.stack([mixed(-1.0, 1.0), np.full(len(MIX.names), np.nan)])[:, None], Cost(), COMPUTE[:2])
    assert at.share is not None and at.share.shape == (2, 2)
    assert np.isnan(at.share[1]).all() and at.share[0] == pytest.approx(0.5, abs=1e-4)
