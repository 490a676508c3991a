"""Trials of synthetic tasks: planned alike, done once, kept and collected."""

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from eutectic.analysis import schema
from eutectic.arch import flops
from eutectic.errors import UserError
from eutectic.probes import tasks
from eutectic.probes.trial import Ablated, Score, Trial
from eutectic.sweeps import trials as module
from eutectic.sweeps.trials import Plan, Trials, load, memory, work
from eutectic.sweeps.worker import Place
from eutectic.train import preemption

PLAN = Plan(2, 64, 4, "width", 4096, (0, 1), (1e-3, 1e-2), 20_000, (500,), 1024, False)
RECALL = tasks.find("recall(vocab=4,length=8)")
MODAL = ("hyena", "multihyena", "rtf", "s4d", "h3", "hyena_mr", "swa")
MATRIX = ("mamba", "mamba2", "linear_attn", "rwkv6", "rwkv7", "retention", "deltanet", "gated_deltanet")


@pytest.mark.parametrize("arch", MODAL + MATRIX)
def test_equal_states_are_as_equal_as_options_allow(arch: str) -> None:
    (trial,) = dataclasses.replace(PLAN, match="state").trials([arch], [tasks.find("recall")])
    state = flops.count(trial.model, 128).state.dim
    # matrix states have the square of a head's width in numbers, and keep a short convolution's inputs besides
    assert state / (2 * 4096) == pytest.approx(1, abs=0.3 if arch in MATRIX else 0.1)
    assert trial.arch == arch and trial.match == "state"


def test_a_hybrid_s_mixers_have_their_states_each() -> None:
    (trial,) = dataclasses.replace(PLAN, match="state").trials(["hyena+mamba2"], [tasks.find("recall")])
    alone = [dataclasses.replace(trial.model, layout=str(term), n_layers=1) for term in trial.model.layout.split("+")]
    for model in alone:
        assert flops.count(model, 128).state.dim == pytest.approx(4096, rel=0.1)
    assert trial.model.layout != "hyena+mamba2" == trial.arch


def test_equal_parameters_are_attention_s() -> None:
    plan = dataclasses.replace(PLAN, match="params")
    archs = ("attn", "hyena", "mamba2", "gated_deltanet+attn")
    sizes = [flops.count(one.model, 128).params for one in plan.trials(archs, [tasks.find("recall")])]
    assert max(sizes) / min(sizes) < 1.03
    assert len({one.model.d_ffn for one in plan.trials(archs, [tasks.find("recall")])}) > 1


def test_a_trial_is_named_by_all_that_it_is_and_read_again() -> None:
    one, other = PLAN.trials(["attn"], [RECALL, tasks.find("recall(vocab=4,length=16)")])
    assert one.batch * 8 == other.batch * 16 == 1024 and one.steps == other.steps == 19
    assert Trial.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    names = {one.trial_id, other.trial_id}
    names |= {dataclasses.replace(one, **change).trial_id for change in ({"seeds": (0,)}, {"control": True})}
    assert len(names) == 4
    with pytest.raises(UserError, match="cannot read"):
        Trial.from_dict(one.to_dict() | {"colour": "red"})
    with pytest.raises(UserError, match="does not divide a depth of 2"):
        PLAN.trials(["hyena*3+attn"], [RECALL])


def test_each_number_of_examples_is_a_trial_and_none_is_the_task_s_own() -> None:
    named = [RECALL, tasks.find("memorization")]
    taught = {
        given: [
            (one.task.name, one.examples) for one in dataclasses.replace(PLAN, examples=given).trials(["attn"], named)
        ]
        for given in ((), (800, 1600))
    }
    assert taught[()] == [("recall", 12_800), ("memorization", 256)]
    assert taught[800, 1600] == [(name, n) for name in ("recall", "memorization") for n in (800, 1600)]


def test_larger_trials_are_expected_to_take_more() -> None:
    small, large = (dataclasses.replace(PLAN, tokens=n).trials(["attn"], [RECALL])[0] for n in (10**5, 10**6))
    assert load(large, "cpu").seconds > 5 * load(small, "cpu").seconds and load(large, "cuda").at_once > 1
    wide = dataclasses.replace(PLAN, d_model=128).trials(["attn"], [RECALL])[0]
    assert memory(wide) > memory(small) > 0


def made_up(done: list[str]) -> Any:
    """In place of training; what it is called for goes into `done`. Memorization fails."""

    def run(trial: Trial, device: str) -> tuple[list[Score], list[Ablated]]:
        done.append(trial.trial_id)
        if trial.task.name == "memorization":
            raise ValueError("nothing to learn")
        scores = [
            Score(seed, rate, 0.5, 0.9, 0.8 if rate == 1e-2 else float("nan"))
            for seed in trial.seeds
            for rate in trial.rates
        ]
        return scores, [Ablated(seed, 1e-2, layer, 0.9, 0.1 * layer) for seed in trial.seeds for layer in (0, 1)]

    return run


def test_each_is_done_once_and_what_failed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(module, "run", made_up(done))
    monkeypatch.setenv("EUTECTIC_KERNELS", "torch")
    place = Place("cpu", tmp_path)
    planned = PLAN.trials(["attn", "hyena+attn"], [RECALL, tasks.find("memorization(vocab=8,length=8)")])
    ids = [one.trial_id for one in planned]
    trials = Trials(tmp_path)
    trials.add(planned)
    assert [trials.status(one) for one in ids] == ["planned"] * 4
    assert trials.read(ids[0]) == planned[0]
    held = trials.claim(ids[0])
    assert held and trials.status(ids[0]) == "running" and trials.claim(ids[0]) is None
    work(tmp_path, ids, place)
    assert done == ids[1:]
    held.release()
    work(tmp_path, ids, place)
    assert sorted(done) == sorted(ids)
    assert [trials.status(one) for one in ids] == ["done", "failed"] * 2
    assert trials.failure(ids[1]) == "ValueError: nothing to learn" and trials.failure(ids[0]) == ""
    assert trials.collect() == 2 and trials.collect() == 0
    trials.add(planned)
    assert [trials.status(one) for one in ids] == ["done", "planned"] * 2
    work(tmp_path, ids, place)
    assert len(done) == 6


def test_a_trial_whose_process_is_to_go_is_left_to_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUTECTIC_KERNELS", "torch")
    signals = [set[int](), {int(signal.SIGTERM)}, {int(signal.SIGUSR2)}]
    monkeypatch.setattr(preemption, "asked", lambda: signals.pop(0))
    (trial,) = dataclasses.replace(PLAN, d_model=16, n_heads=2).trials(["attn"], [RECALL])
    trials = Trials(tmp_path)
    trials.add([trial])
    with pytest.raises(preemption.Preempted):
        work(tmp_path, [trial.trial_id], Place("cpu", tmp_path))
    assert signals == [] and trials.status(trial.trial_id) == "planned"
    monkeypatch.setattr(preemption, "asked", set)
    work(tmp_path, [trial.trial_id], Place("cpu", tmp_path))
    assert trials.status(trial.trial_id) == "done"


def test_rows_say_all_of_it_and_stay_when_folders_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(module, "run", made_up([]))
    monkeypatch.setenv("EUTECTIC_KERNELS", "torch")
    (trial,) = PLAN.trials(["hyena+attn"], [RECALL])
    trials = Trials(tmp_path)
    trials.add([trial])
    work(tmp_path, [trial.trial_id], Place("cpu", tmp_path))
    trials.collect()
    table = pq.read_table(tmp_path / "trials.parquet")
    assert table.schema.equals(schema.arrow_schema(schema.TRIALS))
    rows = table.to_pylist()
    assert [(row["seed"], row["lr"], row["test"]) for row in rows] == [
        *[(0, 1e-3, None), (0, 1e-2, 0.8), (1, 1e-3, None), (1, 1e-2, 0.8)]
    ]
    counts = flops.count(trial.model, 8)
    told = {"arch": "hyena+attn", "task": "recall", "settings": "recall(vocab=4,length=8)", "chance": 0.5}
    told |= {"params": counts.params, "state_dim": counts.state.dim, "length": 8, "batch": 128, "examples": 500}
    assert all(row.items() >= told.items() for row in rows)
    layers = pq.read_table(tmp_path / "ablation.parquet").to_pylist()
    assert [(row["seed"], row["layer"], row["mixer"], row["without"]) for row in layers] == [
        *[(0, 0, "hyena", 0.0), (0, 1, "attn", 0.1), (1, 0, "hyena", 0.0), (1, 1, "attn", 0.1)]
    ]
    shutil.rmtree(tmp_path / "trials")
    again = Trials(tmp_path)
    again.add([trial])
    assert again.status(trial.trial_id) == "done" and not (tmp_path / "trials").exists()
