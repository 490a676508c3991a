"""A sweep trained by processes as if on several hosts, with what may befall it on a bad day."""

import json
import os
import random
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from processes import CONTEXT

from eutectic import files
from eutectic.config import RunConfig
from eutectic.sweeps import claim, pool, worker
from eutectic.sweeps.ledger import Ledger
from eutectic.train import loop, preemption

HOSTS = 4
LEASE_SECONDS, HEARTBEAT_SECONDS, CHECKPOINT_SECONDS = 2.0, 0.1, 0.05
HOUR = 3600.0
BETWEEN_FAULTS, FULL_SECONDS = 0.1, 10.0
FULL = "No space left on device"


def train_here(folder: Path, run_ids: Sequence[str], cache: Path, log: Path, number: int) -> None:
    """A worker that trains in its own process."""
    _be_of_host(number, log)
    preemption.install()
    try:
        worker.work(folder, list(run_ids), worker.Place("cpu", cache), number)
    except preemption.Preempted:
        os._exit(3)  # to be started again


def train_in_pool(folder: Path, run_ids: Sequence[str], cache: Path, log: Path, number: int) -> None:
    """A worker that trains in two processes of its own, as on a GPU."""
    _be_of_host(number, log)
    preemption.install()
    tasks = [
        pool.Task(partial(_train_pooled, folder, i, cache, log, number), partial(worker._lost, folder, i), 1.0, 1.0)
        for i in run_ids
    ]
    try:
        pool.run(tasks, 2.0, 2)
    except preemption.Preempted:
        os._exit(3)


def _train_pooled(folder: Path, run_id: str, cache: Path, log: Path, number: int, alone: bool) -> None:
    _be_of_host(number, log)
    worker.train_planned(folder, run_id, worker.Place("cpu", cache), alone)


def _be_of_host(number: int, log: Path) -> None:
    host = f"n{number % HOSTS}"
    socket.gethostname = lambda: host  # type: ignore[assignment]
    claim.LEASE_SECONDS, claim.HEARTBEAT_SECONDS = LEASE_SECONDS, HEARTBEAT_SECONDS
    loop.CHECKPOINT_SECONDS = CHECKPOINT_SECONDS
    with log.open("a") as file:
        os.dup2(file.fileno(), 2)


class Sweep:
    """A command that is given again and again until all runs are trained, and its workers, started again when killed.

    log: what workers say. pooled: how many of them train in processes of their own.
    """

    def __init__(
        self, folder: Path, configs: Sequence[RunConfig], cache: Path, log: Path, workers: int, pooled: int = 0
    ):
        self.folder, self.configs, self.cache, self.log = folder, configs, cache, log
        self.kinds = [train_in_pool if k < pooled else train_here for k in range(workers)]
        self.ids = [config.run_id for config in configs]
        self.workers: dict[int, ForkServerProcess] = {}
        self.commands = self.restarts = 0

    def train(self, faults: "Faults | None" = None, seconds: float = 600.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ledger = Ledger(self.folder)
            ledger.add(self.configs)
            ledger.retry(i for i, status in ledger.statuses().items() if status == "failed")
            ledger.collect()
            left = [i for i in self.ids if ledger.status(i) not in ("done", "diverged")]
            if not left and not (faults and faults.left):
                return
            self.commands += 1
            self.workers = {k: self._start(k, left) for k in range(len(self.kinds))}
            while self.workers:
                self._wait(left)
                if faults:
                    faults.strike(self)
        raise TimeoutError(f"not done in {seconds} s; see {self.log}")

    def _wait(self, run_ids: Sequence[str]) -> None:
        time.sleep(0.02)
        for k, process in list(self.workers.items()):
            if process.exitcode == 0:
                del self.workers[k]
            elif process.exitcode is not None:
                self.restarts += 1
                self.workers[k] = self._start(k, run_ids)

    def _start(self, number: int, run_ids: Sequence[str]) -> ForkServerProcess:
        args = (self.folder, run_ids, self.cache, self.log, number)
        process = CONTEXT.Process(target=self.kinds[number], args=args)
        process.start()
        return process


class Faults:
    """How often each is to strike, in an order and at places by the seed; each waits until there is what it needs."""

    def __init__(self, counts: dict[str, int], seed: int):
        self.choose = random.Random(seed)
        self.left = [kind for kind, count in counts.items() for _ in range(count)]
        self.choose.shuffle(self.left)
        self.struck: Counter[str] = Counter()
        self.last = 0.0

    def strike(self, sweep: Sweep) -> None:
        """The first of those left that can be now."""
        if time.monotonic() - self.last < BETWEEN_FAULTS:
            return
        for kind in dict.fromkeys(self.left):
            if getattr(self, kind)(sweep):
                self.left.remove(kind)
                self.struck[kind] += 1
                self.last = time.monotonic()
                return

    def kill_worker(self, sweep: Sweep) -> bool:
        return self._signal(self._workers(sweep), signal.SIGKILL)

    def kill_trainer(self, sweep: Sweep) -> bool:
        """Whoever trains a run: a worker, or one of its processes."""
        return self._signal([_owner(path) for path in self._claims(sweep)], signal.SIGKILL)

    def terminate(self, sweep: Sweep) -> bool:
        return self._signal(self._workers(sweep), signal.SIGTERM)

    def preempt(self, sweep: Sweep) -> bool:
        return self._signal(self._workers(sweep), signal.SIGUSR2)

    def truncate_checkpoint(self, sweep: Sweep) -> bool:
        """Of a run whose trainer is killed first, for it would write another."""
        for path in self._claims(sweep):
            checkpoint = path.with_name("checkpoint.safetensors")
            if checkpoint.exists() and self._signal([_owner(path)], signal.SIGKILL):
                return self._truncate([checkpoint])
        return False

    def truncate_row(self, sweep: Sweep) -> bool:
        return self._truncate([folder / "run.parquet" for folder in self._uncollected(sweep)])

    def truncate_curve(self, sweep: Sweep) -> bool:
        ended = [folder for folder in self._uncollected(sweep) if (folder / "run.parquet").exists()]
        return self._truncate([folder / "curve.parquet" for folder in ended])

    def put_clock_ahead(self, sweep: Sweep) -> bool:
        return self._stamp(sweep, HOUR)

    def put_clock_back(self, sweep: Sweep) -> bool:
        return self._stamp(sweep, -HOUR)

    def delete_folder(self, sweep: Sweep) -> bool:
        for folder in self._uncollected(sweep)[:1]:
            while folder.exists():  # somebody may be writing there
                shutil.rmtree(folder, ignore_errors=True)
            return True
        return False

    def fill_disk(self, sweep: Sweep) -> bool:
        """Until a worker has found it full."""
        if not self._claims(sweep):
            return False
        ballast, before = sweep.folder.parent / "ballast", sweep.log.read_text().count(FULL)
        deadline = time.monotonic() + FULL_SECONDS
        while time.monotonic() < deadline and sweep.log.read_text().count(FULL) == before:
            with suppress(OSError), ballast.open("ab", buffering=0) as file:
                while file.write(b"0" * 2**12):
                    pass
            time.sleep(0.02)
        ballast.unlink()
        return True

    def _signal(self, pids: Sequence[int], number: int) -> bool:
        with suppress(IndexError, ProcessLookupError):  # of none, or of one that has just ended
            os.kill(self.choose.choice(pids), number)
            return True
        return False

    def _workers(self, sweep: Sweep) -> list[int]:
        return [process.pid for process in sweep.workers.values() if process.pid and process.exitcode is None]

    def _claims(self, sweep: Sweep) -> list[Path]:
        """The newest of each run that is being trained."""
        found = [claim.newest_claim(folder, files.names(folder)) for folder in self._uncollected(sweep)]
        return [path for path in found if path and _owner(path)]

    def _uncollected(self, sweep: Sweep) -> list[Path]:
        """Folders of runs, in any order."""
        collected = Ledger(sweep.folder)._collected
        folders = sorted(path for path in (sweep.folder / "runs").iterdir() if path.name not in collected)
        self.choose.shuffle(folders)
        return folders

    def _truncate(self, paths: Sequence[Path]) -> bool:
        for path in paths:
            with suppress(FileNotFoundError):
                if size := path.stat().st_size:
                    os.truncate(path, self.choose.randrange(size))
                    return True
        return False

    def _stamp(self, sweep: Sweep, ahead: float) -> bool:
        for path in self._claims(sweep):
            with suppress(FileNotFoundError):
                os.utime(path, (time.time() + ahead,) * 2)
                return True
        return False


def _owner(path: Path) -> int:
    """The process that holds a claim and lives; 0 for none."""
    try:
        held, pid = path.stat().st_mtime, int(json.loads(path.read_text())["pid"])
        os.kill(pid, 0)
    except (OSError, ValueError):
        return 0
    return pid if held else 0
