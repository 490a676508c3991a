"""FLOPs by every convention, from what runs logged, beside those of the models themselves."""

import json

import numpy as np
import pytest
from campaign import H200

from eutectic.analysis.load import load
from eutectic.analysis.recount import CONVENTIONS, flops, recounted
from eutectic.arch import flops as structural
from eutectic.config import RunConfig


def test_the_conventions_are_those_that_models_are_counted_by() -> None:
    assert CONVENTIONS == structural.CONVENTIONS


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_logged_terms_give_the_flops_of_the_model(convention: str) -> None:
    used = load(H200).used
    some = used.iloc[:: len(used) // 6]
    for row, told in zip(some.itertuples(), flops(some, convention), strict=True):
        run = RunConfig.from_dict(json.loads(row.config))
        counts = structural.count(run.model, run.data.seq_len, run.conv_algorithm)
        assert told == pytest.approx(counts.training_flops(convention, run.data.seq_len) * run.sequences, rel=1e-12)


def test_logs_without_active_parameters_are_of_models_all_of_whose_act() -> None:
    used = load(H200).used
    assert flops(used.assign(params_active=None), "6nd").tolist() == (6.0 * used["params"] * used["tokens"]).tolist()


def test_a_budget_becomes_the_mean_of_what_its_runs_cost() -> None:
    runs = load(H200)
    assert recounted(runs, "exact-causal") is runs
    other = recounted(runs, "6nd-nonembedding")
    assert len(other.curves) == 0 and set(other.used["convention"]) == {"6nd-nonembedding"}
    costs = 6.0 * (runs.used["params"] - runs.used["params_embedding"]) * runs.used["tokens"]
    assert other.used["flops"].tolist() == pytest.approx(costs.tolist())
    for before, after in zip(runs.budgets, other.budgets, strict=True):
        own = costs[runs.used["budget"] == before]
        assert after == pytest.approx(float(np.exp(np.log(own).mean()))) and after < before
