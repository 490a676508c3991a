"""A signal makes a run save between two steps, wherever its log is; the run then ends as one that was left alone."""

import os
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from eutectic.config import RunConfig
from eutectic.train import checkpoint, loop, preemption
from eutectic.train.shards import Manifest

CLOCK = ("seconds", "tokens_per_second", "finished", "commit")


@pytest.fixture
def a_job() -> list[int]:
    """A process in which, as in submitit's jobs, SIGUSR2 has a handler; what reached it."""
    reached: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, _: reached.append(number))
    return reached


def numbers(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize(
    ("number", "returns"), [(signal.SIGTERM, True), (signal.SIGUSR2, True), (signal.SIGUSR2, False)]
)
def test_a_signal_saves_and_changes_no_number(
    number: signal.Signals,
    returns: bool,
    a_job: list[int],
    small_run: RunConfig,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sent during step 8 of 21 of which every fifth is logged; SIGTERM lets the process go on, SIGUSR2 ends it
    if it returns."""
    monkeypatch.setattr(loop, "ROWS", 5)
    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
    loop.train(small_run, manifest, tmp_path / "whole", "cpu")

    requeue = preemption.heed(returns)
    lr_at, save, saved, kept = loop.lr_at, checkpoint.save, [], []

    def interrupted(config: Any, step: int, steps: int) -> float:
        if step == 7 and not saved:
            os.kill(os.getpid(), number)
        return lr_at(config, step, steps)

    def remembering(path: Path, *args: Any) -> None:
        save(path, *args)
        saved.append(args[3].step)
        kept.append(path.read_bytes())

    monkeypatch.setattr(loop, "lr_at", interrupted)
    monkeypatch.setattr(checkpoint, "save", remembering)
    if number == signal.SIGUSR2 and returns:
        with pytest.raises(preemption.Preempted):
            loop.train(small_run, manifest, tmp_path / "cut", "cpu")
        assert not (tmp_path / "cut/run.parquet").exists()
    else:
        loop.train(small_run, manifest, tmp_path / "cut", "cpu")
        (tmp_path / "cut/checkpoint.safetensors").write_bytes(kept[0])  # as had it been killed after all
    loop.train(small_run, manifest, tmp_path / "cut", "cpu")
    assert saved == [8]
    for name in ("run.parquet", "curve.parquet"):
        assert numbers(tmp_path / "cut" / name) == numbers(tmp_path / "whole" / name)
    assert requeue is not None and not a_job
    requeue(signal.SIGUSR2, None)
    assert a_job == [signal.SIGUSR2]


def test_where_nobody_handles_the_signals_they_stay_as_they_are() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR2)
    assert not callable(before[1])
    assert preemption.heed(returns=True) is None
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR2)) == before
