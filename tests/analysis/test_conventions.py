"""Winners by other counts of compute, by the clock, and at equal state."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from campaign_table import BUDGETS, NOTHING, Truth, campaign, screened

from eutectic.analysis.conventions import BY_RUNS, CLOCK, by_clock, by_convention, by_runs, ranking
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.load import read
from eutectic.analysis.recount import per_token
from eutectic.analysis.state import by_state, held
from eutectic.arch.flops import CONVENTIONS

pytestmark = pytest.mark.usefixtures("few_starts")

BUDGET = BUDGETS[1]


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return Evidence(screened(campaign(Truth(), names=("main",))))


@pytest.fixture(scope="module")
def rows(evidence: Evidence) -> pd.DataFrame:
    return evidence.parts["main"].used


def test_conventions_are_those_that_flops_are_counted_by(evidence: Evidence, rows: pd.DataFrame) -> None:
    found = by_convention(evidence.laws_at(BUDGET), rows, BUDGET)
    assert tuple(one.measure for one in found) == CONVENTIONS


def test_flops_of_a_token_are_those_of_the_logged_run() -> None:
    """The first committed sweep counts by exact-causal, to what runs have realized."""
    logged = read(Path(__file__).parents[2] / "results" / "h200")
    realized = (logged["flops"] / logged["tokens"]).to_numpy()
    assert per_token(logged, "exact-causal") == pytest.approx(realized, rel=1e-9)
    active = logged["params_active"].to_numpy()
    assert per_token(logged, "6nd") == pytest.approx(6 * active)
    assert per_token(logged.assign(params_active=np.nan), "6nd") == pytest.approx(6 * logged["params"].to_numpy())
    assert (per_token(logged, "6nd-nonembedding") < per_token(logged, "6nd")).all()
    more = per_token(logged, "exact-full") > per_token(logged, "exact-causal")
    assert (more == (logged["attn_share"] > 0)).all()


def test_the_planted_best_wins_and_dearer_tokens_lose(evidence: Evidence, rows: pd.DataFrame) -> None:
    laws = evidence.laws_at(BUDGET)
    plain = by_convention(laws, rows, BUDGET)[0]
    assert (
        (plain.winner, plain.runner_up) == ("hyena+attn", "hyena*3+attn") and plain.wins > 0.95 and plain.hybrids == 1
    )
    assert plain.lead == pytest.approx(0.6 * (0.15**2 - 0.1**2), abs=0.004)
    dear = rows.assign(flops_core_full=rows["flops_core_full"] + 3 * rows["params"] * (rows["arch"] == "hyena+attn"))
    assert by_convention(laws, dear, BUDGET)[1].winner == "hyena*3+attn"


def test_by_runs_the_lowest_size_of_each_wins_with_and_without_an_optimum(evidence: Evidence) -> None:
    """Also of one that has its lowest loss at the end of its sizes."""
    (one,) = (one for one in evidence.minima["main"] if one.budget == BUDGET)
    found = by_runs(one)
    assert (found.measure, found.winner, found.runner_up) == (BY_RUNS, "hyena+attn", "hyena*3+attn")
    assert found.lead == pytest.approx(0.6 * (0.15**2 - 0.1**2), abs=0.004) and found.hybrids == 1
    means = evidence.parts["main"].select("attn", BUDGET).groupby("params")["loss"].mean()
    assert one.lowest_of(("attn",))[0] == pytest.approx([means.min()])
    optima = tuple(replace(o, status="beyond grid") if o.arch == found.winner else o for o in one.optima)
    assert by_runs(replace(one, optima=optima)) == found


def test_the_clock_is_read_by_ratios_to_attention(evidence: Evidence, rows: pd.DataFrame) -> None:
    """Runs that all slowed down at one size, as where they share a GPU, change nothing; one architecture's do."""
    laws, own = evidence.laws_at(BUDGET), rows[rows["budget"] == BUDGET]
    found = by_clock(laws, own, BUDGET)
    assert (found.measure, found.winner) == (CLOCK, "hyena+attn")
    size = own["params"] == own["params"].median()
    shared = own.assign(tokens_per_second=own["tokens_per_second"] / np.where(size, 1.4, 1.0))
    assert by_clock(laws, shared, BUDGET).winner == "hyena+attn"
    slow = own.assign(tokens_per_second=own["tokens_per_second"] / np.where(own["arch"] == "hyena+attn", 3.0, 1.0))
    found = by_clock(laws, slow, BUDGET)
    assert found.winner == "hyena*3+attn" and found.wins > 0.9


def test_throughputs_that_are_noise_decide_nothing(evidence: Evidence, rows: pd.DataFrame) -> None:
    laws, own = evidence.laws_at(BUDGET), rows[rows["budget"] == BUDGET]
    wild = np.exp(0.5 * np.random.default_rng(0).normal(size=len(own)))
    found = by_clock(laws, own.assign(tokens_per_second=own["tokens_per_second"] * wild), BUDGET)
    assert found.winner == "" and "scatter by" in found.refusal
    two = own.assign(device=np.where(own["arch"] == "attn", "one", "another"))
    assert "on one kind of device" in by_clock(laws, two, BUDGET).refusal
    few = own["params"] == own["params"].min()
    mixed = own.assign(
        device=np.where(few, "another", "one"), tokens_per_second=own["tokens_per_second"] * np.where(few, wild, 1.0)
    )
    assert (
        by_clock(laws, mixed, BUDGET) == by_clock(laws, own[~few], BUDGET) and not by_clock(laws, mixed, BUDGET).refusal
    )
    without = {arch: law for arch, law in laws.items() if arch != "attn"}
    assert by_clock(without, own, BUDGET).refusal


def test_less_state_leaves_smaller_models(evidence: Evidence, rows: pd.DataFrame) -> None:
    laws = evidence.laws_at(BUDGET)
    whole, quarter, _ = by_state(laws, rows, BUDGET)
    assert (whole.measure, whole.winner) == ("attn's state", "hyena+attn")
    # half of attention has half the state, and a quarter at a size 2^(1 / 0.7) smaller; a quarter of it nearly fits
    assert (quarter.measure, quarter.winner) == ("1/4 of attn's state", "hyena*3+attn")


def test_states_and_losses_that_none_beats(evidence: Evidence, rows: pd.DataFrame) -> None:
    found = {one.arch: one for one in held(evidence.laws_at(BUDGET), rows, BUDGET)}
    assert next(iter(found)) == "attn" and set(list(found)[-2:]) == {"hyena", "mamba2"}
    best = np.sqrt(BUDGET / 6)
    for arch, share in (("attn", 1.0), ("hyena+attn", 0.5), ("hyena", 0.0)):
        assert found[arch].state.value == pytest.approx((0.02 + share) * best**0.7, rel=0.05)
        assert found[arch].loss.value == pytest.approx(Truth().loss(arch, best, best), abs=0.005)
    assert found["attn"].unbeaten == 0 and found["hyena+attn"].unbeaten > 0.95 and found["hyena*3+attn"].unbeaten == 1


def test_where_nothing_differs_wins_are_shared() -> None:
    e = Evidence(screened(campaign(replace(NOTHING, noise=0.003), names=("main",))))
    found = [one for one in e.rankings if one.measure == "exact-causal"]
    assert max(one.wins for one in found) < 0.95


def test_who_is_compared_is_kept_and_hybrids_win_only_against_others(evidence: Evidence, rows: pd.DataFrame) -> None:
    laws = evidence.laws_at(BUDGET)
    assert by_convention(laws, rows, BUDGET)[0].among == tuple(laws)
    for some in (("attn", "hyena"), ("hyena+attn", "hyena*3+attn")):
        found = ranking("m", BUDGET, {arch: np.array([1.0 + k, 1.0, 2.0]) for k, arch in enumerate(some)})
        assert np.isnan(found.hybrids) and found.among == some


def test_resamples_without_a_loss_are_left_out() -> None:
    losses = {"attn": np.array([1.0, 1.0, np.nan, 3.0]), "hyena+attn": np.array([2.0, 2.0, 2.0, 2.0])}
    found = ranking("m", 1e15, losses)
    assert (found.winner, found.runner_up, found.wins, found.lead, found.hybrids) == (
        "attn",
        "hyena+attn",
        0.5,
        1.0,
        0.5,
    )
