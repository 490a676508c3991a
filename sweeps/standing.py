"""How a sweep stands: the statuses of its runs, what its workers have spent, and how long the rest will take them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eutectic.sweeps import due, queued, slurm, timesheet
from eutectic.sweeps.cost import Load, wall_seconds, worker_seconds
from eutectic.sweeps.due import Due
from eutectic.sweeps.ledger import FINISHED, Ledger
from eutectic.sweeps.queued import Queue


@dataclass(frozen=True)
class Pace:
    """Seconds of workers, and of their devices, so far: None where it is not known who trained. workers: at it now.
    eta: seconds until all is trained, None where nobody is at it, or what is left was not estimated."""

    worker_seconds: float | None = None
    device_seconds: float | None = None
    workers: int = 0
    eta: float | None = None


@dataclass(frozen=True)
class Standing:
    """Of a sweep when it was looked at. name: of its folder, or of the campaign's with it. due: trials that a tuning is
    yet to ask, which are planned but no runs yet. jobs: that ended early, while runs wait that they may have been meant
    to train. queue: the jobs that are to come and at it, until all has ended."""

    name: str
    ledger: Ledger
    statuses: dict[str, str]
    due: list[Due]
    jobs: list[slurm.Ended]
    queue: Queue
    pace: Pace

    @property
    def ended(self) -> int:
        """Runs for which nothing is to be waited."""
        return sum(status in FINISHED for status in self.statuses.values())

    @property
    def total(self) -> int:
        """Runs that there are, and those that are due."""
        return len(self.statuses) + sum(study.trials for study in self.due)


def look(folder: Path, name: str = "") -> Standing:
    """At the sweep in a folder. name: that of the folder, unless given."""
    studies = due.read(folder)  # before the runs: one that is asked meanwhile is there twice, but never missing
    ledger = Ledger(folder)
    statuses = ledger.statuses()
    jobs = slurm.ended(folder) if studies or "planned" in statuses.values() else []
    going = studies or any(status not in FINISHED for status in statuses.values())
    queue = queued.look(folder) if going else Queue()
    return Standing(name or folder.name, ledger, statuses, studies, jobs, queue, pace(ledger, statuses, studies))


def pace(ledger: Ledger, statuses: Mapping[str, str], studies: Sequence[Due] = ()) -> Pace:
    shifts = timesheet.shifts(ledger.folder)
    if not shifts:
        return Pace()
    spent = sum(shift.seconds for shift in shifts)
    of_devices = sum(shift.seconds * shift.devices for shift in shifts)
    present = sum(shift.present for shift in shifts)
    eta = _eta(ledger, statuses, studies, spent, len(shifts), present) if present else None
    return Pace(spent, of_devices, present, eta)


def _eta(
    ledger: Ledger, statuses: Mapping[str, str], studies: Sequence[Due], spent: float, shifts: int, present: int
) -> float | None:
    """By the cost model, and as soon as a run is done at the pace so far: seconds that workers spent to those of the
    model. What failed or diverged does not count as done, but its seconds are spent, as those of others will be."""
    done, left = list[Load](), [study.load for study in studies for _ in range(study.trials)]
    for run_id, status in statuses.items():
        share = _trained(ledger, run_id, status)
        if share is None:
            continue
        load = ledger.load(run_id)
        if load is None and share < 1:
            return None
        if load and share > 0:
            done.append(_part(load, share))
        if load and share < 1:
            left.append(_part(load, 1 - share))
    if not left:
        return None
    pace = spent / worker_seconds(done, shifts) if done and "done" in statuses.values() else 1.0
    return pace * wall_seconds(left, present)


def _trained(ledger: Ledger, run_id: str, status: str) -> float | None:
    """Share of its steps that a run has taken, or None where it has ended without taking all."""
    if status == "running":
        progress = ledger.progress(run_id)
        return progress["step"] / progress["steps"] if progress else 0.0
    return {"planned": 0.0, "done": 1.0}.get(status)


def _part(load: Load, share: float) -> Load:
    return replace(load, seconds=load.seconds * share)
