"""Who trains what, kept in files so that any number of processes and machines agree, whichever of them die.

    NAME/plans/HASH.json                budget, architecture and load of runs that were planned together, by RUN_ID
    NAME/runs/RUN_ID/config.json        planned
                     claim-K.json       running, while the newest claim is alive; touching it is its heartbeat
                     failure.json       failed, until retried
                     curve.parquet, run.parquet   done, diverged or pruned (the row says which)
                     done, diverged, pruned       the same once more, for those who only look at names
    NAME/runs.parquet, curves.parquet   the rows of all finished runs, collected; a run in here is finished everywhere
    NAME/collect/claim-K.json           collecting, as above
    NAME/open/claim-K.json              writing sweep.json (sweeps/provenance.py) and left_out.json, as above
    NAME/workers/WORKER.json            since when a worker has been at it (sweeps/timesheet.py)

Whole files are renamed into place and claims made by O_EXCL (sweeps/claim.py), which holds on NFS as well.
"""

import contextlib
import dataclasses
import hashlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eutectic import files
from eutectic.analysis import schema
from eutectic.config import RunConfig
from eutectic.sweeps import timesheet
from eutectic.sweeps.claim import Claim, alone, is_alive, newest_claim
from eutectic.sweeps.cost import Load

ENDED = ("done", "diverged", "pruned")
FINISHED = (*ENDED, "failed")
LOAD = tuple(field.name for field in dataclasses.fields(Load))
STATUSES = ("planned", "running", "failed", *ENDED)


class Ledger:
    """A sweep's folder, as this process sees it. set_aside: what was found damaged, in sentences."""

    def __init__(self, folder: Path):
        self.folder, self.runs = folder, folder / "runs"
        self._finished: dict[str, str] = {}
        self._labels: dict[str, tuple[float, str]] = {}
        self.set_aside: list[str] = []
        self._read_collected()

    def add(self, runs: Iterable[RunConfig], loads: Mapping[str, Load] | None = None) -> None:
        """loads: of these runs, by run_id, where they have been estimated."""
        planned = {run.run_id: run for run in runs}
        known: dict[str, list[Any]] = {i: [run.budget, run.model.layout] for i, run in planned.items()}
        for run_id, load in (loads or {}).items():
            known[run_id] += [getattr(load, name) for name in LOAD]
        self._note(known)
        for run_id, run in planned.items():
            path = self.runs / run_id / "config.json"
            if not path.exists():
                files.make_folder(path.parent)
                files.write_json(path, run.to_dict())

    def config(self, run_id: str) -> RunConfig | None:
        """Of a run, or None where its file is gone; a damaged one is set aside, to be made again when it is added."""
        path = self.runs / run_id / "config.json"
        if fields := files.read_object(path):
            return RunConfig.from_dict(fields)
        self._put_aside(path, "is no JSON")
        return None

    def label(self, run_id: str) -> tuple[float, str]:
        """Budget and architecture of a run."""
        if run_id not in self._labels:
            budget, arch, *_ = self._planned.get(run_id) or self._configured(run_id)
            self._labels[run_id] = budget, arch
        return self._labels[run_id]

    def load(self, run_id: str) -> Load | None:
        """Of a run, where it was estimated when it was planned."""
        _, _, *fields = self._planned.get(run_id, (None, None))
        return Load(**dict(zip(LOAD, fields, strict=True))) if fields else None

    def run_ids(self) -> list[str]:
        """Of every run planned here or collected here."""
        return sorted({*self._planned, *_folders(self.runs), *self._finished})

    def statuses(self) -> dict[str, str]:
        """Of every run."""
        return {run_id: self.status(run_id) for run_id in self.run_ids()}

    def status(self, run_id: str) -> str:
        """One of STATUSES."""
        return self._finished.get(run_id) or self._look(run_id)[0]

    def lost(self, planned: Iterable[str]) -> list[str]:
        """Of these planned runs, those whose folder or config is gone: to be trained, they have to be added again."""
        return [run_id for run_id in planned if not (self.runs / run_id / "config.json").exists()]

    def damaged(self) -> list[Path]:
        """Files that were set aside, but for those of runs that are finished and collected."""
        shared = [self.folder, self.folder / "plans", self.folder / "workers"]
        folders = [*shared, *(self.runs / i for i in _folders(self.runs) if i not in self._collected)]
        return [folder / name for folder in folders for name in sorted(files.names(folder)) if ".corrupt-" in name]

    def loss(self, run_id: str) -> float | None:
        """Of a run that has ended, as its row has it."""
        own = self.runs / run_id / "run.parquet"
        path = own if own.exists() else self.folder / "runs.parquet"
        rows = pq.read_table(path, columns=["run_id", "loss"]).to_pylist()
        loss: float | None = next(row["loss"] for row in rows if row["run_id"] == run_id)
        return loss

    def row(self, run_id: str) -> dict[str, Any]:
        """Of a run that has ended; empty where it has not."""
        for path in (self.runs / run_id / "run.parquet", self.folder / "runs.parquet"):
            if table := self._read_if_there(path):
                for row in table.filter(pc.field("run_id") == run_id).to_pylist():
                    return dict(row)
        return {}

    def validations(self, run_id: str) -> list[float]:
        """Validation losses of a run that has ended; none where its folder is gone."""
        path = self.runs / run_id / "curve.parquet"
        losses = pq.read_table(path, columns=["valid_loss"])["valid_loss"].drop_null() if path.exists() else []
        return [loss.as_py() for loss in losses]

    def abandoned(self, run_id: str) -> bool:
        """Whether a run was begun and its worker is gone."""
        status, dead = self._look(run_id)
        return status == "planned" and dead is not None

    def progress(self, run_id: str) -> dict[str, Any]:
        """step, steps and loss of a run in flight, as it last wrote them."""
        progress = files.read_object(self.runs / run_id / "progress.json")
        return progress if progress.keys() >= {"step", "steps"} else {}

    def claim(self, run_id: str) -> "Claim | None":
        """The right to train a planned run, or None where it is not planned or another process was first."""
        if run_id in self._finished:
            return None
        status, dead = self._look(run_id)
        if status != "planned":
            return None
        claim = Claim.take(self.runs / run_id, dead, timesheet.clock_in(self.folder))
        # its former holder may have ended, one way or the other, between that look and this claim
        there = files.names(self.runs / run_id)
        if claim and ("config.json" not in there or there & {"run.parquet", "failure.json"}):
            claim.release()
            return None
        return claim

    def finish(self, run_id: str, status: str) -> None:
        """Let the names in a run's folder tell how it ended; its row is written."""
        with contextlib.suppress(FileNotFoundError):
            for name in ENDED:
                (self.runs / run_id / name).unlink(missing_ok=True)
            (self.runs / run_id / status).touch()

    def fail(self, run_id: str, error: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # a run whose folder was deleted is to be planned again
            files.write_json(self.runs / run_id / "failure.json", {"error": error, "host": socket.gethostname()})

    def failure(self, run_id: str) -> str:
        """Why a run failed; empty for one that did not."""
        path = self.runs / run_id / "failure.json"
        return str(files.read_object(path).get("error") or (f"{path} is unreadable." if path.exists() else ""))

    def log(self, run_id: str) -> Path | None:
        """Where the job that claimed a run last writes what it says, if it is still there."""
        folder = self.runs / run_id
        claim = newest_claim(folder, files.names(folder))
        name = files.read_object(claim).get("log") if claim else None
        path = self.folder / "jobs" / name if name else None
        return path if path and path.exists() else None

    def retry(self, run_ids: Iterable[str]) -> None:
        """Make these runs, which failed, planned again; their checkpoints, if any, are gone on from."""
        for run_id in run_ids:
            (self.runs / run_id / "failure.json").unlink(missing_ok=True)

    def collect(self) -> int:
        """Add finished runs to runs.parquet and curves.parquet; returns how many were new.

        One process at a time does. Both files are replaced whole, curves first: a run counts once its row is in
        runs.parquet. Where either is gone or damaged, both are filled again from the folders of the runs.
        """
        self._finished.clear()  # of which a folder may have been deleted
        self._read_collected()
        if not self._uncollected(["run_id"])[0]:
            return 0
        with self._collecting():
            new, old = self._uncollected()
            found: dict[str, list[pa.Table]] = {"curves": [], "runs": []}
            for run_id in new:
                curve = self._read(self.runs / run_id / "curve.parquet")
                row = self._read(self.runs / run_id / "run.parquet")
                if curve is None or row is None:
                    self._reopen(run_id)
                    continue
                found["curves"].append(curve)
                found["runs"].append(row)
            if found["runs"]:
                for name, tables in found.items():
                    self._write_collected(name, old[name], tables)
            return len(found["runs"])

    def _look(self, run_id: str) -> tuple[str, Path | None]:
        """Status of a run by the files in its folder, and its newest claim where that is dead."""
        folder = self.runs / run_id
        names = files.names(folder)
        if "run.parquet" in names and (status := self._ended(folder, names)):
            self._finished[run_id] = status
            return status, None
        if "failure.json" in names:
            return "failed", None
        newest = newest_claim(folder, names)
        return ("running", None) if is_alive(newest) else ("planned", newest)

    def _ended(self, folder: Path, names: set[str]) -> str | None:
        for status in ENDED:
            if status in names:
                return status
        row = self._read(folder / "run.parquet")
        return row.column("status")[0].as_py() if row else None

    def _reopen(self, run_id: str) -> None:
        """Have a run of which a file was damaged trained again."""
        for name in ("run.parquet", *ENDED):
            (self.runs / run_id / name).unlink(missing_ok=True)
        self._finished.pop(run_id, None)

    @cached_property
    def _planned(self) -> dict[str, list[Any]]:
        """What plans say of the runs that they name: budget, architecture and, of those estimated, LOAD."""
        planned: dict[str, list[Any]] = {}
        for path in (self.folder / "plans").glob("*.json"):
            plan = files.read_object(path)
            if plan and all(isinstance(known, list) and len(known) >= 2 for known in plan.values()):
                planned |= plan
            else:
                self._put_aside(path, "is unreadable")
        return planned

    def _configured(self, run_id: str) -> tuple[float, str]:
        config = self.config(run_id)
        return (config.budget, config.model.layout) if config else (0.0, "?")

    def _note(self, runs: dict[str, list[Any]]) -> None:
        """Write those down that no plan names, so that a run is known though its folder be deleted."""
        if new := {run_id: known for run_id, known in runs.items() if run_id not in self._planned}:
            name = hashlib.sha256(" ".join(sorted(new)).encode()).hexdigest()[:16]
            files.write_json(files.make_folder(self.folder / "plans") / f"{name}.json", new)
            self._planned.update(new)

    def _uncollected(self, columns: list[str] | None = None) -> tuple[list[str], dict[str, pa.Table | None]]:
        """Finished runs that a collected table lacks, and both tables, or columns of them."""
        old = {name: self._read_if_there(self.folder / f"{name}.parquet", columns) for name in ("curves", "runs")}
        runs = old["runs"] if old["curves"] is not None else None
        known = set(runs.column("run_id").to_pylist()) if runs is not None else set()
        new = [i for i in sorted(_folders(self.runs) - known) if self._look(i)[0] in ENDED]
        return new, old

    @contextlib.contextmanager
    def _collecting(self) -> Iterator[None]:
        with alone(self.folder / "collect"):
            for scratch in self.folder.glob(".*.parquet.*.tmp"):  # of a collection that was killed
                scratch.unlink()
            yield

    def _write_collected(self, name: str, old: pa.Table | None, new: list[pa.Table]) -> None:
        fresh = pa.concat_tables(new)
        if old is not None:  # a collection that died between the two files left curves without their runs
            again = pc.is_in(old.column("run_id"), value_set=fresh.column("run_id").combine_chunks().unique())
            fresh = pa.concat_tables([old.filter(pc.invert(again)), fresh])
        with files.replacing(self.folder / f"{name}.parquet") as scratch:
            pq.write_table(fresh.cast(schema.arrow_schema(schema.TABLES[name])), scratch)

    def _read_collected(self) -> None:
        columns = ["run_id", "status", "budget", "arch"]
        if table := self._read_if_there(self.folder / "runs.parquet", columns):
            ids, statuses, budgets, archs = (table.column(name).to_pylist() for name in columns)
            self._finished.update(zip(ids, statuses, strict=True))
            self._labels.update(zip(ids, zip(budgets, archs, strict=True), strict=True))
        self._collected = frozenset(self._finished)

    def _read_if_there(self, path: Path, columns: list[str] | None = None) -> pa.Table | None:
        return self._read(path, columns) if path.exists() else None

    def _read(self, path: Path, columns: list[str] | None = None) -> pa.Table | None:
        """A parquet file of ours, or columns of it. One that cannot be read is set aside and remembered, and None is
        returned."""
        try:
            table = pq.ParquetFile(path, pre_buffer=False).read(columns, use_threads=False)
            return table.select(columns) if columns else schema.conform(table, _table_of(path))
        except FileNotFoundError:
            self.set_aside.append(f"{path} is gone.")
        except (pa.ArrowException, OSError, KeyError) as error:
            self._put_aside(path, f"cannot be read ({error})")
        return None

    def _put_aside(self, path: Path, why: str) -> None:
        """A damaged file, if it is there; one that may only be read stays where it is."""
        try:
            then = f"it is now {files.set_aside(path).name}"
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in files.READ_ONLY:
                raise
            then = "it stays, for nothing can be renamed there"
        self.set_aside.append(f"{path} {why}; {then}.")


def _folders(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_dir()}
    except FileNotFoundError:
        return set()


def _table_of(path: Path) -> str:
    return "curves" if "curve" in path.name else "runs"


def sweeps(results: Path) -> Iterator[Path]:
    """Folders under results/ that hold a sweep, or that one may not look into; of a campaign, those of its parts."""
    for folder in sorted(results.iterdir()) if results.is_dir() else ():
        if _closed(folder) or _is_sweep(folder):
            yield folder
        elif folder.is_dir():
            yield from (part for part in sorted(folder.iterdir()) if not _closed(part) and _is_sweep(part))


def members(folder: Path) -> list[Path]:
    """The parts of a campaign; of any other folder, itself."""
    return [folder] if _is_sweep(folder) else list(sweeps(folder)) or [folder]


def _closed(folder: Path) -> bool:
    return folder.is_dir() and not os.access(folder, os.X_OK)


def _is_sweep(folder: Path) -> bool:
    return os.path.isdir(folder / "runs") or os.path.isfile(folder / "runs.parquet")
