"""The answer at a budget: planted truths are given back within their intervals, and what is not known is refused."""

import numpy as np
import pytest
import sweep_table
from scipy.optimize import minimize_scalar

from eutectic.analysis.audit import audit
from eutectic.analysis.compare import Estimate
from eutectic.analysis.load import Runs, screen
from eutectic.analysis.predict import Answer, _rungs, compute_of, predict
from eutectic.errors import UserError
from eutectic.sweeps.recipe import LADDER

pytestmark = pytest.mark.usefixtures("few_starts")

ARCHS = {"hyena": 0.0, "hyena+attn": 0.5, "attn": 1.0}
BUDGETS = (1e15, 4e15, 1.6e16, 6.4e16)
COMPUTE = 1e18
ALPHA, BETA = 0.34, 0.28


def worse(share: float) -> float:
    """What the share of attention multiplies the loss above 1.7 by."""
    return float(np.exp(0.8 * (share - 0.4) ** 2))


def loss(n: float, d: float, share: float) -> float:
    return 1.7 + worse(share) * (400 / n**ALPHA + 410 / d**BETA)


def best(compute: float, share: float) -> tuple[float, float]:
    """Parameters and loss of the true optimum, C = 6 N D."""
    found = minimize_scalar(
        lambda z: loss(np.exp(z), compute / (6 * np.exp(z)), share), bounds=(10, 30), options={"xatol": 1e-10}
    )
    return float(np.exp(found.x)), float(found.fun)


def holds(said: Estimate, truth: float) -> bool:
    """Within the interval made twice as wide about its value: of one table, four standard errors. (That the intervals
    cover as often as they say is tested where they are made.)"""
    return said.value - 2 * (said.value - said.low) < truth < said.value + 2 * (said.high - said.value)


@pytest.fixture(scope="module")
def runs() -> Runs:
    return screen(sweep_table.table(loss, ARCHS, BUDGETS, noise=0.001))


@pytest.fixture(scope="module")
def answer(runs: Runs) -> Answer:
    return predict(runs, COMPUTE, ("hyena+attn", "attn"))


def test_the_planted_optimum_is_the_answer(answer: Answer) -> None:
    params, truth = best(COMPUTE, 0.5)
    assert (answer.arch, answer.attn_share) == ("hyena+attn", 0.5)
    assert list(answer.losses) == ["hyena+attn", "hyena", "attn"]
    assert answer.wins["hyena+attn"] > 0.99 and sum(answer.wins.values()) == pytest.approx(1.0)
    for said, value in ((answer.params, params), (answer.tokens, COMPUTE / 6 / params), (answer.loss, truth)):
        assert said.low < said.value < said.high and holds(said, value)
        assert said.value == pytest.approx(value, rel=0.2)
    assert answer.loss.value == pytest.approx(truth, rel=0.01)
    assert answer.perplexity.value == pytest.approx(np.exp(answer.loss.value))
    assert (answer.perplexity.low, answer.perplexity.high) == pytest.approx(
        tuple(np.exp([answer.loss.low, answer.loss.high]))
    )


def test_the_best_share_has_its_interval(answer: Answer) -> None:
    (share,) = answer.shares
    assert (share.family, share.refusal) == ("hyena", "") and share.p_none < 1e-6
    assert share.optimum is not None and share.optimum.verdict == "interior"
    assert share.optimum.compute == COMPUTE
    assert holds(share.optimum.share, 0.4)
    assert share.optimum.share.high - share.optimum.share.low < 0.2


def test_training_continues_the_recipes_power_laws(answer: Answer) -> None:
    lr, params, batch = answer.lr, answer.params, answer.batch
    assert lr.value == pytest.approx(sweep_table.lr(params.value), rel=1e-9)
    assert (lr.low, lr.high) == pytest.approx((sweep_table.lr(params.high), sweep_table.lr(params.low)), rel=1e-9)
    # steps are of whole tokens, in batches of 1e4 or more
    assert batch.value == pytest.approx(sweep_table.batch_tokens(answer.tokens.value), rel=1e-3)
    assert batch.low < batch.value < batch.high


def test_the_shape_is_the_nearest_rung(runs: Runs) -> None:
    sizes = {(s.n_layers, s.d_model): sweep_table.params(s) for s in LADDER}
    for low in np.geomspace(2 * min(sizes.values()), max(sizes.values()) / 2, 97):
        wanted = (1.1 * low, low, 1.2 * low)
        for rung, params in zip(_rungs(runs.select("attn"), Estimate(wanted[0], *wanted[1:])), wanted, strict=True):
            nearest = min(sizes, key=lambda shape: abs(np.log(sizes[shape] / params)))
            assert (rung.n_layers, rung.d_model, rung.where) == (*nearest, "ladder")
            assert rung.params == pytest.approx(sizes[nearest], rel=1e-6)


def test_a_size_off_the_ladder_is_said(runs: Runs) -> None:
    runs = screen(runs.used[runs.used["arch"] == "hyena+attn"])
    far, near = predict(runs, 1e24), predict(runs, 1e8)
    rung = far.rungs[0]
    assert rung.where == "beyond" and rung.d_model % 128 == 0 and rung.n_layers % 4 == 0
    assert rung.n_layers / rung.d_model == pytest.approx(24 / 2048, rel=0.05)
    assert rung.params == pytest.approx(far.params.value, rel=0.15) and far.params.value > 1e10
    assert (near.rungs[0].where, near.rungs[0].d_model) == ("below", 4)
    assert near.reach.compute == pytest.approx(-7.0) and near.reach.params < 0 and near.reach.tokens < 0


def test_distances_are_from_what_was_trained(runs: Runs, answer: Answer) -> None:
    rows, reach, audited = runs.select("hyena+attn"), answer.reach, audit(runs)
    assert reach.compute == pytest.approx(np.log10(COMPUTE / 6.4e16))
    assert reach.params == pytest.approx(max(0.0, np.log10(answer.params.value / rows["params"].max())))
    assert reach.tokens == pytest.approx(max(0.0, np.log10(answer.tokens.value / rows["tokens"].max())))
    # 1.19 decades up; two, four and sixteen times were tried: the last, once, from the lowest two budgets
    (tried,) = [
        h for h in audited if (h.arch, h.law, h.held) == ("hyena+attn", "chinchilla", 6.4e16) and len(h.trained) == 2
    ]
    assert (reach.audited, reach.rms, reach.n) == (pytest.approx(np.log10(16)), pytest.approx(tried.rms, rel=1e-6), 7)
    inside = predict(runs, 5e15).reach
    assert (inside.compute, inside.params, inside.tokens) == (0.0, 0.0, 0.0)
    # two held-out budgets at a factor of four, pooled
    pooled = [h for h in audited if (h.arch, h.law) == ("hyena+attn", "chinchilla") and h.decades < 0.7]
    assert (inside.n, inside.rms) == (14, pytest.approx(np.sqrt(np.mean([h.rms**2 for h in pooled])), rel=1e-6))


def test_one_against_another(answer: Answer) -> None:
    duel = answer.duel
    assert duel is not None and (duel.a, duel.b) == ("hyena+attn", "attn")
    # the loss above 1.7 at the best size goes as worse * C^(-alpha beta / (alpha + beta))
    worth = (worse(0.5) / worse(1.0)) ** ((ALPHA + BETA) / (ALPHA * BETA))
    assert holds(duel.multiplier, worth)
    assert duel.multiplier.value == pytest.approx(worth, rel=0.1)
    assert duel.wins > 0.99
    assert duel.losses == (answer.losses["hyena+attn"], answer.losses["attn"])
    for share, said in zip((0.5, 1.0), duel.missized, strict=True):
        params, least = best(COMPUTE, share)
        for factor, lost in zip((1 / 4, 4), said, strict=True):
            truth = loss(params * factor, COMPUTE / (6 * params * factor), share) - least
            assert holds(lost, truth) and lost.value == pytest.approx(truth, rel=0.15)


def test_a_crossing_is_found_far_from_the_runs_too() -> None:
    def crossing(n: float, d: float, share: float) -> float:
        # the same laws but for E and A: attention is worse until its lower E tells
        return 1.7 - 0.15 * share + (1 + 0.15 * share) * (400 / n**ALPHA + 410 / d**BETA)

    runs = screen(sweep_table.table(crossing, {"hyena": 0.0, "attn": 1.0}, BUDGETS, noise=0.0003))
    compute = np.geomspace(1e14, 1e24, 4001)
    reducible = np.array([best(c, 0.4)[1] - 1.7 for c in compute])
    truth = compute[np.argmin(np.abs(0.15 * reducible - 0.15))]
    found = predict(runs, 1e16, ("attn", "hyena")).duel
    assert found is not None
    assert holds(found.crossover, truth)
    assert found.crossover.value == pytest.approx(truth, rel=1.0)
    assert found.wins < 0.01
    later = predict(runs, 1e23, ("attn", "hyena")).duel
    assert later is not None and later.wins > 0.99
    assert later.crossover.value == pytest.approx(found.crossover.value, rel=0.02)
    # and what it is worth there, six decades beyond the runs
    ratios = np.geomspace(1e-4, 1, 4001)
    reached = np.array([1.55 + 1.15 * (best(1e23 * x, 0.4)[1] - 1.7) for x in ratios])
    worth = ratios[np.argmin(np.abs(reached - best(1e23, 0.4)[1]))]
    assert holds(later.multiplier, worth) and later.multiplier.value == pytest.approx(worth, rel=0.5)


def test_hours_of_a_device_are_floating_point_operations(runs: Runs) -> None:
    compute, source = compute_of(100.0, "h200", runs)
    assert compute == pytest.approx(100 * 3600 * 0.4 * 788e12)
    assert source == "100 h of h200 at 40% of 788 TFLOP/s (dense bf16, measured)"
    assert compute_of(1.0, "h100", runs) == (
        3600 * 0.4 * 989e12,
        "1 h of h100 at 40% of 989 TFLOP/s (dense bf16, its vendor's figure)",
    )
    assert compute_of(100.0, "H200", runs) == (compute, source)
    frame = sweep_table.table(loss, {"attn": 1.0}, BUDGETS[:2])
    slow = screen(frame.assign(threads=1, seconds=1e6))
    assert compute_of(2.0, "CPU", slow)[0] == pytest.approx(7200 * frame["flops"].mean() / 1e6)


def test_what_cannot_be_answered_is_refused(runs: Runs) -> None:
    one = screen(sweep_table.table(loss, ARCHS, BUDGETS[:1]))
    with pytest.raises(UserError, match=r"one budget, 1e\+15 FLOPs, and two or more are needed"):
        predict(one, COMPUTE)
    with pytest.raises(UserError, match=r"no runs of architecture 'mamba' here; there are hyena, hyena\+attn, attn"):
        predict(runs, COMPUTE, ("attn", "mamba"))
    few = runs.used[runs.used.groupby(["arch", "budget"]).cumcount() < 1]
    with pytest.raises(UserError, match=r"no architecture of these runs has a law to predict by: .* there are 4"):
        predict(screen(few), COMPUTE)
    with pytest.raises(UserError, match=r"no speed is known of device 'tpu'; .*h200, h100"):
        compute_of(1.0, "tpu", runs)
    with pytest.raises(UserError, match="trained on an accelerator, which does not tell a CPU's speed"):
        compute_of(1.0, "cpu", runs)


def test_an_architecture_without_a_law_is_left_out_and_not_compared(runs: Runs) -> None:
    few = runs.used[(runs.used["arch"] != "attn") | (runs.used.groupby(["arch", "budget"]).cumcount() < 1)]
    found = predict(screen(few), COMPUTE)
    assert set(found.losses) == {"hyena", "hyena+attn"} and "there are 4" in found.refusals["attn"]
    with pytest.raises(UserError, match="attn has no law to compare by: chinchilla has 5 parameters"):
        predict(screen(few), COMPUTE, ("hyena", "attn"))


def test_what_was_left_out_is_counted(runs: Runs, answer: Answer) -> None:
    assert answer.dropped == {}
    worse = runs.used.copy()
    worse.loc[[0, 1], "status"], worse.loc[2, "status"] = "diverged", "pruned"
    found = predict(screen(worse), COMPUTE)
    assert found.dropped == {"diverged": 2, "pruned": 1} and found.n_runs == answer.n_runs - 3


def test_a_tuning_without_laws_is_refused(runs: Runs) -> None:
    with pytest.raises(UserError, match=r"the tuning of --settings has no law of the learning rate or batch of hyena"):
        predict(runs, COMPUTE, tuning=runs)


def test_order_of_rows_does_not_matter(runs: Runs, answer: Answer) -> None:
    shuffled = screen(runs.used.sample(frac=1.0, random_state=1))
    again = predict(shuffled, COMPUTE)
    assert again.arch == answer.arch
    assert again.params.value == pytest.approx(answer.params.value, rel=1e-3)
    assert again.lr.value == pytest.approx(answer.lr.value, rel=1e-3)
    # other resamples are drawn, of the same spread
    assert np.log(again.params.high / again.params.low) == pytest.approx(
        np.log(answer.params.high / answer.params.low), rel=0.25
    )
