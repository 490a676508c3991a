"""The right to train a run, or to collect: a file in its folder that one process can make, and that dies with it.

    claim-K.json    who holds it; its time is that of the last heartbeat, or 0 once it is released

A claim is taken by creating the number after a dead one's with O_EXCL, which only one process can; nobody removes
another's. On NFS a claim is opened to see its time, for a stat alone may be answered from a cache. Hosts' clocks are
compared with none but the one that stamps files; a heartbeat further ahead of that than a lease is as dead as one that
far behind.
"""

import contextlib
import json
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eutectic import files
from eutectic.sweeps import slurm

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 10.0
POLL_SECONDS = 0.1


class Claim:
    """The right to train one run, kept alive by a thread until released, and with it the file of the worker."""

    def __init__(self, path: Path, owner: dict[str, Any], sheet: Path | None):
        self.path, self.owner, self._sheet = path, owner, sheet
        self._released = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    @classmethod
    def take(cls, folder: Path, dead: Path | None, sheet: Path | None = None) -> "Claim | None":
        """The claim after the one that was found dead, if there was any, or None where another process was first.

        Not the claim after the newest: that may have been taken since, and be alive.
        """
        path = folder / f"claim-{_number(dead) + 1 if dead else 0}.json"
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "born": born(os.getpid()), "at": time.time()}
        owner |= slurm.identity() | slurm.job_log()
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except (FileExistsError, FileNotFoundError):  # or the folder was deleted
            return None
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(owner, file)
        except OSError:  # a full disk
            os.utime(path, (0, 0))
            raise
        for scratch in folder.glob(".*.tmp"):  # of a writer that was killed
            scratch.unlink(missing_ok=True)
        return cls(path, owner, sheet)

    @classmethod
    def take_if_free(cls, folder: Path) -> "Claim | None":
        newest = newest_claim(folder, files.names(folder))
        return None if is_alive(newest) else cls.take(folder, newest)

    def held(self) -> bool:
        """Whether nobody has taken the run over, as others may from a claim without a heartbeat, or after its folder
        was deleted and made again."""
        folder = self.path.parent
        return newest_claim(folder, files.names(folder)) == self.path and files.read_json(self.path) == self.owner

    def release(self) -> None:
        self._released.set()
        self._beating.join()
        self._touch()
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path, (0, 0))

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            self._touch()

    def _touch(self) -> None:
        with contextlib.suppress(OSError):
            os.utime(self.path)
        if self._sheet:
            with contextlib.suppress(OSError):  # a full disk, or it was deleted, and is not to be made again
                os.utime(self._sheet)
                files.write_json(self._sheet, files.read_object(self._sheet) | {"until": self._sheet.stat().st_mtime})


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """For one process at a time, by claims in a folder of its own; the others wait."""
    files.make_folder(folder)
    while (claim := Claim.take_if_free(folder)) is None:
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        claim.release()


def newest_claim(folder: Path, names: Iterable[str]) -> Path | None:
    """names: of the files in the folder."""
    claims = [folder / name for name in names if re.fullmatch(r"claim-\d+\.json", name)]
    return max(claims, key=_number, default=None)


def _number(claim: Path) -> int:
    return int(claim.stem.removeprefix("claim-"))


def is_alive(claim: Path | None) -> bool:
    """Whether a claim's process still is: by its pid on this host, else by its heartbeat, unless Slurm knows better.

    What a Slurm job claimed before it was requeued is the job's own, wherever it was and however lately it beat.
    """
    if claim is None:
        return False
    try:
        with claim.open() as file:  # which has NFS ask the server, as a stat alone may not
            beat, text = os.fstat(file.fileno()).st_mtime, file.read()
    except FileNotFoundError:
        return False
    owner = _owner(text)
    own = slurm.identity()
    if own and owner.get("job") == own["job"] and owner["life"] < own["life"]:
        return False
    if beat and owner.get("host") == socket.gethostname():
        return born(owner["pid"]) == owner["born"] != ""
    if abs(now(claim.parent) - beat) >= LEASE_SECONDS:
        return False
    return not ("job" in owner and slurm.is_over(owner["job"], owner["array"]))


def _owner(text: str) -> dict[str, Any]:
    """Of a claim; empty where that is being written, or damaged, for then its heartbeat alone tells."""
    try:
        owner = json.loads(text)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) and owner.keys() >= {"host", "pid", "born"} else {}


def now(folder: Path) -> float:
    """The time by the clock that stamps files in a folder, which may be a file server's; this host's for those who may
    only read there."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".now.") as file:
            return os.stat(file.name).st_mtime
    except OSError as error:
        if error.errno in files.READ_ONLY:
            return time.time()
        raise


def born(pid: int) -> str:
    """When a process of this host started, in clock ticks since boot: a reused pid is told apart. Empty if there is
    none, or one that has ended and that nobody has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
