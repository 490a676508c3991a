"""Who has been at work on a sweep, and for how long: a file for each worker.

    NAME/workers/HOST-PID-BORN.json    since when, and on how many devices; its time is that of the last heartbeat

The processes that share a GPU are one worker's, and so its hours are counted once, with those that became of no run: of
compilation, of what failed or was lost. They begin with a first claim, some seconds after the job.
"""

import contextlib
import multiprocessing
import os
import socket
from dataclasses import dataclass
from pathlib import Path

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
            since = claim.now(path.parent)
            files.write_json(path, {**own, **slurm.identity(), "devices": devices, "since": since})
    return path


def shifts(sweep: Path) -> list[Shift]:
    """Of every worker that there was; what cannot be read is set aside."""
    found = []
    for path in (sweep / "workers").glob("*.json"):
        with path.open():  # which has NFS ask the server
            beat = path.stat().st_mtime
        sheet = files.read_object(path)
        if sheet.keys() >= {"since", "devices"}:
            found.append((path, beat, sheet))
        else:
            with contextlib.suppress(OSError):  # where one may only read
                files.set_aside(path)
    if not found:
        return []
    now = claim.now(sweep / "workers")
    return [
        Shift(beat - sheet["since"], sheet["devices"], now - beat < claim.LEASE_SECONDS and claim.is_alive(path))
        for path, beat, sheet in found
    ]
