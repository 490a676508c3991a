"""What workers have spent and how long the rest will take them, by numbers that one can check by hand."""

import dataclasses
import multiprocessing
import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from eutectic import files
from eutectic.config import RunConfig
from eutectic.sweeps import claim, due, timesheet
from eutectic.sweeps.cost import Load
from eutectic.sweeps.due import Due
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.standing import Pace, look, pace

MINUTE, HOUR = 60.0, 3600.0


class Sweep:
    """Runs of 100 s each, by the cost model, that were never trained; their folders say what became of them."""

    def __init__(self, folder: Path, run: RunConfig, runs: int, at_once: int = 1, busy: float = 0.5):
        self.ledger = Ledger(folder)
        configs = [dataclasses.replace(run, seed=seed) for seed in range(runs)]
        self.ids = [config.run_id for config in configs]
        self.ledger.add(configs, dict.fromkeys(self.ids, Load(seconds=100.0, busy=busy, at_once=at_once)))
        self.statuses = dict.fromkeys(self.ids, "planned")

    def become(self, status: str, *runs: int) -> None:
        self.statuses.update({self.ids[k]: status for k in runs})

    def run(self, k: int, step: int, steps: int) -> None:
        self.become("running", k)
        files.write_json(self.ledger.runs / self.ids[k] / "progress.json", {"step": step, "steps": steps, "loss": None})

    def work(
        self, seconds: float, until: float = 0.0, devices: int = 1, host: str = "elsewhere", idle: float = 0.0
    ) -> None:
        """Somebody was at it for so long, until so many seconds ago, and for the last `idle` of them ended no run."""
        folder = files.make_folder(self.ledger.folder / "workers")
        path, beat = folder / f"{len(os.listdir(folder))}.json", time.time() - until
        times = {"since": beat - seconds, "until": beat - idle}
        own = {"host": host, "pid": 1, "born": "?", "devices": devices}
        files.write_json(path, own | times | {"place": folder.stat().st_ino})
        os.utime(path, (beat, beat))

    def pace(self) -> Pace:
        return pace(Ledger(self.ledger.folder), self.statuses)


@pytest.fixture
def sweep(tmp_path: Path, small_run: RunConfig) -> Sweep:
    return Sweep(tmp_path, small_run, runs=6)


def test_a_sweep_that_nobody_has_begun_has_cost_nothing_and_ends_at_no_time(sweep: Sweep) -> None:
    assert sweep.pace() == Pace(None, None, 0, None)


def test_hours_are_those_of_workers_however_many_and_whatever_became_of_their_runs(sweep: Sweep) -> None:
    sweep.work(2 * HOUR, until=5 * HOUR)
    sweep.work(HOUR, until=3 * MINUTE, devices=4)
    sweep.work(30 * MINUTE)
    sweep.become("failed", 0, 1)
    got = sweep.pace()
    assert got.worker_seconds == pytest.approx(3.5 * HOUR, abs=1)
    assert got.device_seconds == pytest.approx((2 + 4 + 0.5) * HOUR, abs=1)
    assert got.workers == 1


def test_before_a_run_is_done_the_model_tells_the_time(sweep: Sweep) -> None:
    sweep.work(1000.0)
    sweep.run(0, step=1, steps=4)
    # 75 s of one run and 100 s of each other
    assert sweep.pace().eta == pytest.approx(575)
    sweep.work(10.0)
    assert sweep.pace().eta == pytest.approx(575 / 2)


def test_then_the_pace_so_far_does(sweep: Sweep) -> None:
    sweep.become("done", 0, 1)
    sweep.run(2, step=1, steps=2)
    sweep.work(750.0)
    # 250 s of the model took 750; 350 are left
    assert sweep.pace().eta == pytest.approx(3 * 350, abs=2)
    sweep.work(0.0)
    sweep.work(0.0)
    assert sweep.pace().eta == pytest.approx(3 * 350 / 3, abs=2)
    # six more, and nobody can share a run
    for _ in range(6):
        sweep.work(0.0)
    assert sweep.pace().eta == pytest.approx(3 * 100, abs=2)


def test_what_failed_or_diverged_has_been_paid_for_and_is_no_longer_to_be_done(sweep: Sweep) -> None:
    sweep.become("done", 0)
    sweep.become("failed", 1)
    sweep.become("diverged", 2)
    sweep.become("pruned", 3)
    sweep.work(200.0)
    assert sweep.pace().eta == pytest.approx(2 * 200, abs=2)


def test_trials_that_are_yet_to_be_asked_are_left(sweep: Sweep) -> None:
    sweep.become("done", *range(5))
    sweep.run(5, step=1, steps=2)
    sweep.work(1100.0)
    folder = sweep.ledger.folder
    (folder / "tune").mkdir()
    loads = [Load(seconds=seconds, busy=0.5, at_once=1) for seconds in (100.0, 40.0)]
    due.note(folder, {"first": Due(1e8, "attn", 3, loads[0]), "second": Due(1e8, "hyena", 1, loads[1])})
    # 550 s of the model took 1100; half a run, three and a shorter one are left
    assert pace(Ledger(folder), sweep.statuses, due.read(folder)).eta == pytest.approx(2 * 390, abs=2)
    due.note(folder, {"second": Due(1e8, "hyena", 0, loads[1])})
    standing = look(folder)
    assert (standing.due, standing.total) == ([Due(1e8, "attn", 3, loads[0])], 9)
    sweep.become("done", 5)
    assert pace(Ledger(folder), sweep.statuses, standing.due).eta == pytest.approx(1100 / 600 * 300, abs=2)


def test_runs_that_share_a_gpu_are_not_counted_several_times(tmp_path: Path, small_run: RunConfig) -> None:
    """Six at once, each of which took 350 s of 100 by itself: the worker took 350, as the model has it."""
    sweep = Sweep(tmp_path, small_run, runs=12, at_once=8)
    sweep.work(350.0)
    sweep.become("done", *range(6))
    got = sweep.pace()
    assert got.worker_seconds == pytest.approx(350, abs=1)
    assert got.eta == pytest.approx(350, abs=2)


def test_no_time_is_told_where_nobody_is_at_it_or_a_run_was_not_estimated(sweep: Sweep, small_run: RunConfig) -> None:
    sweep.become("done", 0)
    sweep.work(100.0, until=claim.LEASE_SECONDS + 5)
    assert (sweep.pace().workers, sweep.pace().eta) == (0, None)
    sweep.work(100.0)
    assert sweep.pace().eta is not None
    other = dataclasses.replace(small_run, seed=99)
    sweep.ledger.add([other])
    sweep.statuses[other.run_id] = "planned"
    assert (sweep.pace().workers, sweep.pace().eta) == (1, None)
    sweep.statuses[other.run_id] = "done"
    assert sweep.pace().eta is not None


def test_a_sweep_that_is_done_has_no_time_left(sweep: Sweep) -> None:
    sweep.become("done", *range(6))
    sweep.work(100.0)
    assert sweep.pace().eta is None


def test_a_worker_is_one_while_it_claims_and_is_gone_with_its_process(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setenv("WORLD_SIZE", "2")
    began = claim.now(sweep.ledger.folder)
    first, second = sweep.ledger.claim(sweep.ids[0]), Ledger(sweep.ledger.folder).claim(sweep.ids[1])
    assert first and second
    time.sleep(0.3)
    (shift,) = timesheet.shifts(sweep.ledger.folder)
    assert 0.2 < shift.seconds <= claim.now(sweep.ledger.folder) - began
    assert (shift.devices, shift.present) == (2, True)
    (sheet,) = (sweep.ledger.folder / "workers").glob("*.json")
    written = files.read_json(sheet)
    copy = tmp_path / "copy"
    shutil.copytree(sheet.parent, copy / "workers", copy_function=shutil.copy)
    (copied,) = timesheet.shifts(copy)
    assert copied.seconds > 0.2, "it has let none go, and may never: that it was at it is written down"
    time.sleep(0.2)
    first.release()
    second.release()
    assert files.read_json(sheet)["until"] == pytest.approx(sheet.stat().st_mtime, abs=0.1)
    assert files.read_json(sheet)["until"] - written["since"] > 0.4
    ended = sheet.stat().st_mtime
    time.sleep(0.1)
    assert sheet.stat().st_mtime == ended, "its time is up with its last claim"
    assert timesheet.shifts(sweep.ledger.folder)[0].present, "it may claim again"
    os.utime(sheet, (ended - claim.LEASE_SECONDS - 1,) * 2)
    assert not timesheet.shifts(sweep.ledger.folder)[0].present, "but has long not, though its process lives"
    os.utime(sheet)
    files.write_json(sheet, files.read_json(sheet) | {"born": "long ago"})
    assert not timesheet.shifts(sweep.ledger.folder)[0].present


def test_a_copied_sweep_has_cost_what_it_had(sweep: Sweep, tmp_path: Path) -> None:
    """A worker that ended, and one that an earlier version had, killed an hour after it let its last run go."""
    sweep.work(HOUR, until=5 * HOUR)
    sweep.work(3 * HOUR, until=2 * HOUR, idle=HOUR)
    assert sweep.pace().worker_seconds == pytest.approx(4 * HOUR, abs=1)
    copy = tmp_path.with_name(f"{tmp_path.name}-copy")
    shutil.copytree(sweep.ledger.folder, copy, copy_function=shutil.copy)
    got = pace(Ledger(copy), sweep.statuses)
    assert got.worker_seconds == pytest.approx(3 * HOUR, abs=1)
    assert got.workers == 0, "nobody is at the copy"


def _claim(folder: Path, run_id: str) -> None:
    claimed = Ledger(folder).claim(run_id)
    assert claimed is not None
    claimed.release()


def test_processes_of_one_gpu_are_one_worker(sweep: Sweep) -> None:
    processes = [
        multiprocessing.get_context("spawn").Process(target=_claim, args=(sweep.ledger.folder, i))
        for i in sweep.ids[:2]
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    (sheet,) = (sweep.ledger.folder / "workers").glob("*.json")
    assert files.read_json(sheet)["pid"] == os.getpid()
    assert len(timesheet.shifts(sweep.ledger.folder)) == 1


def test_the_load_of_a_run_is_known_by_whoever_looks(sweep: Sweep, small_run: RunConfig) -> None:
    fresh = Ledger(sweep.ledger.folder)
    assert fresh.load(sweep.ids[0]) == Load(seconds=100.0, busy=0.5, at_once=1)
    assert fresh.label(sweep.ids[0]) == (small_run.budget, small_run.model.layout)
    # a plan of an earlier version
    (path,) = (sweep.ledger.folder / "plans").glob("*.json")
    files.write_json(path, {run_id: known[:2] for run_id, known in files.read_json(path).items()})
    old = Ledger(sweep.ledger.folder)
    assert old.load(sweep.ids[0]) is None
    assert old.label(sweep.ids[0]) == (small_run.budget, small_run.model.layout)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "17"}, "17_0_log.err"),
        ({"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "9"}, "9_0_log.err"),
        (
            {"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"},
            "7_2_0_log.err",
        ),
        ({"SLURM_JOB_ID": "9"}, None),
    ],
)
def test_a_claim_names_the_log_of_its_job(
    environment: dict[str, str], name: str | None, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("SUBMITIT_EXECUTOR", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    _claim(sweep.ledger.folder, sweep.ids[0])
    assert sweep.ledger.log(sweep.ids[0]) is None, "there is none yet"
    if name:
        path = files.make_folder(sweep.ledger.folder / "jobs") / name
        path.touch()
        assert sweep.ledger.log(sweep.ids[0]) == path
    assert sweep.ledger.log(sweep.ids[1]) is None


def test_a_look_holds_what_there_is(sweep: Sweep) -> None:
    sweep.ledger.fail(sweep.ids[0], "ValueError: no")
    sweep.work(60.0, host=socket.gethostname())
    standing = look(sweep.ledger.folder)
    assert (standing.ended, len(standing.statuses), standing.jobs) == (1, 6, [])
    assert standing.pace.workers == 0, "its process has ended, however lately it beat"
