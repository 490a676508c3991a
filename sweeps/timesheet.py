"""Who has been at work on a sweep, and for how long: a file for each worker.

    NAME/workers/HOST-PID-BORN.json    since when, until when, and on how many devices

Its time is that of the last heartbeat, and of a worker that was killed the end. A heartbeat is written down as well
(`until`), for copies of the folder, whose files have other times.

The processes that share a GPU are one worker's, and so its hours are counted once, with those that became of no run: of
compilation, of what failed or was lost. They begin with a first claim, some seconds after the job.
"""

import contextlib
import multiprocessing
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eutectic import files
from eutectic.sweeps import claim, slurm


@dataclass(frozen=True)
class Shift:
    """seconds that a worker has been at it, on so many devices. present: whether it still is."""

    seconds: float
    devices: int
    present: bool


def clock_in(sweep: Path) -> Path:
    """This worker's file, which its claims keep alive; on a full disk there may be none."""
    pool = multiprocessing.parent_process()
    pid = (pool.pid if pool else None) or os.getpid()
    own = {"host": socket.gethostname(), "pid": pid, "born": claim.born(pid)}
    path = sweep / "workers" / f"{own['host']}-{pid}-{own['born']}.json"
    if not path.exists():
        with contextlib.suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            devices = int(os.environ.get("WORLD_SIZE", 1))  # as torchrun has it: that train each run together
            since, place = claim.now(path.parent), path.parent.stat().st_ino
            sheet = {**own, **slurm.identity(), "devices": devices, "since": since, "until": since, "place": place}
            files.write_json(path, sheet)
    return path


def shifts(sweep: Path) -> list[Shift]:
    """Of every worker that there was; what cannot be read is set aside."""
    found = []
    for path in (sweep / "workers").glob("*.json"):
        with path.open():  # which has NFS ask the server
            beat = path.stat().st_mtime
        sheet = files.read_object(path)
        if sheet.keys() >= {"since", "until", "devices", "place"}:
            found.append((path, beat, sheet))
        else:
            with contextlib.suppress(OSError):  # where one may only read
                files.set_aside(path)
    if not found:
        return []
    now, place = claim.now(sweep / "workers"), (sweep / "workers").stat().st_ino
    return [_shift(path, beat, sheet, now, sheet["place"] == place) for path, beat, sheet in found]


def _shift(path: Path, beat: float, sheet: dict[str, Any], now: float, here: bool) -> Shift:
    """here: whether the file is where it was written, and its time the last heartbeat."""
    end = beat if here else sheet["until"]
    present = here and now - beat < claim.LEASE_SECONDS and claim.is_alive(path)
    return Shift(end - sheet["since"], sheet["devices"], present)
