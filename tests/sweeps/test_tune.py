"""Studies: no trial lost or doubled whoever dies, and a planted optimum found with its law."""

import argparse
import dataclasses
import json
import math
import os
import secrets
import shutil
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny
from processes import CONTEXT
from rich.console import Console

from eutectic import cli, commands
from eutectic.analysis.hyper import HyperOptimum
from eutectic.analysis.hyper_law import HyperLaw
from eutectic.analysis.load import load
from eutectic.analysis.tuned import Beside, Tuned, TunedLaw, tuned
from eutectic.arch import flops
from eutectic.arguments import parser
from eutectic.config import RunConfig
from eutectic.display.tune import show_tuned
from eutectic.display.words import compute
from eutectic.errors import UserError
from eutectic.sweeps import due, prune, tune
from eutectic.sweeps import plan as planning
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps.cells import FURTHER as VARIABLE
from eutectic.sweeps.cells import Cell
from eutectic.sweeps.cells import cells as cells_of
from eutectic.sweeps.cost import estimate
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.submit import STORAGE, Tuning
from eutectic.sweeps.worker import Place, work
from eutectic.train import log, loop
from eutectic.train.shards import Manifest

QUICK = recipes.find("quick")
FLOOR = 2.0
SMALL = "5e9"  # FLOPs, about the least that recipe plans for attn
# best settings: 0.02 (N / 10k)^-0.4 and 16 sequences (D / 1M)^0.5; curvatures in nats per squared e-folding
LR, BATCH, CURVATURE = (0.02, 1e4, -0.4), (16.0, 1e6, 0.5), (0.02, 0.01)
FURTHER = {"weight_decay": 0.06, "warmup_fraction": 0.2, "init_scale": 0.7}  # best values, their curvature 0.01
DIVERGED_ABOVE = 3.0  # times the best learning rate


def best(params: float, tokens: float) -> tuple[float, float]:
    (lr, n, a), (batch, d, b) = LR, BATCH
    return lr * (params / n) ** a, batch * (tokens / d) ** b


def further(config: RunConfig) -> float:
    """What a run loses by settings other than learning rate and batch."""
    return sum(0.01 * math.log(getattr(config.optim, name) / value) ** 2 for name, value in FURTHER.items())


def planted(config: RunConfig, _: Manifest, folder: Path, *__: object) -> None:
    """Leaves what training would, its loss a quadratic of the settings' logarithms."""
    lr, batch = best(flops.count(config.model, config.data.seq_len, config.conv_algorithm).params, config.tokens)
    x, y = math.log(config.optim.lr / lr), math.log(config.batch_size / batch)
    loss = FLOOR + CURVATURE[0] * x * x + CURVATURE[1] * y * y + further(config)
    status = "diverged" if x > math.log(DIVERGED_ABOVE) else "done"
    row = log.planned_columns(config) | {"status": status, "loss": loss, "source": "planted"}
    log.write_rows(folder / "curve.parquet", "curves", [{"run_id": config.run_id, "step": 1}])
    log.write_rows(folder / "run.parquet", "runs", [row])


def slow(config: RunConfig, manifest: Manifest, folder: Path, *_: object) -> None:
    time.sleep(0.05)  # workers that only ask would wait for the lock, not for each other
    planted(config, manifest, folder)


def stuck(config: RunConfig, manifest: Manifest, folder: Path, *_: object) -> None:
    time.sleep(600)


def work_with(train: Callable[..., None], *args: object) -> None:
    """A worker, in a process of its own, that trains what is planted."""
    loop.train = train  # type: ignore[assignment]
    tune.work(*args)  # type: ignore[arg-type]


def cells(manifest: Manifest, sampler: str = "tpe", also: tuple[str, ...] = (), **changes: object) -> list[Cell]:
    recipe = dataclasses.replace(QUICK, **({"budgets": (1e10,), "archs": ("attn",)} | changes))  # type: ignore[arg-type]
    return cells_of(recipe, planning.plan(recipe, manifest, 1), sampler, also)


def cache(manifest: Manifest) -> Path:
    return Path(manifest.folder).parents[1]


def place(manifest: Manifest) -> Place:
    return Place("cpu", cache(manifest))


def trial_ids(studies: tune.Studies) -> list[str]:
    """Runs of all trials, in the order asked."""
    return [t.user_attrs["run_id"] for study in studies.studies.values() for t in study.trials]


def files_in(folder: Path) -> list[tuple[Path, int]]:
    """With the times of their last changes."""
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file())


def test_a_cell_is_the_central_size_and_its_trials_keep_it(manifest: Manifest) -> None:
    recipe = dataclasses.replace(QUICK, budgets=(1e10, 3e10), archs=("attn", "hyena"), seeds=(0, 1))
    rows = planning.plan(recipe, manifest, 1)
    found = cells_of(recipe, rows)
    block = recipe.sizes * 2
    assert [cell.base for cell in found] == [row for k in range(4) for row in rows[k * block + 4 : k * block + 6]]
    for cell in found:
        for doublings in cell.doublings:
            run = cell.trial(0.0123456, doublings)
            assert (run.optim.lr, run.batch_size) == (0.0123, 2**doublings)
            assert (run.sequences, run.model) == (cell.base.sequences, cell.base.model)
            assert run.steps >= planning.FEWEST_STEPS and run.batch_size % run.micro_batch == 0
            assert run.micro_batch * recipe.seq_len <= recipe.micro_tokens
        assert 2 ** cell.doublings[0] < cell.base.batch_size < 2 ** cell.doublings[1]
        assert cell.lr == (cell.base.optim.lr / 10, cell.base.optim.lr * 10)
    three = cells_of(recipe, rows, sizes=3)
    assert [cell.base for cell in three] == [row for k in range(4) for row in rows[k * block + 2 : k * block + 8]]
    again = dataclasses.replace(recipe, seeds=(0, 1, 1))
    assert cells_of(again, planning.plan(again, manifest, 1)) == found
    assert set(found) < set(three)  # a tuning goes on when it is given more sizes


@pytest.mark.parametrize("database", [False, True])
def test_trials_are_runs_and_their_losses_are_told(
    database: bool, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "train", planted)
    found, url = cells(manifest), f"sqlite:///{tmp_path}/tune.db" if database else None
    tune.work(tmp_path, found, 6, url, place(manifest))
    tune.work(tmp_path, found, 12, url, place(manifest))  # goes on with the same study
    assert (tmp_path / "tune" / "journal.log").exists() != database
    studies = tune.Studies(tmp_path, found, 12, url)
    (study,) = studies.studies.values()
    ledger = Ledger(tmp_path)
    assert sorted(trial_ids(studies)) == ledger.run_ids() and len(study.trials) == 12
    assert ledger.collect() == 12 and studies.left() == 0
    statuses = Counter(ledger.status(i) for i in ledger.run_ids())
    assert statuses["diverged"] >= 1 and statuses["done"] + statuses["diverged"] == 12
    for trial in study.trials:
        run_id = trial.user_attrs["run_id"]
        assert trial.state == tune.STATES[ledger.status(run_id)]
        assert (ledger.loss(run_id) or 0) > FLOOR
        assert trial.value == (ledger.loss(run_id) if ledger.status(run_id) == "done" else None)


def test_tunings_that_share_a_database_keep_to_their_own_trials(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "train", planted)
    found, url = cells(manifest), f"sqlite:///{tmp_path}/tune.db"
    # others may have chosen the name, in a folder of results of their own
    mine, other, theirs = tmp_path / "results/t", tmp_path / "results/u", tmp_path / "theirs/t"
    for folder in (mine, other, theirs):
        tune.work(folder, found, 3, url, place(manifest))
    for folder in (mine, other, theirs):
        tune.work(folder, found, 4, url, place(manifest))
        studies = tune.Studies(folder, found, 4, url)
        assert len(trial_ids(studies)) == 4 and sorted(trial_ids(studies)) == Ledger(folder).run_ids()
        (study,) = studies.studies.values()
        assert study.study_name.startswith(f"{folder.name}-") and study.study_name.endswith(f": {found[0].study}")
    mine.rename(tmp_path / "results/renamed")
    assert tune.Studies(tmp_path / "results/renamed", found, 4, url).left() == 0
    assert tune.Studies(mine, found, 4, url).left() == 4, "a new tuning went on with the trials of one that is gone"
    (study,) = tune.Studies(tmp_path / "journal", found, 4).studies.values()
    assert study.study_name == found[0].study, "a journal of the folder's own has always named it so"


def test_a_setting_asked_twice_is_trained_once(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def counted(config: RunConfig, manifest: Manifest, folder: Path, *_: object) -> None:
        trained.append(config.run_id)
        planted(config, manifest, folder)

    monkeypatch.setattr(loop, "train", counted)
    (cell,) = cells(manifest)
    narrow = dataclasses.replace(cell, lr=(0.00999, 0.01001), doublings=(2, 3))  # at most six runs
    tune.work(tmp_path, [narrow], 15, None, place(manifest))
    studies = tune.Studies(tmp_path, [narrow], 15)
    assert studies.counts() == {narrow.study: {"complete": 15}}
    assert sorted(set(trial_ids(studies))) == sorted(trained) and len(trained) <= 6
    assert due.read(tmp_path) == [], "it is not the runs that are counted"


def test_what_is_yet_to_be_asked_is_known_without_the_studies(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "train", planted)
    first, second = cells(manifest, archs=("attn", "hyena"))
    seconds = [
        estimate(second.trial(1e-3, k), "cpu").seconds for k in range(second.doublings[0], second.doublings[1] + 1)
    ]
    studies = tune.Studies(tmp_path, [first, second], 5)
    assert [(d.budget, d.arch, d.trials) for d in due.read(tmp_path)] == [(1e10, "attn", 5), (1e10, "hyena", 5)]
    assert due.read(tmp_path)[1].load.seconds == pytest.approx(statistics.mean(seconds))
    taken = studies.take()
    assert taken is not None
    config, load = studies.ledger.config(taken[0]), Ledger(tmp_path).load(taken[0])
    assert config and load and load.seconds == estimate(config, "cpu").seconds
    assert [d.trials for d in due.read(tmp_path)] == [4, 5]
    tune.work(tmp_path, [first], 3, None, place(manifest))
    assert [(d.arch, d.trials) for d in due.read(tmp_path)] == [("hyena", 5)], "the other study's are still due"
    tune.Studies(tmp_path, [first, second], 7)
    assert [d.trials for d in due.read(tmp_path)] == [4, 7]


@pytest.mark.parametrize("sampler", tune.SAMPLERS)
def test_two_workers_neither_lose_nor_double_a_trial(sampler: str, manifest: Manifest, tmp_path: Path) -> None:
    found = cells(manifest, sampler, archs=("attn", "hyena"))
    workers = [
        CONTEXT.Process(target=work_with, args=(slow, tmp_path, found, 12, None, place(manifest), k)) for k in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    studies, ledger = tune.Studies(tmp_path, found, 12), Ledger(tmp_path)
    studies.settle()
    counts = studies.counts()
    assert {study: count.total() for study, count in counts.items()} == {cell.study: 12 for cell in found}
    assert all(set(count) <= {"complete", "diverged"} for count in counts.values())
    ids = trial_ids(studies)
    assert sorted(ids) == ledger.run_ids() and len(set(ids)) == 24
    assert all(ledger.load(run_id) for run_id in ids)
    # trained once each, and by both
    claims = list(ledger.runs.glob("*/claim-*.json"))
    assert len(claims) == 24 and len({claim.read_text().partition('"pid"')[2].split(",")[0] for claim in claims}) == 2


def test_a_killed_workers_trial_is_asked_again(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cells(manifest)
    worker = CONTEXT.Process(target=work_with, args=(stuck, tmp_path, found, 3, None, place(manifest)))
    worker.start()
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("runs/*/claim-0.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    while (tmp_path / "tune" / "ask.lock").exists():
        time.sleep(0.02)
    (victim,) = Ledger(tmp_path).run_ids()
    held = tune.Studies(tmp_path, found, 1)
    assert held.take() is None and held.left() == 1, "a trial was taken from its worker"
    assert worker.pid
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()

    # and one that dies within the lock leaves a trial without a run, which counts for nothing
    studies = tune.Studies(tmp_path, found, 3)
    studies.studies[found[0]].ask()
    monkeypatch.setattr(loop, "train", planted)
    tune.work(tmp_path, found, 3, None, place(manifest))
    ledger = Ledger(tmp_path)
    assert len(ledger.run_ids()) == 3 and ledger.status(victim) in ("done", "diverged")
    assert sorted(path.name for path in (ledger.runs / victim).glob("claim-*")) == ["claim-0.json", "claim-1.json"]
    assert studies.counts()[found[0].study].total() == 3 and studies.left() == 0
    assert [t.state.name for t in studies.studies[found[0]].trials if "run_id" not in t.user_attrs] == ["FAIL"]


def test_a_trial_whose_folder_was_deleted_is_trained_all_the_same(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cells(manifest)
    taken = tune.Studies(tmp_path, found, 2).take()
    assert taken
    shutil.rmtree(tmp_path / "runs" / taken[0])
    taken[1].release()
    monkeypatch.setattr(loop, "train", planted)
    tune.work(tmp_path, found, 2, None, place(manifest))
    assert tune.Studies(tmp_path, found, 2).left() == 0
    assert Ledger(tmp_path).collect() == 2 and taken[0] in Ledger(tmp_path).run_ids()


def test_a_run_that_fails_fails_its_trial(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(loop, "train", broken)
    found = cells(manifest)
    tune.work(tmp_path, found, 2, None, place(manifest))
    assert tune.Studies(tmp_path, found, 2).counts() == {found[0].study: {"fail": 2}}
    assert [Ledger(tmp_path).failure(i) for i in Ledger(tmp_path).run_ids()] == ["ValueError: broken"] * 2


@pytest.mark.parametrize("trained_by", ["tune", "retry"])
@pytest.mark.parametrize("database", [False, True])
def test_trials_of_retried_runs_are_told(
    trained_by: str, database: bool, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"attn": 3}

    def sometimes(config: RunConfig, manifest: Manifest, folder: Path, *_: object) -> None:
        broken["attn"] -= 1
        if broken["attn"] >= 0:
            raise ValueError("broken")
        planted(config, manifest, folder)

    monkeypatch.setattr(loop, "train", sometimes)
    found, url = cells(manifest), f"sqlite:///{tmp_path}/tune.db" if database else None
    name, ledger = found[0].study, Ledger(tmp_path)
    tune.work(tmp_path, found, 6, url, place(manifest))
    studies = tune.Studies(tmp_path, found, 6, url)
    assert studies.counts()[name]["fail"] == 3 and studies.left() == 0
    failed = [i for i, status in ledger.statuses().items() if status == "failed"]

    broken["attn"] = 1
    ledger.retry(failed)
    studies.settle()
    assert studies.counts()[name]["running"] == studies.left() == 3
    if trained_by == "retry":
        work(tmp_path, failed, place(manifest))
    else:
        tune.work(tmp_path, found, 6, url, place(manifest))
    studies.settle()
    counts = studies.counts()[name]
    assert counts["fail"] == 1 and counts.total() == 6 and studies.left() == 0, "one failed again"
    ledger.retry(failed)  # what has not failed has no failure to forget
    tune.work(tmp_path, found, 7, url, place(manifest))
    studies = tune.Studies(tmp_path, found, 7, url)
    assert set(studies.counts()[name]) <= {"complete", "diverged"} and studies.counts()[name].total() == 7
    (study,) = studies.studies.values()
    told = {t.user_attrs["run_id"]: t for t in study.trials if t.state.name != "FAIL"}
    assert sorted(told) == Ledger(tmp_path).run_ids() and len(told) == 7
    for run_id in failed:
        assert told[run_id].value == (ledger.loss(run_id) if ledger.status(run_id) == "done" else None)
        assert ledger.config(run_id) == found[0].trial(**told[run_id].params)


@pytest.mark.parametrize("sampler", tune.SAMPLERS)
def test_samplers_shun_what_diverges(
    sampler: str, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses fall towards the rate above which runs diverge: a sampler that does not learn of these asks for them."""

    def falling(config: RunConfig, manifest: Manifest, folder: Path, *_: object) -> None:
        planted(config, manifest, folder)
        rate = math.log(config.optim.lr / 0.03)
        loss, status = FLOOR - 0.1 * rate, "diverged" if rate > 0 else "done"
        row = log.planned_columns(config) | {"status": status, "loss": loss, "source": "planted"}
        log.write_rows(folder / "run.parquet", "runs", [row])

    monkeypatch.setattr(loop, "train", falling)
    found = cells(manifest, sampler)
    tune.work(tmp_path, found, 25, None, place(manifest))
    (study,) = tune.Studies(tmp_path, found, 25).studies.values()
    above = [trial.params["lr"] > 0.03 for trial in study.trials]
    assert all((trial.state.name == "PRUNED") == high for trial, high in zip(study.trials, above, strict=True))
    assert sum(above[:12]) >= 2 and sum(above[12:]) <= 7


@pytest.mark.parametrize("url", ["nowhere", "sqlite:////no/such/folder/t.db", "nosuch://me:secret@nowhere/db"])
def test_a_storage_that_cannot_be_opened_is_said(url: str, manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"of --storage or EUTECTIC_STORAGE cannot be opened \(.*\); give an SQLAlchemy URL"
    ) as caught:
        tune.Studies(tmp_path, cells(manifest), 1, url)
    assert "secret" not in str(caught.value)


def test_a_driver_that_is_not_there_is_said(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "MySQLdb", None)  # whether it is installed or not
    with pytest.raises(
        UserError, match=r"needs a driver that cannot be loaded here \(.*MySQLdb.*\); install"
    ) as caught:
        tune.Studies(tmp_path, cells(manifest), 1, "mysql://me:secret@nowhere/db")
    assert "secret" not in str(caught.value)


def test_the_planted_optimum_and_its_laws_are_found(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "train", planted)
    # text for the largest budget is not there to be read, and planted training reads none
    found = cells(manifest, budgets=(1e10, 3e10, 1e11, 1e12))
    tune.work(tmp_path, found, 20, None, place(manifest))
    ledger = Ledger(tmp_path)
    ledger.collect()
    floor = FLOOR + further(found[0].base)
    for study in tune.Studies(tmp_path, found, 20).studies.values():
        above = [(ledger.loss(trial.user_attrs["run_id"]) or 0.0) - floor for trial in study.trials]
        # ten trials by chance, then ten by what they taught
        assert statistics.median(above[10:]) < 0.5 * statistics.median(above[:10])
    fitted = tuned(load(tmp_path))
    assert [o.status for o in fitted.optima] == ["optimum"] * 4
    for cell in fitted.optima:
        lr, batch = best(cell.params, cell.tokens)
        assert cell.values == pytest.approx({"lr": lr, "batch": batch * QUICK.seq_len}, rel=1e-6)
        assert cell.loss == pytest.approx(floor, abs=1e-9)
    lr_law, batch_law = fitted.laws
    for law, (scale, reference, exponent) in ((lr_law, LR), (batch_law, BATCH)):
        assert law.fitted is not None and law.fitted.n == law.cells == 4
        assert law.fitted.exponents == pytest.approx({law.over[0]: exponent}, abs=1e-6)
        unit = 1 if law.target == "lr" else QUICK.seq_len
        assert law.fitted.constant == pytest.approx(unit * scale * reference**-exponent, rel=1e-5)
    step_law, deepseek, porian = lr_law.published
    assert porian.exponents == pytest.approx({"params": -1 / 3})
    middle = math.exp(sum(math.log(cell.params) for cell in fitted.optima) / 4)
    assert porian.value == pytest.approx(0.0047 * (middle / 108e6) ** (-1 / 3))
    # along cells whose tokens grow with their parameters by this power
    n, d = ([math.log(getattr(cell, name)) for cell in fitted.optima] for name in ("params", "tokens"))
    power = statistics.linear_regression(n, d).slope
    assert step_law.exponents == pytest.approx({"params": -0.713 + 0.307 * power})
    assert deepseek.exponents == pytest.approx({"params": -0.125 * (1 + power)})
    assert batch_law.published[0].exponents == pytest.approx({"tokens": 0.571})


def test_a_further_setting_that_is_0_is_refused(manifest: Manifest) -> None:
    with pytest.raises(UserError, match="weight_decay is 0 in recipe quick, and no factor changes that"):
        cells(manifest, also=("weight_decay",), optim=dataclasses.replace(QUICK.optim, weight_decay=0.0))


def test_further_settings_are_tried_about_the_recipes_and_their_best_are_found(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "train", planted)
    (plain,), (cell,) = cells(manifest), cells(manifest, also=tuple(FURTHER))
    assert plain.study != cell.study
    tune.work(tmp_path, [cell], 50, None, place(manifest))
    runs = [Ledger(tmp_path).config(run_id) for run_id in Ledger(tmp_path).run_ids()]
    assert tuple(VARIABLE) == tuple(FURTHER)
    for name, low, high in (("weight_decay", 0.01, 1.0), ("warmup_fraction", 0.05, 0.45), ("init_scale", 1 / 3, 3.0)):
        tried = {getattr(run.optim, name) for run in runs if run}
        assert len(tried) > 30 and low <= min(tried) < 2 * low and high / 2 < max(tried) <= high
    Ledger(tmp_path).collect()
    loaded = load(tmp_path)
    assert len(loaded.used) == 1, "runs that differ in settings alone are of one cell"
    (optimum,) = tuned(loaded).optima
    lr, batch = best(optimum.params, optimum.tokens)
    assert optimum.values == pytest.approx({"lr": lr, "batch": batch * QUICK.seq_len, **FURTHER}, rel=1e-6)
    assert optimum.loss == pytest.approx(FLOOR, abs=1e-9)


@pytest.mark.parametrize("sampler", tune.SAMPLERS)
def test_hopeless_runs_are_given_up_and_dropped_and_the_optimum_is_as_good(
    sampler: str, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_fifths(
        config: RunConfig, manifest: Manifest, folder: Path, device: str, hooks: loop.Hooks, *_: object
    ) -> None:
        """Planted losses that are approached, at high rates from higher up; they end where they are hopeless."""
        planted(config, manifest, folder)
        row = pq.read_table(folder / "run.parquet").to_pylist()[0]
        losses: list[float] = []
        for k in range(1, 6):
            losses.append(row["loss"] + (5 - k) * (0.12 if config.optim.lr > 0.02 else 0.1))
            if k < 5 and hooks.hopeless(losses):
                row |= {"status": "pruned", "loss": losses[-1]}
                break
        curve = [{"run_id": config.run_id, "step": k, "valid_loss": loss} for k, loss in enumerate(losses)]
        log.write_rows(folder / "curve.parquet", "curves", curve)
        log.write_rows(folder / "run.parquet", "runs", [row])

    monkeypatch.setattr(loop, "train", by_fifths)
    monkeypatch.setattr(prune, "FEWEST", 4)
    recipe, (base,) = dataclasses.replace(QUICK, budgets=(1e10,), archs=("attn",)), cells(manifest, sampler)
    (cell,) = cells_of(recipe, planning.plan(recipe, manifest, 1), sampler, prune=True)
    assert cell.study == base.study
    tune.work(tmp_path, [cell], 30, None, place(manifest))
    studies, ledger = tune.Studies(tmp_path, [cell], 30), Ledger(tmp_path)
    statuses = Counter(ledger.status(i) for i in ledger.run_ids())
    assert statuses["pruned"] >= 2
    asked, counts = Counter(ledger.status(i) for i in trial_ids(studies)), studies.counts()[cell.study]
    assert counts == {"complete" if status == "done" else status: n for status, n in asked.items()}
    assert studies.left() == 0
    # none of these would have ended in the window that optima are fitted in
    for trial in studies.studies[cell].trials:
        run = ledger.config(trial.user_attrs["run_id"])
        if run and ledger.status(run.run_id) == "pruned":
            lr, batch = best(flops.count(run.model, run.data.seq_len, run.conv_algorithm).params, run.tokens)
            x, y = math.log(run.optim.lr / lr), math.log(run.batch_size / batch)
            assert CURVATURE[0] * x * x + CURVATURE[1] * y * y > prune.WINDOW
            assert trial.state.name == "PRUNED" and trial.value is None
    ledger.collect()
    loaded = load(tmp_path)
    assert Counter(loaded.dropped["reason"])["pruned"] == statuses["pruned"]
    (optimum,) = tuned(loaded).optima
    assert optimum.n_runs == statuses["done"]
    lr, batch = best(optimum.params, optimum.tokens)
    assert optimum.values == pytest.approx({"lr": lr, "batch": batch * QUICK.seq_len}, rel=1e-6)


@pytest.fixture
def at_home(tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are given in an empty folder, and find the corpus's tokens made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EUTECTIC_CACHE", str(cache(manifest)))


def options(*arguments: str) -> argparse.Namespace:
    return parser().parse_args(["tune", *arguments])


@pytest.mark.usefixtures("at_home")
def test_the_command_trains_shows_and_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eutectic.sweeps.cells.BATCH_DOUBLINGS", 1)  # batches of a sequence take a thousand steps
    command = ["--recipe", tiny.__file__, "--source", str(corpus), "--name", "t"]
    assert commands.tune(options(*command, "--trials", "1")) == 0  # by a worker of its own
    lines = capsys.readouterr().out.splitlines()
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert cells[0][0].startswith("attn at ") and cells[0][1:] == ["1", "0", "0", "0", "0"]
    assert (cells[1][0], cells[1][-1]) == ("attn", "too few points")
    assert cells[2][:3] == ["attn", "learning rate", "none: three cells with an optimum are needed"]
    assert (
        commands.tune(options(*command, "--trials", "2", "--sampler", "gp", "--prune", "--cluster", "debug", "--json"))
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (list(said["trials"].values()), said["failed"], said["unfinished"]) == ([{"complete": 2}], {}, 0)
    rows = pq.read_table(tmp_path / "results/t/runs.parquet").to_pylist()
    assert sorted(row["run_id"] for row in rows) == Ledger(tmp_path / "results/t").run_ids() and len(rows) == 2
    (cell,) = said["report"]["optima"]
    best = min(rows, key=lambda row: row["loss"])
    assert (cell["n_runs"], cell["best_loss"], cell["params"]) == (2, best["loss"], best["params"])
    assert cell["best"] == pytest.approx({"lr": best["lr"], "batch": best["batch_size"] * best["seq_len"]})


@pytest.mark.usefixtures("at_home")
def test_retry_trains_a_tunings_runs_again_and_tune_tells_of_them(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning = ["tune", "--archs", "attn", "--budget", SMALL, "--source", str(corpus), "--name", "t", "--trials", "3"]
    tuning += ["--workers", "1", "--cluster", "debug"]

    def broken(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(loop, "train", broken)
    assert cli.main(tuning) == 1
    assert "3 of 3 runs failed; `eutectic retry` trains those again." in capsys.readouterr().err
    monkeypatch.setattr(loop, "train", planted)
    retry = ["retry", "--name", "t", "--workers", "1", "--cluster", "debug"]
    assert cli.main(retry) == 0
    said = capsys.readouterr()
    assert "the studies are told of these runs by the next `eutectic tune`" in said.err
    assert "best settings" in said.out and "isoFLOP" not in said.out
    for run_id in Ledger(tmp_path / "results/t").run_ids():
        shutil.rmtree(tmp_path / "results/t/runs" / run_id)  # its row is collected
    monkeypatch.setattr(loop, "train", broken)
    assert cli.main([*tuning, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (counts,) = told["trials"].values()
    assert set(counts) <= {"complete", "diverged"} and sum(counts.values()) == 3
    assert (told["failed"], told["unfinished"]) == ({}, 0)


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.usefixtures("at_home")
def test_the_databases_url_reaches_workers_and_no_file(
    exported: bool, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    password = secrets.token_hex(8)  # no word of this file, whose changes are kept beside the code of a sweep
    url = f"sqlite:///{tmp_path}/{password}.db"
    monkeypatch.setenv(STORAGE, url if exported else "")
    monkeypatch.setattr("eutectic.sweeps.cells.BATCH_DOUBLINGS", 1)
    command = ["--recipe", tiny.__file__, "--source", str(corpus), "--name", "t", "--trials", "1"]
    place = ["--cluster", "debug"] if exported else ["--storage", url]  # a process of its own for one of the two
    assert commands.tune(options(*command, *place)) == 0
    assert (tmp_path / f"{password}.db").exists() and not (tmp_path / "results/t/tune/journal.log").exists()
    written = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert exported or len([path for path in written if path.suffix == ".pkl"]) >= 1
    assert not [path for path in written if password.encode() in path.read_bytes()]
    assert password not in "".join(capfd.readouterr())


def test_a_job_without_its_databases_url_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STORAGE, raising=False)
    job = Tuning(folder=tmp_path, device="cpu", cache=tmp_path, cells=[], trials=1, in_database=True)
    with pytest.raises(UserError, match=r"EUTECTIC_STORAGE is not in this job's environment; submit it with"):
        job.work()


@pytest.mark.usefixtures("at_home")
def test_a_dry_tuning_says_what_its_trials_cost_and_writes_nothing(
    corpus: Path, tmp_path: Path, manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tune", "--dry", "--archs", "attn", "hyena", "--budgets", "1e10", "3e10", "--source", str(corpus)]
    assert cli.main([*command, "--trials", "7", "--sizes", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    said = told["studies"]
    recipe = dataclasses.replace(QUICK, budgets=(1e10, 3e10), archs=("attn", "hyena"))
    found = cells_of(recipe, planning.plan(recipe, manifest, 1), sizes=3)
    assert [(study["study"].partition(", ")[0], study["trials"]) for study in said] == [
        (f"{cell.base.model.layout} at {cell.base.budget:.3g}", 7) for cell in found
    ]
    for cell, study in zip(found, said, strict=True):
        several = [estimate(cell.trial(1e-3, k), "cpu") for k in range(cell.doublings[0], cell.doublings[1] + 1)]
        assert study["seconds"] == pytest.approx(statistics.mean(cost.seconds for cost in several))
        assert study["flops"] == pytest.approx(cell.base.budget, rel=0.01)
        assert study["memory"] == max(cost.memory for cost in several)
    assert cli.main([*command, "--trials", "7", "--sizes", "3", "--price", "3600"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[c.strip() for c in line.split("│")[1:-1]] for line in lines if "│" in line]
    for k, row in enumerate(rows):
        three = said[3 * k : 3 * k + 3]
        assert row[1:4] == [found[3 * k].base.model.layout, "21", compute(7 * sum(study["flops"] for study in three))]
        assert float(row[-1]) == pytest.approx(7 * sum(study["seconds"] for study in three), abs=0.01)
    total = 7 * sum(study["seconds"] for study in said)
    assert (told["wall_seconds"], told["device_hours"]) == pytest.approx((total / 2, total / 3600), rel=0.02)
    assert f"{total:.2f} at 3600 an hour of a CPU" in " ".join(" ".join(lines).split())
    command += ["--cluster", "slurm", "--workers", "100", "--slurm", "partition=gpu"]
    assert cli.main([*command, "--trials", "5"]) == 0
    assert "#SBATCH --array=0-19%20" in capsys.readouterr().out, "no more tasks than trials"
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("database", [False, True])
@pytest.mark.usefixtures("at_home")
def test_a_dry_tuning_leaves_out_what_has_ended(
    database: bool,
    corpus: Path,
    tmp_path: Path,
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the first study two trials, one was begun and lost and one is to be asked."""
    monkeypatch.setattr(loop, "train", planted)
    folder, url = tmp_path / "results/t", f"sqlite:///{tmp_path}/tune.db" if database else None
    asked = cells(manifest, archs=("attn", "hyena"))
    tune.work(folder, asked[:1], 2, url, place(manifest))
    taken = tune.Studies(folder, asked[:1], 4, url).take()
    assert taken
    taken[1].release()
    command = ["tune", "--dry", "--archs", "attn", "hyena", "--budgets", "1e10", "--source", str(corpus), "--name", "t"]
    command += ["--cluster", "slurm", "--workers", "100", "--trials", "4", *(["--storage", url] if url else [])]
    before = files_in(tmp_path)
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "6 trials on cpu" in out and "#SBATCH --array=0-5%6" in out
    assert cli.main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [study["trials"] for study in told["studies"]] == [2, 4]
    assert [text.partition("--array=0-")[2][:3] for text in told["scripts"]] == ["5%6", ""]
    assert files_in(tmp_path) == before
    assert tune.Studies(folder, asked, 4, url).left() == 6


def test_optima_and_laws_are_shown_with_their_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    found = HyperOptimum(
        "attn", 1e6, 2e7, "optimum", 24, 20, 2.5, {"lr": 0.01, "batch": 512.0}, {"lr": 0.0123, "batch": 1024.0},
        {"lr": 0.1, "batch": 0.2}, {"lr": (0.01, 0.015), "batch": (700.0, 1500.0)}, 2.4, 0.01,
        {"lr": 0.01, "batch": 512.0}, hessian=((0.04, 0.0), (0.0, 0.02)), excess=0.07,
    )  # fmt: skip
    intervals = {"coefficient": (0.011, 0.013), "params": (-0.5, -0.3)}
    fitted = HyperLaw("lr", 0.012, {"params": 1e6}, {"params": -0.4}, intervals, (), 4, 0.0, 1.0, (), ())
    porian = Beside("Porian et al. (2024)", 0.0224, {"params": -1 / 3})
    law = TunedLaw("attn", "lr", ("params",), 4, fitted, (porian,))
    both = dataclasses.replace(
        fitted,
        centre={"params": 1e6, "tokens": 2e7},
        exponents={"params": -0.6, "tokens": 0.25},
        intervals=intervals | {"params": (-0.65, -0.55), "tokens": (0.2, 0.3)},
        n=9,
    )
    step_law = Beside("Step Law (Li et al. 2025)", 0.0123, {"params": -0.713, "tokens": 0.307})
    laws = law, TunedLaw("attn", "lr", ("params", "tokens"), 9, both, (step_law, porian))
    show_tuned(Console(width=120, highlight=False), Tuned((found,), laws), {"attn at 1": {"complete": 23, "fail": 1}})
    lines = capsys.readouterr().out.splitlines()
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert cells[0] == ["attn at 1", "23", "0", "0", "1", "0"]
    twice = f"{0.04 * math.log(2) ** 2 / 2:.3f}"
    assert cells[1] == [
        "attn",
        "1M",
        "20M",
        "20 of 24",
        "0.07",
        "0.0123 [0.01, 0.015]",
        "1.02k [700, 1.5k]",
        "2.400",
        twice,
    ]
    value = "0.012 [0.011, 0.013]"
    assert cells[2] == ["attn", "learning rate", "4 cells, at 1M N", value, "N^-0.40 [-0.50, -0.30]"]
    assert cells[3] == ["", "", "Porian et al. (2024)", "0.0224", "N^-0.33"]
    assert cells[4] == ["attn", "learning rate", "9 cells, at 1M N", value, "N^-0.60 [-0.65, -0.55]"]
    assert cells[5] == ["", "", "and 20M D", "", "D^0.25 [0.20, 0.30]"]
    assert cells[6] == ["", "", "Step Law (Li et al. 2025)", "0.0123", "N^-0.71 D^0.31"]
    assert cells[7] == cells[3]
    # of settings that vary in one cell, and whose best is not decided there
    wider = {name: values | {"weight_decay": 0.09} for name, values in (("best", found.best), ("centre", found.centre))}
    kept = dataclasses.replace(found, **wider)
    show_tuned(Console(width=120, highlight=False), Tuned((found, kept), ()), {})
    shown = [line.split("│")[8].strip() for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert shown == ["one tried", "0.09 kept"]


@pytest.mark.parametrize("command", ["plan", "sweep"])
@pytest.mark.usefixtures("at_home")
def test_a_sweep_in_a_tunings_folder_is_refused(
    command: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results/t/tune").mkdir(parents=True)
    asked = ("--archs", "attn", "--budget", SMALL, "--source", str(corpus))
    assert cli.main([command, "--name", "t", *asked]) == 1
    refusal = "results/t holds a tuning, whose fits the runs of a sweep would spoil; choose another --name."
    assert refusal in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "results/t").iterdir()] == ["tune"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trials", "0"], "--trials 0 asks for nothing"),
        (["--trials", "many"], "--trials 'many' is not a whole number"),
        (["--sizes", "2"], "--sizes 2 are not to be had about the size expected best; give an odd number of the 5"),
        (["--sizes", "7"], "--sizes 7 are not to be had about the size expected best; give an odd number of the 5"),
        (["--name", "s"], "results/s holds a sweep"),
        (["--storage", "nowhere"], "the database of --storage or EUTECTIC_STORAGE cannot be opened (ArgumentError)"),
        (
            ["--also", "clip"],
            "--also 'clip' is no setting to vary; choose of weight_decay, warmup_fraction, init_scale",
        ),
        (["--budgets", "1e30"], "too large for the ladder"),
    ],
)
@pytest.mark.usefixtures("at_home")
def test_bad_input_gets_one_sentence(arguments: list[str], words: str, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "results" / "s" / "runs").mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        commands.tune(options("--archs", "attn", "--budgets", SMALL, "--source", str(corpus), *arguments))
    assert words in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["results", "s", "runs"], "a refusal left something behind"
