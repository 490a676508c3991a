"""Laws fitted to tables: planted ones come back, with the best sizes they imply and intervals of the kind asked for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_table import ALPHA, BETA, TRUTH, A, B, loss, planted, values

from eutectic.analysis.bootstrap import interval, resample
from eutectic.analysis.fit import fit
from eutectic.analysis.laws import CHINCHILLA
from eutectic.analysis.losses import find
from eutectic.analysis.profile import profile
from eutectic.analysis.solve import Refused
from eutectic.analysis.table import Table, columns, read
from eutectic.analysis.tablefit import fit_table
from eutectic.errors import UserError

ROOT = Path(__file__).parents[2]
# Hoffmann et al. 2022, table A9, read off its figure 4 by Epoch AI (Besiroglu et al. 2024, arXiv 2404.10102)
CHINCHILLA_TABLE = ROOT.parent / "shared/tables/chinchilla_epoch.csv"


def best_params(compute: float, per_token: float = 6.0, power: float = 1.0) -> float:
    """Where A/N^alpha + B/D^beta is least at C = per_token N^power D (Hoffmann et al. 2022, eq. 4, for any power)."""
    total = ALPHA + power * BETA
    return (ALPHA * A / (power * BETA * B)) ** (1 / total) * (compute / per_token) ** (BETA / total)


def test_a_planted_law_comes_back_from_columns_of_any_name() -> None:
    runs = planted()
    flops = 6 * runs["params"] * runs["tokens"]
    odd = pd.DataFrame({"width": 8, "big": runs["params"], "ops": flops, "nats": runs["loss"]})
    table = columns(odd, params="big", flops="ops", loss="nats")
    assert table.sources == {"params": "big", "flops": "ops", "loss": "nats", "tokens": "flops / (6 * params)"}
    fitted = fit_table(table, resamples=0)
    assert values(fitted) == pytest.approx(TRUTH, rel=1e-6)
    best = fitted.groups[0].best
    assert best is not None and best.compute == flops.max()
    assert best.params.value == pytest.approx(best_params(flops.max()), rel=1e-5)
    assert best.tokens.value * best.params.value * 6 == pytest.approx(flops.max())
    assert best.tokens_per_param.value == pytest.approx(best.tokens.value / best.params.value)
    assert best.loss.value == pytest.approx(float(loss(*map(np.array, (best.params.value, best.tokens.value)))))
    assert best.beyond == ("params",)
    assert np.isnan(best.params.low) and fitted.groups[0].converged is None
    sizeless = columns(runs.drop(columns="params").assign(C=flops))
    assert sizeless.sources["params"] == "flops / (6 * tokens)"
    assert values(fit_table(sizeless, resamples=0)) == pytest.approx(TRUTH, rel=1e-6)


def test_flops_that_follow_from_no_parameters_and_tokens_give_no_best_size() -> None:
    """A third more or less is what attention does to a cost; five times is another column.

    Every other size costs five times as much: residuals from the line through 0, 1, 0, 1, 0, 1 are .629 at most."""
    runs = planted()
    cost = 6 * runs["params"] * runs["tokens"]
    factor = np.tile([1.0, 1.3], len(runs) // 2)
    group = fit_table(columns(runs.assign(flops=cost * factor)), resamples=0).groups[0]
    assert group.best is not None and group.unpriced == "" and 0.1 < group.best.cost.error < 0.3
    other = fit_table(columns(runs.assign(flops=cost * np.tile([1.0, 5.0], len(runs) // 2))), resamples=0).groups[0]
    assert other.best is None and other.fit is not None
    assert "FLOPs are up to 101% off any law of parameters and tokens" in other.unpriced
    # nor is the largest of such FLOPs the budget that others are asked about
    both = pd.concat([runs.assign(flops=cost * np.tile([1.0, 5.0], len(runs) // 2), arch="a"), runs.assign(flops=cost)])
    first, second = fit_table(columns(both.fillna({"arch": "b"})), resamples=0).groups
    assert first.best is None and second.best is not None and second.best.compute == cost.max()


def test_a_law_in_the_share_says_whether_anything_depends_on_it() -> None:
    runs = planted(noise=0.003).assign(ratio=np.tile([0.0, 0.25, 0.5, 1.0], 9))
    without = fit_table(columns(runs, "hybrid-interior"), resamples=0).groups[0].p_none
    bent = runs.assign(loss=runs["loss"] * np.exp(0.02 * (runs["ratio"] - 0.4) ** 2))
    with_it = fit_table(columns(bent, "hybrid-interior"), resamples=0).groups[0].p_none
    assert without is not None and with_it is not None
    assert with_it < 1e-3 < 0.05 < without
    assert fit_table(columns(runs), resamples=0).groups[0].p_none is None


def test_optima_are_at_the_cost_the_table_tells() -> None:
    runs = planted()
    runs["Training FLOP"] = 2.5 * runs["params"] ** 1.1 * runs["tokens"]
    best = fit_table(columns(runs), resamples=0).groups[0].best
    assert best is not None and best.cost.error < 1e-9
    assert best.params.value == pytest.approx(best_params(best.compute, 2.5, 1.1), rel=1e-5)
    runs.loc[3, "Training FLOP"] = np.nan
    table = columns(runs)
    assert table.sources["flops"] == "6 * params * tokens ('Training FLOP' has no positive number in 1 rows)"
    assert len(table.used) == 36
    assert columns(runs, flops="Training FLOP").dropped.to_dict("list") == {"row": [4], "reason": ["no flops"]}


def test_laws_in_compute_need_no_more_than_its_factors() -> None:
    runs = planted()
    flops, ratio = 6 * runs["params"] * runs["tokens"], runs["tokens"] / runs["params"]
    frontier = columns(runs.assign(loss=1.5 + 30 * flops**-0.12), "frontier")
    assert frontier.sources["flops"] == "6 * params * tokens"
    assert values(fit_table(frontier, resamples=0)) == pytest.approx({"E": 1.5, "K": 30, "kappa": 0.12}, rel=1e-5)
    losses = 1.5 + (50 * ratio**0.2 + 80 * ratio**-0.2) * flops**-0.2
    over = fit_table(columns(runs.assign(loss=losses), "overtrained"), resamples=0)
    assert values(over) == pytest.approx({"E": 1.5, "a": 50, "b": 80, "eta": 0.2}, rel=1e-5)
    assert over.groups[0].best is None


@pytest.mark.parametrize(("linear", "square", "expected"), [(-0.6, 0.8, 0.375), (0.02, 0.3, 0.0)])
def test_the_best_share_is_found_across_architectures(linear: float, square: float, expected: float) -> None:
    parts = [planted().assign(attn_share=share, arch=f"mix{share}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    runs = pd.concat(parts, ignore_index=True)
    share = runs["attn_share"]
    runs["loss"] += A / runs["params"] ** ALPHA * np.expm1(linear * share + square * share**2)
    (exact,) = fit_table(columns(runs, "hybrid-interior"), resamples=0).groups
    assert exact.group == "" and exact.best is not None and exact.best.ratio is not None
    assert exact.best.ratio.value == pytest.approx(expected, abs=1e-3)
    runs["loss"] *= np.exp(0.01 * np.random.default_rng(2).normal(size=len(runs)))
    (noisy,) = fit_table(columns(runs, "hybrid-interior"), resamples=200).groups
    assert noisy.parameters["A_r"].low < linear < noisy.parameters["A_r"].high
    assert noisy.parameters["A_rr"].low < square < noisy.parameters["A_rr"].high
    assert noisy.best is not None and noisy.best.ratio is not None
    assert 0 <= noisy.best.ratio.low <= expected <= noisy.best.ratio.high <= 1
    assert noisy.best.ratio.high > noisy.best.ratio.low
    dear = runs.assign(flops=6 * runs["params"] * runs["tokens"] * np.exp(0.3 * share))
    best = fit_table(columns(dear, "hybrid-interior"), resamples=0).groups[0].best
    assert best is not None and best.cost.coefficients == pytest.approx((np.log(6), 1, 0.3, 0), abs=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[:7], "chinchilla has 5 parameters and needs 8 points or more; there are 7"),
        (lambda t: t.assign(params=1e18 / t["tokens"]), "needs two budgets or more, and all 36 points are of one"),
        (lambda t: t.assign(params=1e7 * np.exp(0 * t["loss"])), r"parameters \(N\) is 1e\+07 in all 36 points"),
    ],
)
def test_a_table_that_cannot_tell_is_refused(change: Callable[[pd.DataFrame], pd.DataFrame], words: str) -> None:
    with pytest.raises(Refused, match=words):
        fit_table(columns(change(planted(noise=0.01))))


def test_a_refusal_tells_of_the_rows_left_out() -> None:
    percent = planted(noise=0.01).assign(ratio=np.linspace(0, 100, 36))
    percent.loc[35, "loss"] = np.nan
    words = (
        r"needs 10 points or more; there are 1: .* 35 rows were left out: ratio outside 0 to 1 \(34\), no loss \(1\)\.$"
    )
    with pytest.raises(Refused, match=words):
        fit_table(columns(percent, "hybrid-linear"))


def test_architectures_pooled_at_one_budget_are_refused() -> None:
    """Their 6 N D spread over a fifth; what they did cost is one budget."""
    frame = read(ROOT / "results/h200/runs.parquet")
    words = "needs two budgets or more, and all 25 points are of one"
    for law in ("chinchilla", "gamma", "frontier", "hybrid-linear"):
        with pytest.raises(Refused, match=words):
            fit_table(columns(frame[frame["budget"] == 1e15], law, group="convention"))
    with pytest.raises(Refused, match=words):
        fit_table(columns(frame[frame["budget"] == 1e15], "hybrid-linear"))


def test_a_refused_group_does_not_stop_the_others() -> None:
    runs = planted().assign(kind=["good"] * 30 + ["poor"] * 6)
    good, poor = fit_table(columns(runs, group="kind"), resamples=0).groups
    assert (good.group, good.refusal, len(good.rows)) == ("good", "", 30)
    assert good.fit is not None and good.fit.values == pytest.approx(TRUTH, rel=1e-6)
    assert poor.fit is None and poor.best is None and "needs 8 points or more; there are 6" in poor.refusal
    with pytest.raises(Refused, match="none of 12 groups can be fitted; 0: chinchilla has 5 parameters"):
        fit_table(columns(planted().assign(kind=np.arange(36) % 12), group="kind"))


def test_settings_that_cannot_be_used_are_refused() -> None:
    table = columns(planted())
    with pytest.raises(UserError, match="99 resamples are too few"):
        fit_table(table, resamples=99)
    with pytest.raises(UserError, match="seed -1 cannot be used"):
        fit_table(table, seed=-1)


@settings(max_examples=8, deadline=None)
@given(st.floats(-9, 9), st.floats(-9, 9))
def test_units_do_not_matter(params: float, tokens: float) -> None:
    """Both in units of any power of ten, e.g. tokens in millions: the same E and exponents, A and B in those units."""
    runs = planted(noise=0.01)
    here = values(fit_table(columns(runs), resamples=0))
    scaled = runs.assign(params=runs["params"] / 10**params, tokens=runs["tokens"] / 10**tokens)
    there = values(fit_table(columns(scaled), resamples=0))
    units = {"A": 10 ** (params * here["alpha"]), "B": 10 ** (tokens * here["beta"])}
    assert {k: v * units.get(k, 1.0) for k, v in there.items()} == pytest.approx(here, rel=1e-6)


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(36)))
def test_order_of_rows_does_not_matter(order: list[int]) -> None:
    """Not in the last digit: intervals too are drawn from the data's own order."""
    runs = planted(noise=0.01)
    (a,), (b,) = (fit_table(columns(t), resamples=100).groups for t in (runs, runs.iloc[order]))
    assert a.parameters == b.parameters and a.best == b.best
    assert a.fit is not None and b.fit is not None and np.array_equal(a.fit.residuals, b.fit.residuals)
    assert [order[row - 1] + 1 for row in b.rows] == list(a.rows)


def test_repeated_runs_narrow_intervals_and_copies_do_not() -> None:
    """Each run again with a noise of its own: intervals over sqrt 2, on average. The same rows again: dropped."""

    def width(runs: pd.DataFrame) -> float:
        alpha = fit_table(columns(runs), find("ls-log"), resamples=200).groups[0].parameters["alpha"]
        return float(np.log(alpha.high / alpha.low))

    # one pair of tables gives the ratio to 16%, so 30 give it to 3%
    ratios = [width(planted(0.002, s + 100, copies=4)) / width(planted(0.002, s, copies=2)) for s in range(30)]
    assert np.exp(np.log(ratios).mean()) == pytest.approx(1 / np.sqrt(2), rel=0.09)
    runs = planted(noise=0.01)
    twice = columns(pd.concat([runs, runs]))
    assert twice.dropped.to_dict("list") == {"row": [*range(37, 73)], "reason": ["repeats an earlier row"] * 36}
    (once,), (copied,) = (fit_table(table, resamples=100).groups for table in (columns(runs), twice))
    assert copied.parameters == once.parameters


def test_our_own_log_needs_no_options() -> None:
    frame = read(ROOT / "results/h200/runs.parquet")
    table = columns(frame)
    assert table.sources == {n: n for n in ("params", "tokens", "flops", "loss")} | {"group": "arch"}
    fitted = fit_table(table, resamples=0)
    assert [g.group for g in fitted.groups] == sorted(frame["arch"].unique())
    rows = frame[frame["arch"] == "hyena"]
    alone = fit(CHINCHILLA, {"N": rows["params"], "D": rows["tokens"]}, rows["loss"])
    hyena = fitted.groups[1]
    assert hyena.fit is not None and hyena.fit.values == pytest.approx(alone.values, rel=1e-6)
    assert [frame["arch"][row - 1] for row in hyena.rows] == ["hyena"] * 10


def test_intervals_are_those_of_the_pairs_bootstrap() -> None:
    table = columns(planted(noise=0.002, copies=2))
    fitted = fit_table(table, resamples=400, seed=5)
    (group,) = fitted.groups
    assert group.fit is not None and group.best is not None
    theta = resample(group.fit, 400, 5, "pairs").theta
    for k, (name, truth) in enumerate(TRUTH.items()):
        estimate = group.parameters[name]
        drawn = np.exp(theta[:, k]) if name in "EAB" else theta[:, k]
        assert (estimate.low, estimate.high) == pytest.approx(interval(drawn, 72 - 5, log=True))
        assert estimate.low < truth < estimate.high
    best = group.best
    assert best.params.low < best_params(best.compute) < best.params.high
    assert best.params.high / best.params.low < 2
    plain = fitted.to_dict()["groups"][0]
    assert plain["intervals"]["alpha"] == (group.parameters["alpha"].low, group.parameters["alpha"].high)
    assert plain["optimum"]["params"]["value"] == best.params.value
    other = fit_table(table, resamples=400, seed=6).groups[0].parameters["E"]
    assert other.low != group.parameters["E"].low and other.value == pytest.approx(group.parameters["E"].value)


@pytest.mark.skipif(not CHINCHILLA_TABLE.exists(), reason="table not there")
def test_chinchilla_with_no_options() -> None:
    table: Table = columns(read(CHINCHILLA_TABLE))
    assert table.sources["params"] == "Model Size" and table.sources["flops"] == "Training FLOP"
    fitted = fit_table(table, resamples=0).groups[0].fit
    assert fitted is not None and (fitted.n, fitted.objective) == (245, pytest.approx(1.8260105e-3, rel=1e-7))


def test_the_best_size_does_not_depend_on_units() -> None:
    """Also where it is below one of the table's units: billions of parameters, trillions of tokens."""
    plain = fit_table(columns(planted()), resamples=0).groups[0].best
    large = planted()
    large["params"] /= 1e9
    large["tokens"] /= 1e12
    scaled = fit_table(columns(large), resamples=0).groups[0].best
    assert plain is not None and scaled is not None
    assert scaled.params.value * 1e9 == pytest.approx(plain.params.value, rel=1e-5)
    assert scaled.tokens.value * 1e12 == pytest.approx(plain.tokens.value, rel=1e-5)
    assert scaled.loss.value == pytest.approx(plain.loss.value, rel=1e-7)


def seeded(count: int, seed: int = 0) -> pd.DataFrame:
    """Five runs of each of so many seeds, all of a seed off by the same .02 and each by .002, that obey K/C^kappa."""
    random, compute = np.random.default_rng(seed), np.tile(np.geomspace(1e17, 1e20, 5), count)
    seeds = np.repeat(np.arange(count), 5)
    error = random.normal(0, 0.02, count)[seeds] + random.normal(0, 0.002, 5 * count)
    return pd.DataFrame({"flops": compute, "loss": 30 * compute**-0.05 * np.exp(error), "seed": seeds})


def test_intervals_by_seed_are_those_of_the_cluster_bootstrap() -> None:
    """Widened as by the number of seeds, not of runs."""
    table = columns(seeded(10), "frontier-0", cluster="seed")
    fitted = fit_table(table, resamples=300, seed=4, kind="cluster")
    (group,) = fitted.groups
    assert group.fit is not None and group.converged == 1
    labels = table.used.loc[list(group.rows), "cluster"].tolist()
    theta = resample(group.fit, 300, 4, "cluster", labels).theta
    kappa = group.parameters["kappa"]
    assert (kappa.low, kappa.high) == pytest.approx(interval(theta[:, 1], 9, log=True))
    assert fitted.to_dict()["bootstrap"]["kind"] == "cluster" and fitted.to_dict()["columns"]["cluster"] == "seed"
    (pairs,) = fit_table(table, resamples=300, seed=4).groups
    assert pairs.fit is not None and pairs.fit.values == group.fit.values


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 20])
def test_intervals_by_seed_cover(count: int) -> None:
    """The loss in the middle, nominally 95%, of 400 tables; pairs, which take runs of a seed for independent, 60%."""
    hits = {"pairs": 0, "cluster": 0}
    for seed in range(400):
        runs = seeded(count, seed)
        runs["flops"] /= np.exp(np.log(runs["flops"]).mean())  # K is then the loss in the middle
        table = columns(runs, "frontier-0", cluster="seed")
        for kind in hits:
            middle = fit_table(table, find("ls-log"), 400, seed, kind).groups[0].parameters["K"]
            hits[kind] += middle.low <= 30 * 10 ** (-0.05 * 18.5) <= middle.high
    assert 0.91 * 400 <= hits["cluster"] <= 0.98 * 400 and hits["pairs"] < 0.7 * 400, hits


def test_wild_intervals_are_those_of_the_wild_bootstrap() -> None:
    (group,) = fit_table(columns(planted(noise=0.002)), resamples=200, seed=5, kind="wild").groups
    assert group.fit is not None
    theta = resample(group.fit, 200, 5, "wild").theta
    alpha = group.parameters["alpha"]
    assert (alpha.low, alpha.high) == pytest.approx(interval(theta[:, 2], 36 - 5, log=True))


def test_too_few_clusters_leave_a_group_without_intervals() -> None:
    runs = pd.concat([seeded(10).assign(kind="many"), seeded(7).assign(kind="few")])
    fitted = fit_table(columns(runs, "frontier-0", group="kind", cluster="seed"), resamples=100, kind="cluster")
    few, many = fitted.groups
    assert few.refusal == "a cluster bootstrap needs 8 clusters or more and there are 7; use pairs or wild."
    assert few.fit is not None and few.converged is None and np.isnan(few.parameters["kappa"].low)
    assert many.refusal == "" and many.parameters["kappa"].low < many.parameters["kappa"].high


def test_profiles_stand_beside_the_bootstrap() -> None:
    """And where they have no interval they say so."""
    runs = pd.concat([planted(noise=0.002).assign(kind="noisy"), planted().assign(kind="plain")])
    fitted = fit_table(columns(runs, group="kind"), resamples=0, profiles=True)
    noisy, plain = fitted.groups
    assert noisy.fit is not None
    for name in CHINCHILLA.names:
        assert noisy.profiles[name].interval == profile(noisy.fit, name).interval
        assert f"the profile of {name} has no interval: the points lie on the law exactly" in plain.unprofiled[name]
    assert (noisy.unprofiled, plain.profiles) == ({}, {})
    said = fitted.to_dict()["groups"]
    assert said[0]["profiles"]["beta"] == noisy.profiles["beta"].interval and said[1]["unprofiled"] == plain.unprofiled
    assert fit_table(columns(planted(noise=0.002)), resamples=0).groups[0].profiles == {}
