"""Runs on two devices each, through torchrun and through a sweep's jobs: the runs that one trains."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import inside
import pyarrow.parquet as pq
import pytest
from together import fail, together
from trackers import in_tensorboard

from eutectic.config import RunConfig
from eutectic.sweeps import cost, provenance, submit, worker
from eutectic.sweeps.ledger import Ledger
from eutectic.train.parallel import Ranks
from eutectic.train.shards import Manifest
from eutectic.train.step import Stepper

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def test_torchrun_trains_the_run_that_one_device_does(small_run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    cache, run_id = Path(manifest.folder).parents[1], small_run.run_id
    one, two = Ledger(tmp_path / "one"), Ledger(tmp_path / "two")
    for ledger in (one, two):
        provenance.open_sweep(ledger.folder, provenance.of_code(), False)
        ledger.add([small_run])
    worker.work(one.folder, [run_id], worker.Place("cpu", cache))
    done = subprocess.run(
        [sys.executable, *TORCHRUN, "-m", "eutectic.cli", "run", run_id, "--results", ".", "--name", "two", "--json"],
        cwd=tmp_path,
        env=os.environ | {"EUTECTIC_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "done", "one of the two is to answer"
    assert two.loss(run_id) == pytest.approx(one.loss(run_id), rel=1e-6)


def test_a_job_trains_each_run_on_two_devices(small_run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    """And hands the tracker to its two processes, of which one writes; they leave when its files are whole."""
    pytest.importorskip("tensorboard")
    other = dataclasses.replace(small_run, seed=4)
    ledger = Ledger(tmp_path / "s")
    provenance.open_sweep(ledger.folder, provenance.of_code(), False)
    ledger.add([small_run, other])
    for run in (small_run, other):
        ledger.fail(run.run_id, "to be tried again")
    place = ["--device", "cpu", "--workers", "1", "--devices", "2", "--spread", "fsdp2", "--track", "tensorboard"]
    cache = str(Path(manifest.folder).parents[1])
    done = inside.eutectic("retry", "--results", ".", "--name", "s", *place, cwd=tmp_path, EUTECTIC_CACHE=cache)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "s/runs.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["done", "done"]
    assert all(row["device"].startswith("2 x ") for row in rows)
    for run in (small_run, other):
        points, final = in_tensorboard(ledger.folder, run)
        assert [step for step, _ in points] == list(range(1, 22))
        assert len(list(ledger.folder.glob(f"tensorboard/{run.run_id}/events*"))) == 2, "the curve's and the settings'"
        assert final["loss"] == pytest.approx(ledger.loss(run.run_id), rel=1e-6)


def test_a_job_on_slurm_has_a_task_and_a_gpu_for_each_device() -> None:
    cluster = submit.Cluster("slurm", 2, "cuda", 8, 1.0, 16e9, {"nodes": 2}, devices=4)
    lines = submit.scripts(cluster, Path("/sweep"))[0].splitlines()
    wanted = ("nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "cpus-per-task=8", "mem=64GB")
    assert {f"#SBATCH --{option}" for option in wanted} <= set(lines)


def test_what_no_device_holds_is_shared_or_recomputed(small_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, half = (cost.estimate(small_run, "cuda", devices).memory for devices in (1, 2))
    for has, world, given, expected in (
        (alone, 1, None, (None, False)),
        (alone - 1, 1, None, (None, True)),
        (alone, 2, None, (False, False)),
        (alone - 1, 2, None, (True, False)),
        (half - 1, 2, None, (True, True)),
        (alone - 1, 2, False, (False, True)),
    ):
        monkeypatch.setattr(cost, "available_memory", lambda device, workers, has=has: has)
        ranks, recompute = worker._spread(small_run, "cuda", Ranks(0, world, given))
        assert (ranks.sharded, recompute) == expected


def test_a_run_that_does_not_fit_is_trained_and_recomputed(
    small_run: RunConfig, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = cost.estimate(small_run, "cpu").memory
    steppers, losses = [], []
    init = Stepper.__init__

    def noted(self: Stepper, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        steppers.append(self)

    monkeypatch.setattr(Stepper, "__init__", noted)
    for has in (needed, needed - 1):
        monkeypatch.setattr(cost, "available_memory", lambda device, workers, has=has: has)
        ledger = Ledger(tmp_path / str(has))
        ledger.add([small_run])
        worker.work(ledger.folder, [small_run.run_id], worker.Place("cpu", Path(manifest.folder).parents[1]))
        losses.append(ledger.loss(small_run.run_id))
    assert [stepper.model.recompute for stepper in steppers] == [False, True]
    assert losses[0] == losses[1] is not None


@pytest.mark.parametrize(
    ("killed", "status", "failure"), [(False, "failed", "MemoryError: none is left"), (True, "planned", "")]
)
def test_a_rank_that_fails_says_why_and_one_that_is_killed_leaves_the_run_planned(
    killed: bool, status: str, failure: str, small_run: RunConfig, manifest: Manifest, tmp_path: Path
) -> None:
    """The other loses its connection, and ends as well, with nothing to tell."""
    ledger = Ledger(tmp_path)
    ledger.add([small_run])
    told = together(2, fail, tmp_path, small_run.run_id, Path(manifest.folder).parents[1], killed)
    assert told[0].startswith(f"rank 0 of run {small_run.run_id} cannot go on")
    assert (ledger.status(small_run.run_id), ledger.failure(small_run.run_id)) == (status, failure)
