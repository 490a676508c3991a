"""Who trains what, kept in files so that any number of processes and machines agree, whichever of them die.

    NAME/runs/RUN_ID/config.json        planned
                     claim-K.json       running, while the newest claim is alive; touching it is its heartbeat
                     failure.json       failed, until retried
                     curve.parquet, run.parquet   done, diverged or pruned (the row says which)
    NAME/runs.parquet, curves.parquet   the rows of all finished runs, collected; a run in here is finished everywhere

A claim is taken by creating the next number with O_EXCL, which only one process can; nobody removes another's.
"""

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eutectic import files
from eutectic.analysis import schema
from eutectic.config import RunConfig
from eutectic.sweeps import slurm

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 10.0
ENDED = ("done", "diverged", "pruned")
STATUSES = ("planned", "running", "failed", *ENDED)


class Ledger:
    def __init__(self, folder: Path):
        self.folder, self.runs = folder, folder / "runs"
        self._finished: dict[str, str] = {}
        self._labels: dict[str, tuple[float, str]] = {}
        self.set_aside: list[str] = []
        self._read_collected()

    def add(self, runs: Iterable[RunConfig]) -> None:
        for run in runs:
            path = self.runs / run.run_id / "config.json"
            if not path.exists():
                files.make_folder(path.parent)
                files.write_json(path, run.to_dict())

    def config(self, run_id: str) -> RunConfig | None:
        fields = files.read_json(self.runs / run_id / "config.json")
        return RunConfig.from_dict(fields) if fields else None

    def label(self, run_id: str) -> tuple[float, str]:
        """Budget and architecture of a run."""
        if run_id not in self._labels:
            config = self.config(run_id)
            self._labels[run_id] = (config.budget, config.model.layout) if config else (0.0, "?")
        return self._labels[run_id]

    def run_ids(self) -> list[str]:
        """Of every run planned here or collected here."""
        planned = {path.parent.name for path in self.runs.glob("*/config.json")}
        return sorted(planned | self._finished.keys())

    def status(self, run_id: str) -> str:
        """One of STATUSES."""
        if run_id in self._finished:
            return self._finished[run_id]
        folder = self.runs / run_id
        if (folder / "run.parquet").exists() and (row := self._read(folder / "run.parquet")) is not None:
            self._finished[run_id] = row.column("status")[0].as_py()
            return self._finished[run_id]
        if (folder / "failure.json").exists():
            return "failed"
        return "running" if _is_alive(_newest_claim(folder)) else "planned"

    def loss(self, run_id: str) -> float | None:
        """Of a run that has ended, as its row has it."""
        own = self.runs / run_id / "run.parquet"
        path = own if own.exists() else self.folder / "runs.parquet"
        rows = pq.read_table(path, columns=["run_id", "loss"]).to_pylist()
        loss: float | None = next(row["loss"] for row in rows if row["run_id"] == run_id)
        return loss

    def validations(self, run_id: str) -> list[float]:
        """Validation losses of a run that has ended; none where its folder is gone."""
        path = self.runs / run_id / "curve.parquet"
        losses = pq.read_table(path, columns=["valid_loss"])["valid_loss"].drop_null() if path.exists() else []
        return [loss.as_py() for loss in losses]

    def abandoned(self, run_id: str) -> bool:
        """Whether a run was begun and its worker is gone."""
        return self.status(run_id) == "planned" and _newest_claim(self.runs / run_id) is not None

    def progress(self, run_id: str) -> dict[str, Any]:
        """step, steps and loss of a run in flight, as it last wrote them."""
        return files.read_json(self.runs / run_id / "progress.json") or {}

    def claim(self, run_id: str) -> "Claim | None":
        """The right to train a planned run, or None where it is not planned or another process was first."""
        if self.status(run_id) != "planned":
            return None
        folder = self.runs / run_id
        claim = Claim.take(folder)
        # its former holder may have ended, one way or the other, between that look and this claim
        if claim and any((folder / name).exists() for name in ("run.parquet", "failure.json")):
            claim.release()
            return None
        return claim

    def fail(self, run_id: str, error: str) -> None:
        files.write_json(self.runs / run_id / "failure.json", {"error": error, "host": socket.gethostname()})

    def failure(self, run_id: str) -> str:
        failure = files.read_json(self.runs / run_id / "failure.json") or {}
        return str(failure.get("error", ""))

    def retry(self) -> list[str]:
        """Make what failed planned again, and nothing else; its checkpoint, if any, is gone on from."""
        failed = [run_id for run_id in self.run_ids() if self.status(run_id) == "failed"]
        for run_id in failed:
            (self.runs / run_id / "failure.json").unlink()
        return failed

    def collect(self) -> int:
        """Add finished runs to runs.parquet and curves.parquet; returns how many were new.

        Both files are replaced whole, curves first: a run counts once its row is in runs.parquet.
        """
        known = self._read_collected()
        new = [i for i in self.run_ids() if self.status(i) in ENDED and i not in known]
        curves, rows = [], []
        for run_id in new:
            curve = self._read(self.runs / run_id / "curve.parquet")
            row = self._read(self.runs / run_id / "run.parquet")
            if curve is None or row is None:  # its file was set aside: the run is to be trained again
                (self.runs / run_id / "run.parquet").unlink(missing_ok=True)
                self._finished.pop(run_id, None)
                continue
            curves.append(curve)
            rows.append(row)
        if rows:
            self._append("curves", curves)
            self._append("runs", rows)
        return len(rows)

    def _append(self, table: str, new: list[pa.Table]) -> None:
        path = self.folder / f"{table}.parquet"
        old = [kept] if path.exists() and (kept := self._read(path)) is not None else []
        fresh = pa.concat_tables(new)
        if old:  # a collection that died between the two files left curves without their runs
            again = pa.compute.is_in(
                old[0].column("run_id"), value_set=fresh.column("run_id").combine_chunks().unique()
            )
            old = [old[0].filter(pa.compute.invert(again))]
        with files.replacing(path) as scratch:
            pq.write_table(pa.concat_tables([*old, fresh]), scratch)

    def _read_collected(self) -> set[str]:
        path = self.folder / "runs.parquet"
        table = self._read(path) if path.exists() else None
        if table is None:
            return set()
        for row in table.select(["run_id", "status", "budget", "arch"]).to_pylist():
            self._finished[row["run_id"]] = row["status"]
            self._labels[row["run_id"]] = (row["budget"], row["arch"])
        return set(table.column("run_id").to_pylist())

    def _read(self, path: Path) -> pa.Table | None:
        """A parquet file of ours; one that cannot be read is set aside and remembered, and None is returned."""
        try:
            return schema.conform(pq.ParquetFile(path).read(), "curves" if "curve" in path.name else "runs")
        except (pa.ArrowException, OSError, KeyError) as error:
            with contextlib.suppress(FileNotFoundError):
                self.set_aside.append(f"{path} cannot be read ({error}); it is now {files.set_aside(path).name}.")
            return None


class Claim:
    """The right to train one run, kept alive by a thread until released."""

    def __init__(self, path: Path):
        self.path = path
        self._released = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    @classmethod
    def take(cls, folder: Path) -> "Claim | None":
        newest = _newest_claim(folder)
        number = int(newest.stem.removeprefix("claim-")) + 1 if newest else 0
        path = folder / f"claim-{number}.json"
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "at": time.time()}
        owner |= slurm.identity()
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return None
        with os.fdopen(handle, "w") as file:
            json.dump(owner, file)
        for scratch in folder.glob(".*.tmp"):  # of a writer that was killed
            scratch.unlink(missing_ok=True)
        return cls(path)

    def held(self) -> bool:
        """Whether nobody has taken the run over, as others may from a claim without a heartbeat."""
        return _newest_claim(self.path.parent) == self.path

    def release(self) -> None:
        self._released.set()
        os.utime(self.path, (0, 0))

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)


def _newest_claim(folder: Path) -> Path | None:
    claims = [(int(path.stem.removeprefix("claim-")), path) for path in folder.glob("claim-*.json")]
    return max(claims)[1] if claims else None


def _is_alive(claim: Path | None) -> bool:
    """Whether a claim's process still is: by its pid on this host, else by its heartbeat, unless Slurm knows better.

    What a Slurm job claimed before it was requeued is the job's own, wherever it was and however lately it beat.
    """
    if claim is None:
        return False
    beat = claim.stat().st_mtime
    owner = files.read_json(claim) or {}
    own = slurm.identity()
    if own and owner.get("job") == own["job"] and owner["life"] < own["life"]:
        return False
    if beat and owner.get("host") == socket.gethostname():
        return _born(owner["pid"]) == owner["born"] != ""
    if _now(claim.parent) - beat >= LEASE_SECONDS:
        return False
    return not ("job" in owner and slurm.is_over(owner["job"], owner["array"]))


def _now(folder: Path) -> float:
    """The time by the clock that stamps files in a folder, which may be a file server's."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".now.") as file:
        return os.stat(file.name).st_mtime


def _born(pid: int) -> str:
    """When a process of this host started, in clock ticks since boot: a reused pid is told apart. Empty if none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def sweeps(results: Path) -> Iterator[Path]:
    """Folders under results/ that hold a sweep."""
    for folder in sorted(results.iterdir()) if results.is_dir() else ():
        if (folder / "runs").is_dir() or (folder / "runs.parquet").is_file():
            yield folder
