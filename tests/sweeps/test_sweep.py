"""The main job through the command line: killed, finished, repeated, failed and retried, row for row the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inside
import pyarrow.parquet as pq
import pytest
import tiny

from eutectic.sweeps.ledger import Ledger

CLOCK = ("seconds", "tokens_per_second", "finished", "commit", "device", "source")
SWEEP = ["sweep", "--recipe", tiny.__file__, "--json"]
HERE = ["--cluster", "debug"]


def eutectic(*arguments: str, cwd: Path, cache: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "eutectic.cli", *arguments],
        cwd=cwd,
        env=os.environ | {"EUTECTIC_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(process: "subprocess.Popen[str]", status: int = 0) -> Any:
    out, err = process.communicate(timeout=240)
    assert process.returncode == status, err
    return json.loads(out)


def told(*arguments: str, cwd: Path, cache: Path) -> Any:
    """Of a command in this process."""
    done = inside.eutectic(*arguments, cwd=cwd, EUTECTIC_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def numbers(path: Path, *keys: str) -> list[dict[str, Any]]:
    rows = [{k: v for k, v in row.items() if k not in CLOCK} for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: [row[key] for key in keys])


def forget(ledger: Ledger, run_id: str) -> None:
    """As if this run had not been trained."""
    for path in (ledger.runs / run_id).glob("*.parquet"):
        path.unlink()
    for name in ("runs", "curves"):
        (ledger.folder / f"{name}.parquet").unlink()


def kill_all(folder: Path, process: "subprocess.Popen[str]") -> None:
    """Kill -9 the command and every process that works for it."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    for stat in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder) in stat.read_bytes().decode(errors="replace"):
                os.kill(int(stat.parent.name), signal.SIGKILL)
        except (OSError, ProcessLookupError):
            continue


def kill_first(runs: Path) -> Path:
    """Of two runs that are being trained, kill the worker of the one begun first, which the other worker has come past:
    it would take over one that it has yet to see. Returns that run's folder."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        training = [p.parent for p in runs.glob("*/progress.json") if not (p.parent / "run.parquet").exists()]
        claims = {folder: json.loads((folder / "claim-0.json").read_text()) for folder in training}
        if len(claims) == 2:
            victim = min(claims, key=lambda folder: claims[folder]["at"])
            worker = claims[victim]["pid"]
            os.kill(worker, signal.SIGSTOP)  # or it may end the run, and begin another, before it is killed
            if not (victim / "run.parquet").exists():
                os.kill(worker, signal.SIGKILL)
                return victim
            os.kill(worker, signal.SIGCONT)
        time.sleep(0.02)
    raise TimeoutError("no two runs were trained at once")


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A sweep that was never interrupted, trained in this process, and its cache."""
    folder, cache = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cache")
    report = told(*SWEEP, "--source", str(corpus), "--name", "s", *HERE, cwd=folder, cache=cache)
    assert set(report["statuses"].values()) == {"done"}
    assert [(o["arch"], o["n_sizes"]) for o in report["report"]["optima"]] == [("attn", 5)]
    return folder, cache


def test_a_killed_sweep_is_finished_by_the_next_call(corpus: Path, whole: tuple[Path, Path], tmp_path: Path) -> None:
    command = [*SWEEP, "--source", str(corpus), "--name", "s"]
    first = eutectic(*command, cwd=tmp_path, cache=whole[1])
    folder = tmp_path / "results" / "s"
    deadline = time.monotonic() + 120
    while len(list(folder.glob("runs/*/run.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    kill_all(folder, first)
    done = {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.parquet")}
    assert 2 <= len(done) < 5, "killed too late to test anything"
    second = told(*command, *HERE, cwd=tmp_path, cache=whole[1])
    assert set(second["statuses"].values()) == {"done"}
    again = {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.parquet")}
    assert done.items() <= again.items(), "a finished run was trained again"
    for name, keys in (("runs", ["run_id"]), ("curves", ["run_id", "step"])):
        parquet = f"results/s/{name}.parquet"
        assert numbers(tmp_path / parquet, *keys) == numbers(whole[0] / parquet, *keys)


def test_a_second_sweep_trains_nothing(corpus: Path, whole: tuple[Path, Path]) -> None:
    folder, cache = whole
    before = (folder / "results/s/runs.parquet").read_bytes()
    logs = len(list((folder / "results/s/jobs").iterdir()))
    told(*SWEEP, "--source", str(corpus), "--name", "s", cwd=folder, cache=cache)
    assert (folder / "results/s/runs.parquet").read_bytes() == before
    assert len(list((folder / "results/s/jobs").iterdir())) == logs, "a job was submitted"


def test_fit_and_status_and_figures_read_what_was_written(whole: tuple[Path, Path]) -> None:
    folder, cache = whole
    status = told("status", "--json", cwd=folder, cache=cache)
    assert [run["status"] for run in status["s"]["runs"].values()] == ["done"] * 5
    report = told("fit", "--name", "s", "--json", cwd=folder, cache=cache)
    assert (report["n_runs"], report["seeds"]) == (5, [0])
    drawn = told("figures", "--json", cwd=folder, cache=cache)
    # one architecture at one budget bears no other
    assert [Path(path).name for path in drawn] == [
        f"{name}.{kind}" for name in ("isoflop", "envelope") for kind in ("png", "svg")
    ]


def test_what_failed_or_lost_its_worker_is_retried_and_nothing_else(
    corpus: Path, whole: tuple[Path, Path], tmp_path: Path
) -> None:
    """A curve that is a folder cannot be written: its run, the last, fails alone. And one of two workers is killed in
    one of the first."""
    planned = Ledger(whole[0] / "results/s")
    loads = {run_id: load.seconds for run_id in planned.run_ids() if (load := planned.load(run_id))}
    stuck = min(loads, key=loads.__getitem__)
    runs = tmp_path / "results/s/runs"
    stop = runs / stuck / "curve.parquet"
    stop.mkdir(parents=True)
    process = eutectic(*SWEEP, "--source", str(corpus), "--name", "s", cwd=tmp_path, cache=whole[1])
    lost = kill_first(runs).name
    report = finished(process, status=1)
    assert {i for i, s in report["statuses"].items() if s != "done"} == {stuck, lost} == set(report["failed"])
    assert report["failed"][stuck].startswith("IsADirectoryError")
    assert "its worker ended without a word" in report["failed"][lost]
    stop.rmdir()
    rows = {p.parent.name: p.stat().st_mtime_ns for p in runs.glob("*/run.parquet")}
    report = told("retry", "--name", "s", "--json", *HERE, cwd=tmp_path, cache=whole[1])
    assert report["statuses"] == {stuck: "done", lost: "done"}
    after = {p.parent.name: p.stat().st_mtime_ns for p in runs.glob("*/run.parquet")}
    assert len(rows) == 3 and rows.items() < after.items()
    assert numbers(tmp_path / "results/s/runs.parquet", "run_id") == numbers(
        whole[0] / "results/s/runs.parquet", "run_id"
    )


def test_a_run_alone_trains_the_same_numbers(whole: tuple[Path, Path], tmp_path: Path) -> None:
    """One of a finished sweep's runs again."""
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    ledger = Ledger(tmp_path / "results/s")
    victim = ledger.run_ids()[1]
    forget(ledger, victim)
    alone = told("run", victim, "--name", "s", "--json", cwd=tmp_path, cache=whole[1])
    assert alone["status"] == "done"
    expected = {row["run_id"]: row for row in numbers(whole[0] / "results/s/runs.parquet", "run_id")}
    found = numbers(tmp_path / "results/s/runs.parquet", "run_id")
    assert len(found) == 5
    assert all(expected[row["run_id"]] == row for row in found)


def test_an_interrupt_ends_the_workers(corpus: Path, whole: tuple[Path, Path], tmp_path: Path) -> None:
    command = ["sweep", "--budget", "1e12", "--archs", "attn", "--source", str(corpus), "--name", "s"]
    process = eutectic(*command, cwd=tmp_path, cache=whole[1])
    folder = tmp_path / "results/s"
    deadline = time.monotonic() + 120
    while not list(folder.glob("runs/*/progress.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; the same command goes on" in err
    ledger = Ledger(folder)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(ledger.status(i) == "running" for i in ledger.run_ids()):
        time.sleep(0.1)
    assert {ledger.status(i) for i in ledger.run_ids()} == {"planned"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_until_done(
    seed: int, corpus: Path, whole: tuple[Path, Path], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Killed again and again, at random moments, a sweep ends as one that never was."""
    command = [*SWEEP, "--source", str(corpus), "--name", "s"]
    choose, kills = random.Random(seed), 0
    while True:
        process = eutectic(*command, cwd=tmp_path, cache=whole[1])
        deadline = time.monotonic() + choose.uniform(5.0, 20.0)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.poll() is not None:
            finished(process)
            break
        kill_all(tmp_path / "results" / "s", process)
        kills += 1
    record_property("kills", kills)
    assert kills >= 2
    for name, keys in (("runs", ["run_id"]), ("curves", ["run_id", "step"])):
        parquet = f"results/s/{name}.parquet"
        assert numbers(tmp_path / parquet, *keys) == numbers(whole[0] / parquet, *keys)
