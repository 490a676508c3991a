"""How a sweep stands: the statuses of its runs, what its workers have spent, and how long the rest will take them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from eutectic.sweeps import slurm, timesheet
from eutectic.sweeps.cost import Load, wall_seconds, worker_seconds
from eutectic.sweeps.ledger import FINISHED, Ledger


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
    """Of a sweep when it was looked at. jobs: that ended early, while runs wait that they may have been meant to
    train."""

    ledger: Ledger
    statuses: dict[str, str]
    jobs: list[slurm.Ended]
    pace: Pace

    @property
    def ended(self) -> int:
        """Runs for which nothing is to be waited."""
        return sum(status in FINISHED for status in self.statuses.values())


def look(folder: Path) -> Standing:
    """At the sweep in a folder."""
    ledger = Ledger(folder)
    statuses = ledger.statuses()
    jobs = slurm.ended(folder) if "planned" in statuses.values() else []
    return Standing(ledger, statuses, jobs, pace(ledger, statuses))


def pace(ledger: Ledger, statuses: Mapping[str, str]) -> Pace:
    shifts = timesheet.shifts(ledger.folder)
    if not shifts:
        return Pace()
    spent = sum(shift.seconds for shift in shifts)
    of_devices = sum(shift.seconds * shift.devices for shift in shifts)
    present = sum(shift.present for shift in shifts)
    return Pace(spent, of_devices, present, _eta(ledger, statuses, spent, len(shifts), present) if present else None)


def _eta(ledger: Ledger, statuses: Mapping[str, str], spent: float, shifts: int, present: int) -> float | None:
    """By the cost model, and as soon as a run is done at the pace so far: seconds that workers spent to those of the
    model. What failed or diverged does not count as done, but its seconds are spent, as those of others will be."""
    done, left = list[Load](), list[Load]()
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
