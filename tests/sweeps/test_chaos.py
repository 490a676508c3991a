"""Many workers on one ledger, and all that may befall them: every run is trained once, every number is as if nothing
had happened."""

import dataclasses
import os
import random
import signal
import socket
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from chaos import Faults, Sweep
from processes import CONTEXT

from eutectic.config import RunConfig
from eutectic.sweeps import claim
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.worker import Place, work
from eutectic.train import log, loop
from eutectic.train.shards import Manifest

CLOCK = ("seconds", "tokens_per_second", "mfu", "finished")
WORKERS, RUNS, DOOMED = 64, 128, 16
# what faults make workers say
SIGNS = {"truncate_checkpoint": "cannot be used", "fill_disk": "No space left on device"}


def seeds(config: RunConfig, count: int) -> list[RunConfig]:
    return [dataclasses.replace(config, seed=seed) for seed in range(count)]


def join(number: int, sweep: Path, ids: Sequence[str], cache: Path, row: dict[str, Any], doomed: set[str]) -> None:
    """A worker on a host of its own that trains nothing and is killed by the doomed; notes what begins and ends."""

    def pretend(config: RunConfig, _: Manifest, folder: Path, device: str, hooks: loop.Hooks, *__: Any) -> Any:
        note(sweep.with_name("begun"), config.run_id)
        time.sleep(random.uniform(0, 0.05))
        if config.run_id in doomed and not (folder / "claim-1.json").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        assert hooks.held()
        log.write_rows(folder / "curve.parquet", "curves", [{"run_id": config.run_id, "step": 1}])
        mine = {"run_id": config.run_id, "seed": config.seed, "status": "done"}
        log.write_rows(folder / "run.parquet", "runs", [row | mine])
        note(sweep.with_name("ended"), config.run_id)
        return mine

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    socket.gethostname = lambda: f"n{number}"  # type: ignore[assignment]
    loop.train = pretend  # type: ignore[assignment]
    work(sweep, ids, Place("cpu", cache))


def test_64_workers_lose_no_run_and_double_none(small_run: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    """Each on a host of its own, so that claims stand by their leases. Sixteen runs kill the first that trains them:
    their leases run out, whoever comes by takes them over, and the dead are replaced."""
    runs = seeds(small_run, RUNS)
    ids = [run.run_id for run in runs]
    doomed = set(random.Random(0).sample(ids, DOOMED))
    row = log.planned_columns(small_run)
    ledger = Ledger(tmp_path / "s")
    ledger.add(runs)
    cache = Path(manifest.folder).parents[1]

    def start(number: int) -> ForkServerProcess:
        process = CONTEXT.Process(target=join, args=(number, ledger.folder, ids, cache, row, doomed))
        process.start()
        return process

    workers = {number: start(number) for number in range(WORKERS)}
    killed = 0
    while workers:
        for number, process in list(workers.items()):
            if process.exitcode is None:
                continue
            del workers[number]
            if process.exitcode == -signal.SIGKILL:
                killed += 1
                time_passes_for(f"n{number}", ledger)
                workers[WORKERS + killed] = start(WORKERS + killed)
            else:
                assert process.exitcode == 0
        time.sleep(0.01)
    assert killed == DOOMED
    assert noted(tmp_path / "begun") == {run_id: 1 + (run_id in doomed) for run_id in ids}
    assert noted(tmp_path / "ended") == dict.fromkeys(ids, 1)
    assert ledger.collect() == RUNS
    assert sorted(pq.read_table(ledger.folder / "runs.parquet")["run_id"].to_pylist()) == sorted(ids)


def note(path: Path, run_id: str) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(f"{run_id}\n".encode())


def noted(path: Path) -> Counter[str]:
    return Counter(path.read_text().split())


def time_passes_for(host: str, ledger: Ledger) -> None:
    """As long as a lease, since the last heartbeat of what a dead host holds."""
    for path in ledger.runs.glob("*/claim-0.json"):
        if f'"{host}"' in path.read_text() and path.stat().st_mtime:
            late = time.time() - claim.LEASE_SECONDS - 1
            os.utime(path, (late, late))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one, for those who may mount it; a folder for others."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True)
    mounted = folder.is_mount()
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


FEW = {
    "kill_worker": 3,
    "kill_trainer": 3,
    "terminate": 2,
    "preempt": 2,
    "truncate_checkpoint": 2,
    "truncate_row": 2,
    "truncate_curve": 1,
    "put_clock_ahead": 2,
    "put_clock_back": 2,
    "delete_folder": 2,
    "fill_disk": 1,
}


@pytest.mark.parametrize(
    ("runs", "workers", "pooled", "faults"),
    [
        pytest.param(30, 4, 0, FEW, id="30 runs"),
        pytest.param(200, 8, 2, {fault: 6 * n for fault, n in FEW.items()}, id="200 runs", marks=pytest.mark.slow),
    ],
)
def test_a_bad_day_changes_no_number(
    runs: int,
    workers: int,
    pooled: int,
    faults: dict[str, int],
    small_run: RunConfig,
    manifest: Manifest,
    disk: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    if not disk.is_mount():  # nobody is to fill a disk of others
        warnings.warn("no tmpfs can be mounted here: no disk is filled", stacklevel=1)
        faults = {fault: count for fault, count in faults.items() if fault != "fill_disk"}
    configs = seeds(dataclasses.replace(small_run, sequences=123), runs)
    cache, log = Path(manifest.folder).parents[1], tmp_path / "workers.log"
    calm = Sweep(tmp_path / "s", configs, cache, tmp_path / "calm.log", workers)
    calm.train()
    bad, day = Sweep(disk / "s", configs, cache, log, workers, pooled), Faults(faults, seed=1)
    bad.train(day)
    record_property("faults", dict(day.struck))
    record_property("commands and restarts", (bad.commands, bad.restarts))
    assert day.struck == faults
    assert (calm.commands, calm.restarts) == (1, 0)
    assert bad.restarts >= faults["kill_worker"] + faults["preempt"]
    assert [words for fault, words in SIGNS.items() if fault in faults and words not in log.read_text()] == []
    assert list(disk.glob("s/runs/*/*.parquet.corrupt-*"))
    for table, keys in (("runs", ["run_id"]), ("curves", ["run_id", "step"])):
        expected, found = (numbers(place / "s" / f"{table}.parquet", keys) for place in (tmp_path, disk))
        assert len(found) == len(expected) >= runs
        assert found == expected
    assert set(Ledger(disk / "s").statuses().values()) == {"done"}


def numbers(path: Path, keys: list[str]) -> list[dict[str, Any]]:
    rows = [{k: v for k, v in row.items() if k not in CLOCK} for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: [row[key] for key in keys])
