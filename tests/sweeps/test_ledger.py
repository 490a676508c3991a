"""One run, one worker: claims raced for by processes, taken over from the dead; nothing lost when files are damaged."""

import dataclasses
import errno
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from processes import CONTEXT
from rich.console import Console

from eutectic.config import RunConfig
from eutectic.display.status import show_status
from eutectic.sweeps import claim as module
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.standing import look
from eutectic.train import log


@pytest.fixture
def planned(small_run: RunConfig, tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    ledger.add([small_run])
    return ledger


def finish(ledger: Ledger, run: RunConfig, status: str = "done") -> None:
    folder = ledger.runs / run.run_id
    log.write_rows(folder / "curve.parquet", "curves", [{"run_id": run.run_id, "step": 1, "train_loss": 2.0}])
    log.write_rows(folder / "run.parquet", "runs", [log.planned_columns(run) | {"status": status, "loss": 2.0}])


def _race(folder: Path, run_id: str, ready: Barrier, wins: "Queue[int]", over: Event) -> None:
    ledger = Ledger(folder)
    ready.wait(60)
    claim = ledger.claim(run_id)
    wins.put(0 if claim is None else 1)
    over.wait(60)  # a claim whose process has ended is free to take, by racers that a busy machine starts late


def test_of_many_processes_one_gets_the_run(planned: Ledger, small_run: RunConfig) -> None:
    wins: Queue[int] = CONTEXT.Queue()
    ready, over = CONTEXT.Barrier(12), CONTEXT.Event()
    entry = (planned.folder, small_run.run_id, ready, wins, over)
    racers = [CONTEXT.Process(target=_race, args=entry) for _ in range(12)]
    for racer in racers:
        racer.start()
    won = sum(wins.get(timeout=60) for _ in racers)
    over.set()
    assert won == 1
    for racer in racers:
        racer.join()


def test_two_that_look_before_either_claims(planned: Ledger, small_run: RunConfig) -> None:
    folder = planned.runs / small_run.run_id
    first, second = module.Claim.take(folder, None), module.Claim.take(folder, None)
    assert (first is None, second is None) == (False, True)
    assert first is not None
    first.release()


def test_a_claim_taken_since_the_look_is_not_taken_over(
    planned: Ledger, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two find the same claim dead; the slower must not follow on the claim of the faster, which is alive."""
    dead = planned.claim(small_run.run_id)
    assert dead is not None
    dead.release()
    look = planned._look(small_run.run_id)
    faster = Ledger(planned.folder).claim(small_run.run_id)
    assert faster is not None
    monkeypatch.setattr(planned, "_look", lambda run_id: look)
    assert planned.claim(small_run.run_id) is None
    assert faster.held()
    faster.release()


def test_a_dead_process_is_taken_over_at_once_and_its_claim_stays_lost(planned: Ledger, small_run: RunConfig) -> None:
    code = (
        "import sys, time; from pathlib import Path; from eutectic.sweeps.ledger import Ledger\n"
        "print(Ledger(Path(sys.argv[1])).claim(sys.argv[2]) is not None, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(planned.folder), small_run.run_id], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "True\n"
    assert planned.status(small_run.run_id) == "running"
    assert planned.claim(small_run.run_id) is None
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not yet gone
    assert planned.status(small_run.run_id) == "planned"
    assert planned.abandoned(small_run.run_id)
    claim = planned.claim(small_run.run_id)
    assert claim is not None and claim.path.name == "claim-1.json" and claim.held()
    claim.release()
    holder.wait()


@pytest.mark.parametrize("end", ["run.parquet", "failure.json"])
def test_a_run_that_ends_between_the_look_and_the_claim_is_not_begun_again(
    end: str, planned: Ledger, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned, "_look", lambda run_id: ("planned", None))
    (planned.runs / small_run.run_id / end).write_text("{}")
    assert planned.claim(small_run.run_id) is None


def test_another_host_is_believed_until_its_heartbeat_stops(planned: Ledger, small_run: RunConfig) -> None:
    path = planned.runs / small_run.run_id / "claim-0.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": os.getpid(), "born": "1"}))
    assert planned.status(small_run.run_id) == "running"
    late = time.time() - module.LEASE_SECONDS - 5
    os.utime(path, (late, late))
    assert planned.status(small_run.run_id) == "planned"


def test_a_reused_pid_is_not_the_claimant(planned: Ledger, small_run: RunConfig) -> None:
    path = planned.runs / small_run.run_id / "claim-0.json"
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "born": "1"}))
    assert planned.status(small_run.run_id) == "planned"


@pytest.mark.parametrize(
    ("job", "life", "free"), [("7", "1", True), ("7", "2", True), ("7", None, False), ("8", "1", False)]
)
def test_a_requeued_job_takes_what_it_held_on_another_host_at_once(
    job: str, life: str | None, free: bool, planned: Ledger, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody else does: neither another job, nor another process of the same."""
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(socket, "gethostname", lambda: "n1")
    former = planned.claim(small_run.run_id)
    assert former is not None
    monkeypatch.setattr(socket, "gethostname", lambda: "n2")
    monkeypatch.setenv("SLURM_JOB_ID", job)
    if life is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", life)
    claim = planned.claim(small_run.run_id)
    assert (claim is not None, former.held()) == (free, not free)
    if claim:
        monkeypatch.setenv("SLURM_JOB_ID", "8")
        assert planned.claim(small_run.run_id) is None
        claim.release()
    former.release()


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("echo 8; echo 9", "running"),
        ("echo 9", "planned"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "planned"),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", "running"),
    ],
)
def test_a_job_of_another_host_is_over_when_slurm_says_so(
    told: str, status: str, planned: Ledger, small_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/squeue"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncase "$*" in *"-j 7") {told};; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(module.slurm, "_seen_running", set())
    path = planned.runs / small_run.run_id / "claim-0.json"
    path.write_text(
        json.dumps({"host": "elsewhere", "pid": os.getpid(), "born": "1", "job": "8", "array": "7", "life": 0})
    )
    assert planned.status(small_run.run_id) == status


def test_a_claim_beats_and_knows_when_it_is_lost(
    planned: Ledger, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    claim = planned.claim(small_run.run_id)
    assert claim is not None
    os.utime(claim.path, (1, 1))
    deadline = time.monotonic() + 10
    while claim.path.stat().st_mtime == 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert claim.path.stat().st_mtime > 1
    (claim.path.parent / "claim-1.json").write_text("{}")
    assert not claim.held()
    claim.release()


def test_failed_runs_wait_for_retry(planned: Ledger, small_run: RunConfig) -> None:
    planned.fail(small_run.run_id, "ValueError: no")
    assert planned.status(small_run.run_id) == "failed"
    assert planned.claim(small_run.run_id) is None
    assert planned.failure(small_run.run_id) == "ValueError: no"
    planned.retry([small_run.run_id])
    assert planned.status(small_run.run_id) == "planned"


@pytest.mark.parametrize("status", ["done", "diverged", "pruned"])
def test_a_finished_run_is_finished_wherever_its_row_is(
    status: str, planned: Ledger, small_run: RunConfig, tmp_path: Path
) -> None:
    finish(planned, small_run, status)
    assert planned.status(small_run.run_id) == status
    assert (planned.collect(), planned.collect()) == (1, 0)
    elsewhere = tmp_path / "clone"
    elsewhere.mkdir()
    for name in ("runs.parquet", "curves.parquet"):
        (elsewhere / name).write_bytes((tmp_path / name).read_bytes())
    clone = Ledger(elsewhere)
    clone.add([small_run])
    assert clone.status(small_run.run_id) == status
    assert clone.claim(small_run.run_id) is None
    assert clone.label(small_run.run_id) == (1e8, "hyena+attn")


def test_a_damaged_row_is_set_aside_and_the_run_planned_again(planned: Ledger, small_run: RunConfig) -> None:
    finish(planned, small_run)
    path = planned.runs / small_run.run_id / "run.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    fresh = Ledger(planned.folder)
    assert fresh.status(small_run.run_id) == "planned"
    assert fresh.set_aside and "run.parquet cannot be read" in fresh.set_aside[0]
    assert path.with_name("run.parquet.corrupt-0").exists()


def test_a_damaged_curve_makes_the_run_planned_again(planned: Ledger, small_run: RunConfig) -> None:
    finish(planned, small_run)
    (planned.runs / small_run.run_id / "curve.parquet").write_bytes(b"noise")
    fresh = Ledger(planned.folder)
    assert fresh.collect() == 0
    assert fresh.status(small_run.run_id) == "planned"
    assert not (planned.folder / "runs.parquet").exists()


def test_a_damaged_collection_is_rebuilt_from_the_runs(planned: Ledger, small_run: RunConfig) -> None:
    finish(planned, small_run)
    planned.collect()
    rows = pq.read_table(planned.folder / "runs.parquet")
    (planned.folder / "runs.parquet").write_bytes(b"noise")
    fresh = Ledger(planned.folder)
    assert fresh.set_aside
    assert fresh.collect() == 1
    assert pq.read_table(planned.folder / "runs.parquet").equals(rows)
    assert pq.read_table(planned.folder / "curves.parquet").num_rows == 1, "its curve was kept, not doubled"


def test_columns_carry_their_units(planned: Ledger, small_run: RunConfig) -> None:
    finish(planned, small_run)
    planned.collect()
    field = pq.read_schema(planned.folder / "runs.parquet").field("loss")
    assert field.metadata[b"unit"] == b"nats/token"


def test_names_tell_how_a_run_ended_until_its_row_is_read(planned: Ledger, small_run: RunConfig) -> None:
    """A look at names opens no parquet; collecting does, and has a damaged run trained again."""
    run_id = small_run.run_id
    finish(planned, small_run)
    planned.finish(run_id, "diverged")
    assert Ledger(planned.folder).status(run_id) == "diverged"
    (planned.runs / run_id / "run.parquet").write_bytes(b"noise")
    fresh = Ledger(planned.folder)
    assert (fresh.status(run_id), fresh.collect(), fresh.status(run_id)) == ("diverged", 0, "planned")
    assert "run.parquet cannot be read" in fresh.set_aside[0]
    assert fresh.damaged() == [planned.runs / run_id / "run.parquet.corrupt-0"]


def test_a_curve_that_is_gone_is_said(planned: Ledger, small_run: RunConfig) -> None:
    finish(planned, small_run)
    (planned.runs / small_run.run_id / "curve.parquet").unlink()
    assert (planned.collect(), planned.status(small_run.run_id)) == (0, "planned")
    assert planned.set_aside == [f"{planned.runs / small_run.run_id / 'curve.parquet'} is gone."]


def test_damaged_curves_are_filled_again(planned: Ledger, small_run: RunConfig) -> None:
    second = dataclasses.replace(small_run, seed=4)
    planned.add([second])
    finish(planned, small_run)
    planned.collect()
    (planned.folder / "curves.parquet").write_bytes(b"noise")
    finish(planned, second)
    assert Ledger(planned.folder).collect() == 2
    for table in ("runs", "curves"):
        ids = pq.read_table(planned.folder / f"{table}.parquet")["run_id"].to_pylist()
        assert sorted(ids) == sorted([small_run.run_id, second.run_id])


def test_one_collects_at_a_time(planned: Ledger, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the slower would put its tables, without what the faster has added, in the place of the faster's."""
    second = dataclasses.replace(small_run, seed=4)
    planned.add([second])
    finish(planned, small_run)
    write, reached = planned._write_collected, threading.Event()

    def slowly(*arguments: Any) -> None:
        reached.set()
        time.sleep(0.3)
        write(*arguments)

    monkeypatch.setattr(planned, "_write_collected", slowly)
    slower = threading.Thread(target=planned.collect)
    slower.start()
    reached.wait()
    finish(planned, second)
    assert Ledger(planned.folder).collect() == 1
    slower.join()
    for table in ("runs", "curves"):
        ids = pq.read_table(planned.folder / f"{table}.parquet")["run_id"].to_pylist()
        assert sorted(ids) == sorted([small_run.run_id, second.run_id])


def test_a_deleted_folder_is_known_and_made_again(planned: Ledger, small_run: RunConfig) -> None:
    claim = planned.claim(small_run.run_id)
    assert claim is not None
    shutil.rmtree(planned.runs / small_run.run_id)
    fresh = Ledger(planned.folder)
    assert fresh.run_ids() == fresh.lost(fresh.run_ids()) == [small_run.run_id]
    assert (fresh.status(small_run.run_id), fresh.label(small_run.run_id)) == ("planned", (1e8, "hyena+attn"))
    assert fresh.claim(small_run.run_id) is None and not claim.held()
    fresh.fail(small_run.run_id, "what becomes of a run that is nowhere")
    fresh.add([small_run])
    again = fresh.claim(small_run.run_id)
    assert again is not None and again.path == claim.path
    assert again.held() and not claim.held(), "the first claim is of a folder that is gone"
    claim.release()
    again.release()


def test_a_done_run_whose_folder_goes_before_it_is_collected_is_planned(planned: Ledger, small_run: RunConfig) -> None:
    finish(planned, small_run)
    assert planned.status(small_run.run_id) == "done"
    shutil.rmtree(planned.runs / small_run.run_id)
    assert (planned.collect(), planned.status(small_run.run_id)) == (0, "planned")


def test_a_run_without_config_is_not_begun_and_a_damaged_one_made_again(planned: Ledger, small_run: RunConfig) -> None:
    path = planned.runs / small_run.run_id / "config.json"
    path.write_text("")
    assert planned.config(small_run.run_id) is None and "is no JSON" in planned.set_aside[0]
    assert planned.claim(small_run.run_id) is None
    planned.add([small_run])
    assert planned.config(small_run.run_id) == small_run


@pytest.mark.parametrize("skew", [-3600, 3600])
def test_a_clock_that_is_off_by_more_than_a_lease_holds_nothing(
    skew: int, planned: Ledger, small_run: RunConfig
) -> None:
    path = planned.runs / small_run.run_id / "claim-0.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "born": "1"}))
    os.utime(path, (time.time() + skew,) * 2)
    claim = planned.claim(small_run.run_id)
    assert claim is not None
    claim.release()


def test_a_claim_that_a_full_disk_cut_short_is_free_at_once(
    planned: Ledger, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", full)
        with pytest.raises(OSError, match="No space left"):
            planned.claim(small_run.run_id)
    claim = planned.claim(small_run.run_id)
    assert claim is not None and claim.path.name == "claim-1.json"
    claim.release()


def test_status_says_what_was_lost_and_damaged(planned: Ledger, small_run: RunConfig) -> None:
    second = dataclasses.replace(small_run, seed=4)
    planned.add([second])
    shutil.rmtree(planned.runs / second.run_id)
    finish(planned, small_run)
    path = planned.runs / small_run.run_id / "run.parquet"
    path.write_bytes(b"noise")
    out = io.StringIO()
    show_status(Console(file=out, width=400), look(planned.folder))
    lines = out.getvalue().splitlines()
    assert [cell.strip() for cell in lines[4].split("│")[1:5]] == ["1e08", "hyena+attn", "2", ""]
    assert lines[-2] == "planned runs whose folder is gone: 1; the command that planned them makes it again."
    assert lines[-1] == f"{path}.corrupt-0 was damaged and set aside; delete it when you have seen it."


def test_what_one_may_only_read_stays_as_it_is(
    planned: Ledger, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is in flight on another host, and the collected table is noise."""
    folder = planned.runs / small_run.run_id
    claim = folder / "claim-0.json"
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1, "born": "1"}))
    (planned.folder / "runs.parquet").write_bytes(b"noise")
    there = sorted(planned.folder.rglob("*"))

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", read_only)
    monkeypatch.setattr(Path, "rename", read_only)
    found = look(planned.folder)
    assert found.statuses == {small_run.run_id: "running"}
    (said,) = found.ledger.set_aside
    assert "runs.parquet cannot be read" in said and said.endswith("; it stays, for nothing can be renamed there.")
    assert sorted(planned.folder.rglob("*")) == there
    os.utime(claim, (time.time() - 3600,) * 2)
    assert look(planned.folder).statuses == {small_run.run_id: "planned"}


@pytest.mark.parametrize("text", ["garbage}", '{"host": 1}', "[1]"])
@pytest.mark.parametrize("beat", ["fresh", "old"])
def test_a_damaged_claim_is_alive_by_its_heartbeat(text: str, beat: str, planned: Ledger, small_run: RunConfig) -> None:
    folder = planned.runs / small_run.run_id
    (folder / "claim-0.json").write_text(text)
    (folder / "claim-x.json").write_text("{}")  # which is none
    if beat == "old":
        os.utime(folder / "claim-0.json", (time.time() - 3600,) * 2)
    assert planned.log(small_run.run_id) is None
    assert planned.status(small_run.run_id) == {"fresh": "running", "old": "planned"}[beat]
    claim = planned.claim(small_run.run_id)
    if beat == "fresh":
        assert claim is None
    else:
        assert claim is not None and claim.path.name == "claim-1.json"
        claim.release()


@pytest.mark.parametrize("text", ["garbage}", "[]", '"text"', "{}"])
def test_status_says_what_is_unreadable(text: str, planned: Ledger, small_run: RunConfig) -> None:
    other = dataclasses.replace(small_run, seed=4)
    planned.add([other])
    (plan, _) = sorted((planned.folder / "plans").glob("*.json"))
    sheet = planned.folder / "workers/1.json"
    sheet.parent.mkdir()
    failure = planned.runs / small_run.run_id / "failure.json"
    claim = planned.runs / other.run_id / "claim-0.json"
    for path in (plan, sheet, failure, claim, claim.with_name("progress.json")):
        path.write_text(text)
    found, out = look(planned.folder), io.StringIO()
    show_status(Console(file=out, width=400), found)
    lines = out.getvalue().splitlines()
    assert found.statuses == {small_run.run_id: "failed", other.run_id: "running"}
    assert f"{small_run.run_id} hyena+attn at 1e08 failed: {failure} is unreadable." in lines
    assert {
        f"{path}.corrupt-0 was damaged and set aside; delete it when you have seen it." for path in (plan, sheet)
    } < {*lines}
    assert found.ledger.set_aside == [f"{plan} is unreadable; it is now {plan.name}.corrupt-0."]
    assert look(planned.folder).statuses == found.statuses
