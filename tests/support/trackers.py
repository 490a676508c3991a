"""What trackers were told of a run, read from where they keep it, and held to the run's own logs."""

import json
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from eutectic.config import RunConfig

Point = tuple[int, dict[str, float]]
Told = tuple[list[Point], dict[str, float]]  # a curve, and what its run came to


def assert_mirrored(tracker: str, folder: Path, run: RunConfig) -> None:
    """A run of the sweep in a folder is one of the tracker's, with every step of its curve once and its row's numbers.

    Seconds are left out: of a step that came again, a tracker may have the first.
    """
    points, final = READERS[tracker](folder, run)
    own = folder / "runs" / run.run_id
    curve, (row,) = (pq.read_table(own / f"{name}.parquet").to_pylist() for name in ("curve", "run"))
    assert [step for step, _ in points] == [logged["step"] for logged in curve]
    assert points[-1][0] == run.steps
    rel = 1e-6 if tracker == "tensorboard" else 1e-12
    for (_, values), logged in zip(points, curve, strict=True):
        left_out = ("run_id", "step", "seconds")
        expected = {key: v for key, v in logged.items() if key not in left_out and v is not None}
        assert {key: v for key, v in values.items() if key != "seconds"} == pytest.approx(expected, rel=rel)
    for key in ("loss", "train_loss", "flops", "params", "steps_done"):
        assert final[key] == pytest.approx(row[key], rel=rel)


def in_tensorboard(folder: Path, run: RunConfig) -> Told:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard" / run.run_id), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    assert [event.step for event in events.Tensors("config/text_summary")] == [0]
    assert "_hparams_/session_end_info" in events.summary_metadata
    points: dict[int, dict[str, float]] = {}
    final = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            if tag.startswith("final/"):
                final[tag.removeprefix("final/")] = event.value
            else:
                assert tag not in points.setdefault(event.step, {}), "a step that came again is there twice"
                points[event.step][tag] = event.value
    return sorted(points.items()), final


def in_trackio(folder: Path, run: RunConfig) -> Told:
    (path,) = Path(os.environ["TRACKIO_DIR"]).glob(f"{folder.name}.db")
    database = sqlite3.connect(path)
    assert len(database.execute("SELECT DISTINCT run_id FROM metrics WHERE run_name = ?", [run.run_id]).fetchall()) == 1
    ((config,),) = database.execute("SELECT config FROM configs WHERE run_name = ?", [run.run_id]).fetchall()
    assert json.loads(config)["_Group"] == run.model.layout and json.loads(config)["optim"]["lr"] == run.optim.lr
    rows = database.execute("SELECT step, metrics FROM metrics WHERE run_name = ? ORDER BY id", [run.run_id]).fetchall()
    points = [(step, json.loads(metrics)) for step, metrics in rows]
    return points[:-1], {key.removeprefix("final/"): value for key, value in points[-1][1].items()}


def in_wandb(folder: Path, run: RunConfig) -> Told:
    """Of all its sessions: offline each is a file, which `wandb sync` sends in turn to the run of that id."""
    points: list[Point] = []
    final: dict[str, float] = {}
    sessions = sorted(
        folder.glob(f"wandb/offline-run-*-{run.run_id}/*.wandb"), key=lambda path: path.stat().st_ctime_ns
    )
    for session in sorted(sessions, key=lambda path: path.stat().st_ctime_ns):
        for record in _wandb_records(session.read_bytes()):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                assert (record.run.run_id, record.run.project) == (run.run_id, folder.name)
                assert (record.run.run_group, record.run.display_name) == (run.model.layout, run.run_id)
                config = {update.key: json.loads(update.value_json) for update in record.run.config.update}
                assert config["optim"]["lr"] == run.optim.lr
            items = getattr(record, kind).item if kind == "history" else record.summary.update
            values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}
            values = {key: value for key, value in values.items() if not key.startswith("_")}
            if kind == "history":
                points.append((record.history.step.num, values))
            final.update(values if kind == "summary" else {})
    return points, final


def _wandb_records(data: bytes) -> Iterator[Any]:
    """Of a .wandb file: LevelDB's log format, in blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    at, whole = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


READERS: dict[str, Callable[[Path, RunConfig], Told]] = {
    "wandb": in_wandb,
    "trackio": in_trackio,
    "tensorboard": in_tensorboard,
}
