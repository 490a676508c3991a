"""A sweep's jobs that Slurm has in its queue, and the runs that they are to train, or trials of synthetic tasks.

NAME/jobs/JOB_runs.json    of an array, or a job of its own, the runs or trials that it was submitted for
          JOB_trials.json  of one that tunes, how many trials it was to bring each study to
"""

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eutectic import files
from eutectic.sweeps import slurm

ENDING = "COMPLETING"  # of squeue's states the one of a job that trains nothing more


class Kept(Protocol):
    """What runs or trials are planned in: a ledger, say."""

    folder: Path

    def abandoned(self, run_id: str) -> bool: ...


@dataclass(frozen=True)
class Queue:
    """The jobs that wait and that run, each by the id of its array; the one that collects is none of them."""

    waiting: tuple[str, ...] = ()
    running: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.waiting or self.running)

    def __str__(self) -> str:
        waiting = len(self.waiting)
        return f"{waiting or 'no'} job{'' if waiting == 1 else 's'} waiting, {len(self.running)} running"

    @property
    def ids(self) -> list[str]:
        """Of arrays, as scancel takes them."""
        return sorted({*self.waiting, *self.running}, key=int)


def look(folder: Path) -> Queue:
    """At what Slurm has of the sweep in a folder; nothing where it does not answer."""
    jobs = slurm.submitted(folder)
    if not jobs:
        return Queue()
    command = ["squeue", "-h", "-r", "-o", "%F|%T", "-j", ",".join(jobs)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return Queue()
    rows = [line.split("|") for line in told.splitlines()]
    found = [(job, state) for job, state in rows if state != ENDING]
    waiting = [job for job, state in found if state in slurm.WAITING]
    return Queue(tuple(waiting), tuple(job for job, state in found if state not in slurm.WAITING))


def note(folder: Path, job: str, run_ids: Iterable[str]) -> None:
    """What a job, or the array that it is of, was submitted for."""
    files.write_json(_path(folder, job, "runs"), list(run_ids))


def note_trials(folder: Path, job: str, trials: Mapping[str, int]) -> None:
    """The same of a job that tunes: by study."""
    files.write_json(_path(folder, job, "trials"), dict(trials))


def covered(ledger: Kept, queue: Queue, planned: Iterable[str]) -> set[str]:
    """Of these planned runs, those that the queue's jobs come to: one that waits to all it was submitted for, one that
    runs to what nobody has begun; what was begun and lost, or failed, it may have behind it."""
    waiting, running = (_noted(ledger.folder, jobs) for jobs in (queue.waiting, queue.running))
    return {i for i in planned if i in waiting or (i in running and not ledger.abandoned(i))}


def covered_trials(folder: Path, queue: Queue) -> dict[str, int]:
    """How many trials the queue's jobs bring each study to. One that runs asks until there are so many, and takes up
    those that were begun and lost."""
    found: dict[str, int] = {}
    for job in queue.ids:
        for study, trials in files.read_object(_path(folder, job, "trials")).items():
            found[study] = max(trials, found.get(study, 0))
    return found


def _noted(folder: Path, jobs: Iterable[str]) -> set[str]:
    return {run_id for job in set(jobs) for run_id in files.read_json(_path(folder, job, "runs")) or []}


def _path(folder: Path, job: str, what: str) -> Path:
    return folder / "jobs" / f"{job.partition('_')[0]}_{what}.json"
