"""Every law: its formula by hand, its derivatives against differences, its parameters recovered."""

from itertools import pairwise
from math import log

import numpy as np
import planted
import pytest

from eutectic.analysis import losses
from eutectic.analysis.fit import fit
from eutectic.analysis.laws import CHINCHILLA, GAMMA, HYBRIDS, LAWS, REPEATED, Array, Law
from eutectic.analysis.losses import LossFn
from eutectic.analysis.problem import Problem

LOSS_FNS = [LossFn("huber", 0.02), losses.find("lad"), LossFn("ls"), LossFn("ls-log")]

# values (as the printed formula has them), a point, and the formula worked out there
BY_HAND = {
    "chinchilla": ({"E": 2, "A": 100, "alpha": 0.5, "B": 60, "beta": 0.5}, {"N": 1e4, "D": 900}, 2 + 1 + 2),
    "gamma": (
        {"E": 2, "A": 100, "alpha": 0.5, "B": 60, "beta": 0.5, "gamma": 2},
        {"N": 1e4, "D": 900},
        2 + (1 + 2) ** 2,
    ),
    "frontier": ({"E": 2, "K": 300, "kappa": 0.25}, {"C": 1e8}, 2 + 300 / 100),
    "frontier-0": ({"K": 300, "kappa": 0.25}, {"C": 1e8}, 300 / 100),
    # 3 * 16^0.5 = 12, 8 / 16^0.5 = 2, over 10^2
    "overtrained": ({"E": 2, "a": 3, "b": 8, "eta": 0.5}, {"C": 1e4, "M": 16}, 2 + (12 + 2) / 100),
    # (D/U - 1) / R = ln 2: D' = 100 + 100 * R * (1 - 1/2) = 200 for R = 2
    "repeated": (
        {"E": 2, "A": 100, "alpha": 0.5, "B": 600, "beta": 1, "R": 2},
        {"N": 1e4, "D": 100 * (1 + 2 * log(2)), "U": 100},
        2 + 1 + 600 / 200,
    ),
    "state": ({"E": 2, "K": 6, "sigma": 0.5}, {"S": 9}, 2 + 6 / 3),
    # at r = 1/2: A(r) = A exp(2 ln 2 / 2) = 2 A, and B likewise with 3
    "hybrid-linear": (
        {"E": 2, "A": 100, "alpha": 0.5, "A_r": 2 * log(2), "B": 60, "beta": 0.5, "B_r": 2 * log(3)},
        {"N": 1e4, "D": 900, "r": 0.5},
        2 + 2 + 6,
    ),
    # and r^2 = 1/4: another factor exp(4 ln 5 / 4) = 5 for A, 7 for B
    "hybrid-interior": (
        {"E": 2, "A": 100, "alpha": 0.5, "A_r": 2 * log(2), "A_rr": 4 * log(5)}
        | {"B": 60, "beta": 0.5, "B_r": 2 * log(3), "B_rr": 4 * log(7)},
        {"N": 1e4, "D": 900, "r": 0.5},
        2 + 10 + 42,
    ),
    # alpha + alpha_r r = 1/4 + 1/2 * 1/2 = 1/2, beta + beta_r r = 1/2 as well
    "hybrid-exponents": (
        {"E": 2, "A": 100, "alpha": 0.25, "A_r": 2 * log(2), "A_rr": 4 * log(5), "alpha_r": 0.5}
        | {"B": 60, "beta": 0.7, "B_r": 2 * log(3), "B_rr": 4 * log(7), "beta_r": -0.4},
        {"N": 1e4, "D": 900, "r": 0.5},
        2 + 10 + 42,
    ),
    # E(r) = 2 exp(2 ln 2 / 2 + 4 ln 3 / 4) = 12
    "hybrid-entropy": (
        {"E": 2, "E_r": 2 * log(2), "E_rr": 4 * log(3)}
        | {"A": 100, "alpha": 0.25, "A_r": 2 * log(2), "A_rr": 4 * log(5), "alpha_r": 0.5}
        | {"B": 60, "beta": 0.7, "B_r": 2 * log(3), "B_rr": 4 * log(7), "beta_r": -0.4},
        {"N": 1e4, "D": 900, "r": 0.5},
        12 + 10 + 42,
    ),
}  # fmt: skip
INPUTS = {
    "chinchilla": "ND", "gamma": "ND", "frontier": "C", "frontier-0": "C", "overtrained": "CM", "repeated": "NDU",
    "state": "S", "hybrid-linear": "NDr", "hybrid-interior": "NDr", "hybrid-exponents": "NDr", "hybrid-entropy": "NDr",
}  # fmt: skip


def batch(law: Law, count: int = 4, seed: int = 0) -> tuple[Problem, dict[str, Array], Array]:
    """A problem of noisy data and random parameters about its solution, (count, p) as the solver has them."""
    x = planted.inputs(law)
    problem = Problem(law, x, planted.losses(law, x, noise=0.02))
    solution = problem.from_law(planted.theta(law)[None])
    return problem, x, solution + np.random.default_rng(seed).normal(0, 0.03, (count, len(law.names)))


@pytest.mark.parametrize("name", planted.NAMES)
def test_the_printed_formula(name: str) -> None:
    law, (values, point, expected) = LAWS[name], BY_HAND[name]
    assert set(values) == set(law.names)
    theta = np.array([log(values[p.name]) if p.logarithmic else values[p.name] for p in law.parameters])
    assert np.exp(law.log(theta, {k: np.array(float(v)) for k, v in point.items()})) == pytest.approx(
        expected, rel=1e-12
    )
    assert law.values(theta) == pytest.approx(values)
    assert "".join(law.inputs) == INPUTS[name]


@pytest.mark.parametrize("name", planted.NAMES)
@pytest.mark.parametrize("loss", LOSS_FNS, ids=lambda loss: loss.name)
def test_gradient_and_hessian_are_the_objectives(name: str, loss: LossFn) -> None:
    problem, _, theta = batch(LAWS[name])
    random = np.random.default_rng(1)
    weights = random.integers(0, 4, (len(theta), len(problem.y))).astype(float)
    y = problem.y * np.exp(random.normal(0, 0.02, weights.shape))
    # Huber's second derivative jumps at delta: no difference may cross it
    weights[np.abs(np.abs(problem.evaluate(theta)[0] - np.log(y)) - loss.delta) < 1e-4] = 0.0
    here = problem.newton(theta, y, weights, loss)
    step = 1e-6
    unit = loss.delta if loss.name == "lad" else 1.0  # its derivatives are those of Huber's, of which it is the limit
    for k in range(theta.shape[1]):
        shift = step * (np.arange(theta.shape[1]) == k)
        above, below = (problem.newton(theta + sign * shift, y, weights, loss) for sign in (1, -1))
        slope = unit * (above.value - below.value) / (2 * step)
        assert here.gradient[:, k] == pytest.approx(slope, abs=2e-7 * here.parts[:, k].max())
        bend = (above.gradient - below.gradient) / (2 * step)
        rounding = 2e-7 * np.abs(here.hessian).max() + 1e-8 * here.parts.max()
        assert here.hessian[:, k] == pytest.approx(bend, rel=1e-5, abs=rounding)
    assert (np.abs(here.gradient) <= here.parts * (1 + 1e-12)).all()


@pytest.mark.parametrize("name", planted.NAMES)
def test_centred_and_own_parameters_are_one_law(name: str) -> None:
    law = LAWS[name]
    problem, x, theta = batch(law)
    own = problem.to_law(theta)
    assert problem.from_law(own) == pytest.approx(theta, abs=1e-9)
    assert problem.evaluate(theta)[0] + log(problem.scale) == pytest.approx(law.log(own[:, None], x), abs=1e-9)
    assert not np.allclose(own, theta)


@pytest.mark.parametrize("name", planted.NAMES)
@pytest.mark.parametrize("loss", ["huber", "lad", "ls", "ls-log"])
def test_planted_parameters_are_recovered(name: str, loss: str) -> None:
    law = LAWS[name]
    x = planted.inputs(law)
    found = fit(law, x, planted.losses(law, x), losses.find(loss))
    assert found.theta == pytest.approx(planted.theta(law), rel=1e-6)
    assert np.abs(found.residuals).max() < 1e-9
    assert found.predict(x) == pytest.approx(planted.losses(law, x))


def test_laws_broadcast() -> None:
    """theta (2, 1, p) and four points: (2, 4), each cell as alone."""
    theta = np.stack([planted.theta(REPEATED), planted.theta(REPEATED) + 0.01])
    x = {"N": np.geomspace(1e7, 1e9, 4), "D": np.array(1e10), "U": np.array(3e9)}
    values = REPEATED.log(theta[:, None], x)
    assert values.shape == (2, 4)
    assert values[1, 2] == pytest.approx(float(REPEATED.log(theta[1], {**x, "N": x["N"][2]})), rel=1e-14)


@pytest.mark.parametrize("law", [GAMMA, *HYBRIDS[1:]], ids=lambda law: law.name)
def test_a_law_holds_its_parent(law: Law) -> None:
    """With what it adds at the neutral value it is its parent: models are nested."""
    parent = law.parent
    assert parent is not None and set(parent.names) < set(law.names)
    x = planted.inputs(law)
    theirs = planted.theta(parent)
    mine = np.array(
        [theirs[parent.names.index(p.name)] if p.name in parent.names else p.neutral for p in law.parameters]
    )
    assert law.log(mine, x) == pytest.approx(parent.log(theirs, x), rel=1e-13)


def test_tokens_seen_once_are_not_repeated() -> None:
    x = planted.inputs(CHINCHILLA)
    theta = planted.theta(REPEATED)
    once = REPEATED.log(theta, {**x, "U": x["D"]})
    assert once == pytest.approx(CHINCHILLA.log(planted.theta(CHINCHILLA), x), rel=1e-13)
    # and ever more repeats are worth U (1 + R) tokens at most: eq. 5's limit
    endless = REPEATED.log(theta, {"N": np.array(1e9), "D": np.array(1e16), "U": np.array(1e9)})
    fresh = CHINCHILLA.log(planted.theta(CHINCHILLA), {"N": np.array(1e9), "D": np.array(1e9 * (1 + 15))})
    assert float(endless) == pytest.approx(float(fresh), rel=1e-12)


def test_hybrids_are_ordered() -> None:
    """From no dependence on the share to all of it, the parameters growing."""
    assert HYBRIDS[0] is CHINCHILLA
    for smaller, larger in pairwise(HYBRIDS):
        assert larger.parent is smaller and set(smaller.names) < set(larger.names)
    assert [len(law.names) for law in HYBRIDS] == [5, 7, 9, 11, 13]
