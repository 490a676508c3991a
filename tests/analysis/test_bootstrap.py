"""Resamples: they are refits, they spread as theory has it, and intervals are as wide as the level asks."""

import numpy as np
import planted
import pytest
from scipy import stats

from eutectic.analysis import bootstrap, losses, solve
from eutectic.analysis.fit import Fit, fit
from eutectic.analysis.laws import CHINCHILLA, FRONTIER_0, Array
from eutectic.analysis.losses import LossFn
from eutectic.analysis.solve import Refused

LS = LossFn("ls-log")


def sweep(loss: LossFn = LS, noise: float = 0.003, seed: int = 0) -> Fit:
    x = planted.inputs(CHINCHILLA)
    return fit(CHINCHILLA, x, planted.losses(CHINCHILLA, x, noise, seed), loss)


def linear(n: int = 60, noise: float = 0.02, seed: int = 0) -> tuple[Fit, Array]:
    """ln L = ln K - kappa ln C, a linear regression, and the covariance of (ln K, kappa) in theory."""
    compute = np.geomspace(1e17, 1e20, n)
    found = fit(FRONTIER_0, {"C": compute}, planted.losses(FRONTIER_0, {"C": compute}, noise, seed), LS)
    design = np.stack([np.ones(n), -np.log(compute)], 1)
    return found, found.objective / (n - 2) * np.linalg.inv(design.T @ design)


def test_weights_draw_whole_clusters() -> None:
    labels = ["a", "b", "a", "c", "d", "d", "d", "b"]
    drawn = bootstrap.weights(labels, 2000, seed=0)
    assert drawn.shape == (2000, 8)
    for one, other in ((0, 2), (1, 7), (4, 5), (5, 6)):
        assert (drawn[:, one] == drawn[:, other]).all()
    assert (drawn[:, [0, 1, 3, 4]].sum(1) == 4).all()  # as many clusters as there are
    assert drawn.mean(0) == pytest.approx(1.0, abs=0.1)
    assert drawn[:, 3].var() == pytest.approx(3 / 4, abs=0.1)  # of a multinomial: 4 (1/4) (3/4)
    assert (bootstrap.weights(labels, 5, seed=1) == bootstrap.weights(labels, 5, seed=1)).all()
    assert (bootstrap.weights(labels, 5, seed=1) != bootstrap.weights(labels, 5, seed=2)).any()


def test_signs_are_shared_by_label_across_tables() -> None:
    first, second = bootstrap.signs([["a", "b", "a"], ["c", "b"]], 1000, seed=0)
    assert (first.shape, second.shape) == ((1000, 3), (1000, 2))
    assert (first[:, 0] == first[:, 2]).all() and (first[:, 1] == second[:, 1]).all()
    assert set(np.unique(first)) == {-1.0, 1.0}
    for one, other in ((first[:, 0], first[:, 1]), (first[:, 0], second[:, 0])):
        assert abs((one * other).mean()) < 0.1 and abs(one.mean()) < 0.1


@pytest.mark.parametrize("loss", [LS, LossFn("huber")], ids=lambda loss: loss.name)
def test_a_resample_is_a_fit_to_the_rows_drawn(loss: LossFn) -> None:
    found = sweep(loss)
    resamples = bootstrap.resample(found, 20, seed=3)
    drawn = bootstrap.weights(range(found.n), 20, seed=3).astype(int)
    assert resamples.converged == 1.0 and resamples.kind == "pairs"
    for k in range(5):
        rows = np.repeat(np.arange(found.n), drawn[k])
        again = fit(CHINCHILLA, {name: v[rows] for name, v in found.x.items()}, found.y[rows], loss)
        assert resamples.theta[k] == pytest.approx(again.theta, rel=1e-6)


def test_a_wild_resample_is_a_fit_to_signed_residuals() -> None:
    """Each over 1 - h, h the diagonal of the hat matrix (HC3: MacKinnon & White 1985)."""
    found = sweep()
    resamples = bootstrap.resample(found, 20, seed=3, kind="wild")
    jacobian = np.stack(
        [
            (CHINCHILLA.log(found.theta + e, found.x) - CHINCHILLA.log(found.theta - e, found.x)) / 2e-6
            for e in 1e-6 * np.eye(5)
        ]
    ).T
    leverage = np.diag(jacobian @ np.linalg.inv(jacobian.T @ jacobian) @ jacobian.T)
    assert leverage.sum() == pytest.approx(5, rel=1e-6)
    signs = bootstrap.signs([range(found.n)], 20, seed=3)[0]
    for k in range(3):
        y = found.predict(found.x) * np.exp(signs[k] * found.residuals / (1 - leverage))
        assert resamples.theta[k] == pytest.approx(fit(CHINCHILLA, found.x, y, LS).theta, rel=1e-5)


@pytest.mark.parametrize("kind", ["pairs", "wild"])
def test_spread_is_that_of_theory(kind: str) -> None:
    found, covariance = linear()
    theta = bootstrap.resample(found, 2000, seed=0, kind=kind).theta
    # pairs and wild see these very residuals, so that the spread may be off by their kurtosis and by leverage
    assert theta.std(0) == pytest.approx(np.sqrt(np.diag(covariance)), rel=0.12)
    assert np.corrcoef(theta.T)[0, 1] == pytest.approx(
        covariance[0, 1] / np.sqrt(np.prod(np.diag(covariance))), abs=1e-3
    )
    assert theta.mean(0) == pytest.approx(found.theta, abs=0.1 * np.sqrt(covariance[0, 0]))


def test_rows_written_twice_narrow_pairs_but_not_clusters() -> None:
    """Pairs take copies for more runs, by the square root of two; a cluster bootstrap by run does not."""
    found, _ = linear()
    twice = fit(FRONTIER_0, {"C": np.tile(found.x["C"], 2)}, np.tile(found.y, 2), LS)
    assert twice.theta == pytest.approx(found.theta, rel=1e-9)
    once = bootstrap.resample(found, 2000, seed=0).theta.std(0)
    assert bootstrap.resample(twice, 2000, seed=1).theta.std(0) == pytest.approx(once / np.sqrt(2), rel=0.1)
    runs = [k % 60 for k in range(120)]
    assert bootstrap.resample(twice, 2000, 1, "cluster", runs).theta.std(0) == pytest.approx(once, rel=0.1)


def test_clusters_that_share_an_error_widen_the_spread() -> None:
    """Twelve seeds of five runs each, all of a seed off by the same: pairs miss it, clusters do not."""
    compute, random = np.tile(np.geomspace(1e17, 1e20, 5), 12), np.random.default_rng(0)
    seeds = np.repeat(np.arange(12), 5)
    y = planted.losses(FRONTIER_0, {"C": compute}, 0.002) * np.exp(random.normal(0, 0.02, 12))[seeds]
    found = fit(FRONTIER_0, {"C": compute}, y, LS)
    centre = np.array([1.0, -np.log(compute).mean()])  # of ln L in the middle, which a seed shifts whole
    middle = {k: (bootstrap.resample(found, 1000, 0, k, seeds).theta @ centre).std() for k in ("pairs", "cluster")}
    assert middle["cluster"] == pytest.approx(0.02 / np.sqrt(12), rel=0.35)
    assert middle["pairs"] == pytest.approx(0.02 / np.sqrt(60), rel=0.35)


def test_too_few_clusters_are_refused() -> None:
    found, _ = linear()
    with pytest.raises(Refused, match="needs 8 clusters or more and there are 7; use pairs or wild"):
        bootstrap.resample(found, 10, 0, "cluster", [k % 7 for k in range(60)])


def test_resamples_that_do_not_converge_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sweep(losses.find("huber"))
    alone = bootstrap.resample(found, 200, seed=0)
    monkeypatch.setattr(solve, "ROUNDS", 0)
    monkeypatch.setattr(solve, "STEPS", 14)
    short = bootstrap.resample(found, 200, seed=0)
    assert 0.9 <= short.converged < 1
    known = np.isfinite(short.theta).all(1)
    assert known.mean() == short.converged
    assert np.isnan(short.theta[~known]).all()
    assert short.theta[known] == pytest.approx(alone.theta[known], rel=1e-5)
    monkeypatch.setattr(solve, "ROUNDS", 10)
    assert bootstrap.resample(found, 200, seed=0).theta == pytest.approx(alone.theta, rel=1e-5)
    monkeypatch.setattr(solve, "ROUNDS", 0)
    monkeypatch.setattr(solve, "STEPS", 2)
    with pytest.raises(Refused, match=r"only \d+ of 200 resamples of chinchilla converged; it has no intervals"):
        bootstrap.resample(found, 200, seed=0)


def test_an_interval_of_normal_values_is_students() -> None:
    values = 3 + 2 * stats.norm.ppf((np.arange(20000) + 0.5) / 20000)
    for degrees in (3, 30):
        half = 2 * stats.t.ppf(0.975, degrees)
        assert bootstrap.interval(values, degrees) == pytest.approx((3 - half, 3 + half), abs=0.01)
        low, high = bootstrap.interval(np.exp(values), degrees, log=True)
        assert (np.log(low), np.log(high)) == pytest.approx((3 - half, 3 + half), abs=0.01)


def test_an_interval_leaves_out_what_is_unknown() -> None:
    values = np.random.default_rng(0).normal(size=500)
    assert bootstrap.interval(np.insert(values, 100, np.nan), 20) == bootstrap.interval(values, 20)


def test_an_interval_with_enough_infinite_values_is_open() -> None:
    """In shares of a normal's tail that Student's t has outside: the ends are as wide as without, or are open."""
    values = 3 + 2 * stats.norm.ppf((np.arange(20000) + 0.5) / 20000)
    for degrees in (3, 30):
        half = 2 * stats.t.ppf(0.975, degrees)
        beyond = stats.norm.sf(half / 2)
        for share, end in ((0.8 * beyond, 3 + half), (1.2 * beyond, np.inf)):
            cut = np.where(np.arange(20000) >= 20000 * (1 - share), np.inf, values)
            assert bootstrap.interval(cut, degrees) == pytest.approx((3 - half, end), abs=0.05)
            low, high = bootstrap.interval(np.exp(-cut), degrees, log=True)  # 0 stands for no end below
            assert high == pytest.approx(np.exp(half - 3), rel=0.05)
            assert low == pytest.approx(np.exp(-end), rel=0.05)
    assert bootstrap.interval(np.full(100, np.inf), 20) == (np.inf, np.inf)


def test_an_interval_keeps_its_skew() -> None:
    values = np.random.default_rng(0).lognormal(0, 0.5, 5000)
    low, high = bootstrap.interval(values, 10_000)
    assert (low, high) == pytest.approx(np.quantile(values, [0.025, 0.975]), rel=1e-3)
    assert high - np.median(values) > 2 * (np.median(values) - low)
