"""Trackers hold what a curve holds, once, however its run was interrupted; how a tracker fares is nothing to it."""

import dataclasses
import importlib.util
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from trackers import assert_mirrored

from eutectic import arguments, cli
from eutectic.config import RunConfig
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.worker import Place, work
from eutectic.train import checkpoint, loop, track
from eutectic.train.shards import Manifest

TRACKERS = [
    pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs {name}"))
    for name in track.SINKS
]
CLOCK = ("seconds", "tokens_per_second", "finished", "commit")


@pytest.fixture(autouse=True)
def at_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackers that know nobody's account and write nowhere else. trackio looks once, as it is imported."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp()))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path_factory.getbasetemp() / "trackio"))
    monkeypatch.setattr(track, "_said", set())


def settled() -> None:
    """Wait until trackers have taken all they were handed."""
    done = threading.Event()
    track._calls.put(done.set)
    assert done.wait(60)


def tracked(ledger: Ledger, config: RunConfig, manifest: Manifest, tracker: str | None) -> None:
    ledger.add([config])
    work(ledger.folder, [config.run_id], Place("cpu", Path(manifest.folder).parents[1], tracker=tracker))


def numbers(ledger: Ledger, config: RunConfig, name: str) -> list[dict[str, Any]]:
    rows = pq.read_table(ledger.runs / config.run_id / name).to_pylist()
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]


@pytest.mark.parametrize("tracker", TRACKERS)
def test_an_interrupted_run_is_one_run_with_every_step_once(
    tracker: str, small_run: RunConfig, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is saved after step 8 and dies after step 12, whose numbers the tracker has by then."""
    plain, ledger = Ledger(tmp_path / "plain"), Ledger(tmp_path / "tracked")
    tracked(plain, small_run, manifest, None)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    save = checkpoint.save

    def die(*args: Any) -> None:
        if args[4].step <= 8:
            save(*args)
        if args[4].step == 12:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", die)
    with pytest.raises(KeyboardInterrupt):
        tracked(ledger, small_run, manifest, tracker)
    settled()
    monkeypatch.setattr(checkpoint, "save", save)
    time.sleep(1.1)  # two sessions' files are told apart, and put in order, by the second
    tracked(ledger, small_run, manifest, tracker)
    settled()

    for name in ("curve.parquet", "run.parquet"):
        assert numbers(ledger, small_run, name) == numbers(plain, small_run, name)
    curve = numbers(ledger, small_run, "curve.parquet")
    assert [row["step"] for row in curve] == list(range(1, 22))
    assert_mirrored(tracker, ledger.folder, small_run)


class Broken:
    """Fails in the making or at a step."""

    way = ""

    def __init__(self, *_: object):
        if self.way == "begin":
            raise ConnectionError("no network\nand more")

    def log(self, step: int, _: object) -> None:
        if self.way == "log":
            raise RuntimeError("no more room")

    def close(self, row: object) -> None: ...


@pytest.mark.parametrize(("way", "word"), [("begin", "ConnectionError: no network)"), ("log", "no more room)")])
def test_a_failing_tracker_is_told_of_once(
    way: str,
    word: str,
    small_run: RunConfig,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(track.SINKS, "wandb", Broken)
    monkeypatch.setattr(Broken, "way", way)
    plain, ledger = Ledger(tmp_path / "plain"), Ledger(tmp_path / "s")
    tracked(plain, small_run, manifest, None)
    for run in (small_run, dataclasses.replace(small_run, seed=4)):
        tracked(ledger, run, manifest, "wandb")
    settled()
    assert set(ledger.statuses().values()) == {"done"}
    assert numbers(ledger, small_run, "curve.parquet") == numbers(plain, small_run, "curve.parquet")
    said = [line for line in capsys.readouterr().err.splitlines() if "fails" in line]
    assert len(said) == 1 and said[0].startswith("wandb fails (") and word in said[0]


def test_a_tracker_that_hangs_holds_up_no_run_and_the_process_not_for_long(
    small_run: RunConfig, manifest: Manifest, tmp_path: Path
) -> None:
    ledger, runs = Ledger(tmp_path / "s"), [small_run, dataclasses.replace(small_run, seed=4)]
    ledger.add(runs)
    script = f"""
import time
from pathlib import Path
from eutectic.sweeps.worker import Place, work
from eutectic.train import track

class Hangs:
    def __init__(self, *_):
        time.sleep(3600)

track.SINKS["wandb"], track.LEAVE_SECONDS = Hangs, 1.0
place = Place("cpu", Path({str(Path(manifest.folder).parents[1])!r}), tracker="wandb")
work(Path("s"), {[run.run_id for run in runs]}, place)
print(time.monotonic())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    held = time.monotonic() - float(done.stdout)
    assert set(ledger.statuses().values()) == {"done"}, done.stderr
    assert 1.0 <= held < 5.0


@pytest.mark.parametrize("tracker", track.SINKS)
def test_a_package_that_is_missing_is_named_before_anything_is_planned(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for command in (["sweep"], ["tune"], ["retry"], ["run", "0" * 16]):
        assert cli.main([*command, "--track", tracker]) == 1
        said = f"eutectic: --track {tracker} needs a package: `{sys.executable} -m pip install {tracker}`.\n"
        assert capsys.readouterr().err == said
    assert not list(tmp_path.iterdir())
    assert set(arguments.TRACKERS) == set(track.SINKS)
