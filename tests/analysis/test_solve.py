"""The solver: its minima are the least there are, and its certificates mean what they say."""

import re

import numpy as np
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from eutectic.analysis import losses, solve
from eutectic.analysis.fit import HUBER, SMALLEST_DELTA, fit, scaled_huber
from eutectic.analysis.laws import CHINCHILLA, FRONTIER, FRONTIER_0, GAMMA, LAWS, Array, Law, Term
from eutectic.analysis.losses import LossFn
from eutectic.analysis.problem import Problem
from eutectic.analysis.solve import Refused

LS = LossFn("ls-log")


def sweep(noise: float = 0.003, seed: int = 0) -> tuple[dict[str, Array], Array]:
    x = planted.inputs(CHINCHILLA)
    return x, planted.losses(CHINCHILLA, x, noise, seed)


# one hump over a floor, and data with two: at .4, and a lower one at 1.6
HUMP = Law("hump", "L = E + b exp(m r + q r^2)", (Term("E"), Term("b", {"r": "m", "rr": "q"})))
PLACES = np.linspace(0, 2, 41)
HUMPS = 1 + 1.0 * np.exp(-(((PLACES - 0.4) / 0.3) ** 2) / 2) + 0.8 * np.exp(-(((PLACES - 1.6) / 0.3) ** 2) / 2)


def hump(centre: float) -> list[float]:
    """The law's parameters of the hump near the centre: width .3, height 1 or .8."""
    q = -1 / (2 * 0.3**2)
    return [0.0, np.log(1.0 if centre < 1 else 0.8) + q * centre**2, -2 * q * centre, q]


def started(monkeypatch: pytest.MonkeyPatch, *centres: float) -> tuple[Problem, tuple[Array, float, solve.Certificate]]:
    """The humps' fit, started from humps at the centres."""
    problem = Problem(HUMP, {"r": PLACES}, HUMPS)
    start = problem.from_law(np.array([hump(centre) for centre in centres]))
    monkeypatch.setattr(solve, "starts", lambda *_: start)
    return problem, solve.solve(problem, LS)


def test_two_basins_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, (theta, value, certificate) = started(monkeypatch, 0.39, 0.4, 0.41, 1.6, 1.61)
    assert (certificate.starts, certificate.converged, certificate.basins) == (5, 5, 2)
    assert certificate.share_best == pytest.approx(3 / 5)
    assert certificate.refusal == "" and certificate.at_bounds == ()
    _, _, m, q = problem.to_law(theta[None])[0]
    assert -m / (2 * q) == pytest.approx(0.4, abs=0.03)  # the higher hump
    lower = started(monkeypatch, 1.6, 1.61)[1]
    assert lower[1] > 1.2 * value and lower[2].basins == 1


def test_the_best_met_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (_, value, certificate) = started(monkeypatch, 0.4, 1.6, 1.61)
    assert value == pytest.approx(started(monkeypatch, 0.4, 0.41)[1][1])
    assert certificate.share_best == pytest.approx(1 / 3)
    assert certificate.refusal == "only one start reached the best minimum, so that a better one may have been missed"


def test_a_search_cut_short_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "STEPS", 2)
    monkeypatch.setattr(solve, "ROUNDS", 1)
    with pytest.raises(Refused, match=r"chinchilla is not fitted to these 35 points: no start converged \(relative"):
        fit(CHINCHILLA, *sweep())


def test_a_flat_valley_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of one decade, a small delta, and E next to nothing."""
    random = np.random.default_rng(0)
    x = {"N": np.exp(random.uniform(*np.log([1e8, 1e9]), 600)), "D": np.exp(random.uniform(*np.log([2e9, 1e11]), 600))}
    y = (9 / x["N"] ** 0.08 + 2600 / x["D"] ** 0.38) * np.exp(random.normal(0, 0.003, 600))
    certificate = fit(CHINCHILLA, x, y).certificate
    assert certificate.gradient < solve.FLAT and certificate.share_best > 0.2
    monkeypatch.setattr(solve, "ROUNDS", 0)
    with pytest.raises(Refused, match=r"no start converged|only one start"):
        fit(CHINCHILLA, x, y)


def test_what_stays_at_a_bound_is_refused() -> None:
    """Losses that grow with tokens: B's term shrinks for ever."""
    x = planted.inputs(CHINCHILLA)
    with pytest.raises(Refused, match="beta ended at the edge of what it may be: these runs do not determine it"):
        fit(CHINCHILLA, x, (1.8 + 480 / x["N"] ** 0.35) * (x["D"] / 1e9) ** 0.01)


def test_a_singular_hessian_is_refused() -> None:
    """Two terms that are one: only their coefficients' sum is determined."""
    twins = Law("twins", "L = a/C^k + b/C^k", (Term("a", {"C": "k"}), Term("b", {"C": "k"})))
    compute = np.geomspace(1e17, 1e20, 24)
    noise = np.exp(np.random.default_rng(0).normal(0, 0.01, 24))
    with pytest.raises(Refused, match=r"do not determine every parameter \(condition of the Hessian"):
        fit(twins, {"C": compute}, 30 * compute**-0.05 * noise, LS)


def test_the_condition_is_of_the_scaled_jacobian() -> None:
    assert solve._condition(np.diag([1.0, 1e12])) == pytest.approx(1.0)
    assert solve._condition(np.array([[1e6, 0.0], [0.5, 0.75**0.5]])) == pytest.approx(3.0)  # (1 + 1/2) / (1 - 1/2)
    for singular in ([[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [-2.0, -4.0]], [[0.0, 0.0], [0.0, 1.0]]):
        assert solve._condition(np.array(singular)) > solve.CONDITION


@pytest.mark.parametrize("seed", range(8))
def test_two_sizes_determine_no_law_of_sizes_whatever_the_noise(seed: int) -> None:
    """E, A and alpha are three numbers, and two sizes tell two."""
    n, d = (v.ravel() for v in np.meshgrid([1e8, 1e9], np.geomspace(1e9, 1e11, 10)))
    noise = np.exp(np.random.default_rng(seed).normal(0, 0.01, len(n)))
    with pytest.raises(Refused, match="do not determine"):
        fit(CHINCHILLA, {"N": n, "D": d}, (1.8 + 480 / n**0.35 + 2100 / d**0.37) * noise, seed=seed)


@pytest.mark.parametrize("name", ["huber", "lad"])
@pytest.mark.parametrize("seed", range(8))
def test_few_residuals_within_delta_do_not_undo_a_law(name: str, seed: int) -> None:
    """Two parameters of eight points, whose least absolute deviations may be those of many laws, as a median is of
    many values. Where they are of one it is determined, be the loss ever so sharp or flat about it."""
    compute = np.geomspace(1e17, 1e20, 8)
    losses_seen = 30 * compute**-0.054 * np.exp(np.random.default_rng(seed).normal(0, 0.05, 8))
    if seed in (3, 5, 7):
        with pytest.raises(Refused, match="do equally well by this loss function: give it a larger delta"):
            fit(LAWS["frontier-0"], {"C": compute}, losses_seen, losses.find(name, 1e-3), seed)
        name = "ls-log"
    found = fit(LAWS["frontier-0"], {"C": compute}, losses_seen, losses.find(name, 1e-3), seed)
    assert found.values["kappa"] == pytest.approx(0.054, abs=0.03)


@pytest.mark.parametrize("name", ["huber", "lad"])
def test_two_bunches_of_runs_determine_no_law_between_them(name: str) -> None:
    x, y = sweep()
    both = {letter: np.concatenate([values, values]) for letter, values in x.items()}
    with pytest.raises(Refused, match="do equally well by this loss function"):
        fit(CHINCHILLA, both, np.concatenate([y, 1.2 * y]), losses.find(name, 1e-3))


def test_the_certified_gradient_is_the_objectives() -> None:
    """Each entry over the sum of what the observations add to it, whichever way: 1 where all agree, 0 at a minimum."""
    x, y = sweep()
    found = fit(CHINCHILLA, x, y, LS)
    errors, step = CHINCHILLA.log(found.theta, x) - np.log(y), 1e-6
    assert (errors**2).sum() == pytest.approx(found.objective, rel=1e-9)
    for k, unit in enumerate(np.eye(5)):
        slope = (CHINCHILLA.log(found.theta + step * unit, x) - CHINCHILLA.log(found.theta - step * unit, x)) / (
            2 * step
        )
        assert abs((errors * slope).sum()) < 1e-7 * np.abs(errors * slope).sum(), k
    assert found.certificate.gradient < 1e-7 < solve.FLAT


@pytest.mark.parametrize("name", ["chinchilla", "gamma", "frontier", "overtrained", "repeated", "hybrid-interior"])
@pytest.mark.parametrize("loss", [HUBER, LS], ids=lambda loss: loss.name)
def test_no_other_search_does_better(name: str, loss: LossFn) -> None:
    """Quasi-Newton searches from random places, their gradient by differences."""
    law = LAWS[name]
    x = planted.inputs(law)
    y = planted.losses(law, x, noise=0.01, seed=1)
    found = fit(law, x, y, loss)
    problem, random = found.problem, np.random.default_rng(0)

    def objective(theta: Array) -> float:
        return float(loss.value(problem.evaluate(theta[None])[0], problem.y).sum()) * 1e6

    best = min(
        optimize.minimize(objective, found.centred + random.normal(0, 0.5, len(law.names)), method="BFGS").fun
        for _ in range(4)
    )
    assert found.objective <= best * 1e-6 * (1 + 1e-9)


def test_a_large_table_is_fitted_as_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts go ahead on a part of it; the end is the whole's, and the certificate still counts every start."""
    x, y = sweep()
    small = fit(CHINCHILLA, x, y)
    monkeypatch.setattr(solve, "PART", 16)
    large = fit(CHINCHILLA, x, y)
    assert large.theta == pytest.approx(small.theta, abs=1e-7)
    assert large.certificate.starts == small.certificate.starts
    assert large.certificate.share_best > 0.5 and large.certificate.gradient < solve.FLAT


def test_a_batch_is_its_problems_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its own start, weights and observations, across the chunks that they are worked in."""
    x, y = sweep()
    found = fit(CHINCHILLA, x, y)
    monkeypatch.setattr(solve, "CELLS", 20 * 35)
    random, count = np.random.default_rng(0), 25
    theta = found.centred + random.normal(0, 0.02, (count, 5))
    ys = found.problem.y * np.exp(random.normal(0, 0.003, (count, 35)))
    weights = random.integers(0, 3, (count, 35)).astype(float)
    together = solve.descend(found.problem, HUBER, theta, ys, weights)
    assert together.converged.all()
    for k in (0, 1, 19, 20, count - 1):
        alone = solve.descend(found.problem, HUBER, theta[k : k + 1], ys[k : k + 1], weights[k : k + 1])
        assert together.theta[k] == pytest.approx(alone.theta[0], abs=1e-7)
        assert together.value[k] == pytest.approx(alone.value[0], rel=1e-12)


def test_a_weight_is_a_row_repeated() -> None:
    x, y = sweep()
    times = np.arange(35) % 3
    repeated = fit(CHINCHILLA, {name: np.repeat(v, times) for name, v in x.items()}, np.repeat(y, times))
    found = fit(CHINCHILLA, x, y)
    weighted = solve.descend(
        found.problem, HUBER, found.centred[None], found.problem.y[None], times[None].astype(float)
    )
    assert found.problem.to_law(weighted.theta)[0] == pytest.approx(repeated.theta, rel=1e-7)


def test_held_parameters_stay() -> None:
    x, y = sweep()
    found = fit(CHINCHILLA, x, y, LS)
    k = found.law.names.index("alpha")
    start = found.centred + 0.1 * (np.arange(5) == k)
    held = solve.descend(found.problem, LS, start[None], found.problem.y[None], np.ones((1, 35)), np.arange(5) == k)
    assert held.theta[0, k] == start[k]
    assert held.converged.all() and np.abs(held.theta[0] - start).max() > 1e-3
    free = [i for i in range(5) if i != k]
    others = optimize.minimize(
        lambda t: 1e4 * LS.value(found.problem.evaluate(np.insert(t, k, start[k])[None])[0], found.problem.y).sum(),
        start[free],
        method="BFGS",
    )
    assert held.value[0] == pytest.approx(others.fun * 1e-4, rel=1e-8)


@settings(max_examples=10, deadline=None)
@given(units=st.floats(1e-12, 1e3), order=st.permutations(range(35)), scale=st.floats(0.1, 10))
def test_units_and_order_do_not_matter(units: float, order: list[int], scale: float) -> None:
    """Tokens in millions, losses in bits, rows in any order: the same law."""
    x, y = sweep()
    found = fit(CHINCHILLA, x, y)
    other = fit(CHINCHILLA, {"N": x["N"][order], "D": x["D"][order] * units}, y[order] * scale)
    expected = found.values | {"E": found.values["E"] * scale, "A": found.values["A"] * scale}
    expected["B"] = found.values["B"] * scale * units ** found.values["beta"]
    assert other.values == pytest.approx(expected, rel=1e-6)
    assert other.objective == pytest.approx(found.objective, rel=1e-9)
    assert other.residuals == pytest.approx(found.residuals[order], abs=1e-8)


def test_a_start_from_the_parents_fit_is_the_same_search() -> None:
    x, y = sweep()
    parent = fit(CHINCHILLA, x, y)
    assert fit(GAMMA, x, y, parent=parent).theta == pytest.approx(fit(GAMMA, x, y).theta, rel=1e-9)
    # and a child, which has more to fit by, never fits worse
    assert fit(GAMMA, x, y).objective <= parent.objective


def test_outliers_are_borne() -> None:
    """Huber's loss: three runs of 35 gone wrong move the exponents by little, where least squares does not hold."""
    x, y = sweep(noise=1e-4)
    y[[3, 17, 30]] *= 1.1
    robust, squares = fit(CHINCHILLA, x, y), fit(CHINCHILLA, x, y, LS)
    assert (robust.values["alpha"], robust.values["beta"]) == (
        pytest.approx(0.35, rel=0.01),
        pytest.approx(0.37, rel=0.01),
    )
    assert abs(squares.values["alpha"] / 0.35 - 1) > 0.05


def test_hubers_delta_scaled_to_the_noise() -> None:
    """1.345 standard deviations (Huber 1964), whatever the noise is."""
    x = planted.inputs(CHINCHILLA, 10, 20)
    for noise in (0.002, 0.03):
        y = planted.losses(CHINCHILLA, x, noise)
        assert scaled_huber(CHINCHILLA, x, y).delta == pytest.approx(1.345 * noise, rel=0.15)
    assert scaled_huber(CHINCHILLA, x, planted.losses(CHINCHILLA, x)).delta == SMALLEST_DELTA


def test_too_few_points() -> None:
    x, y = sweep()
    few = {name: v[:7] for name, v in x.items()}
    with pytest.raises(
        Refused, match="chinchilla has 5 parameters and needs 8 points or more; there are 7: train more"
    ):
        fit(CHINCHILLA, few, y[:7])


ONE = "needs two budgets or more, and all 24 points are of one"


def budgets(law: Law, ratio: float, jitter: float, known: bool) -> tuple[dict[str, Array], Array]:
    """Two budgets, hit to the jitter, of twelve sizes each; known: what the runs cost, tokens being as by another cost
    C = N^1.15 D, so that 6 N D spreads over a factor of 1.6."""
    params = np.tile(np.geomspace(2e7, 5e8, 12), 2)
    compute = np.repeat([1e18, ratio * 1e18], 12) * np.exp(jitter * np.random.default_rng(0).uniform(-1, 1, 24))
    x = {"N": params, "D": compute / (params**1.15 if known else 6 * params), "C": compute}
    x["M"] = x["D"] / x["N"]
    return {name: v for name, v in x.items() if name in law.inputs or (known and name == "C")}, planted.losses(law, x)


@pytest.mark.parametrize("name", ["chinchilla", "gamma", "frontier", "overtrained"])
@pytest.mark.parametrize("known", [False, True])
def test_one_budget(name: str, known: bool) -> None:
    """Hit to 1%, or missed by as much as suites that match FLOPs by a formula do."""
    law = LAWS[name]
    for ratio, jitter in ((1.0, 0.0), (1.0, 0.01), (1.05, 0.02)):
        with pytest.raises(Refused, match=ONE):
            fit(law, *budgets(law, ratio, jitter, known))


@pytest.mark.parametrize("known", [False, True])
def test_two_budgets_a_fifth_apart(known: bool) -> None:
    found = fit(CHINCHILLA, *budgets(CHINCHILLA, 1.2, 0.01, known))
    assert found.theta == pytest.approx(planted.theta(CHINCHILLA), rel=1e-4)


def test_one_number_of_tokens_a_parameter() -> None:
    params = np.geomspace(1e7, 1e9, 12)
    x = {"N": params, "D": 20 * params}
    with pytest.raises(Refused, match=r"vary together in all 12 points, .* add runs of more and of fewer tokens"):
        fit(CHINCHILLA, x, planted.losses(CHINCHILLA, x))


@pytest.mark.parametrize(
    ("letter", "named"), [("N", "parameters"), ("D", "training tokens"), ("r", "attention's share")]
)
def test_what_does_not_vary(letter: str, named: str) -> None:
    law = LAWS["hybrid-linear"]
    x = planted.inputs(law)
    y = planted.losses(law, x)
    x[letter] = np.full(len(y), x[letter][40])
    with pytest.raises(
        Refused, match=re.escape(f"{named} ({letter}) is {x[letter][0]:.4g} in all 210 points, so hybrid-")
    ):
        fit(law, x, y)


def test_a_summary_says_what_the_numbers_rest_on() -> None:
    compute = np.geomspace(1e17, 1e20, 20)
    y = planted.losses(FRONTIER, {"C": compute}, 0.003)
    found = fit(FRONTIER, {"C": compute}, y, losses.find("huber", 0.01))
    summary = found.summary()
    assert summary["values"] == found.values and summary["n"] == 20
    assert summary["loss_fn"] == "Huber loss of ln L, delta 0.01"
    assert summary["certificate"]["refusal"] == "" and summary["certificate"]["starts"] == found.certificate.starts


def test_a_term_that_comes_to_nothing_is_refused() -> None:
    """A pure power law has no E to find: it ends near nothing, within its bounds, and is not called determined."""
    compute = np.geomspace(1e15, 1e18, 12)
    y = 900 * compute**-0.15 * np.exp(np.random.default_rng(2).normal(0, 0.01, 12))
    with pytest.raises(Refused, match="E ended at the edge"):
        fit(FRONTIER, {"C": compute}, y)
    assert fit(FRONTIER_0, {"C": compute}, y).values["kappa"] == pytest.approx(0.15, abs=0.005)
