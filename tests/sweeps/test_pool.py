"""Tasks in processes of their own: room is kept, deaths are survived, signals are handed on."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eutectic.sweeps import pool
from eutectic.train import preemption

tasks = st.builds(
    pool.Task, st.just(print), st.just(print), st.floats(0, 100, allow_nan=False), st.floats(0.01, 1, allow_nan=False)
)


@given(st.lists(tasks, max_size=12), st.floats(1, 200))
def test_what_is_begun_fits_and_what_fits_is_begun(waiting: list[pool.Task], memory: float) -> None:
    """As one by one they are begun: together within memory, and no more of them than keep the GPU busy."""
    active: list[pool.Task] = []
    for task in waiting:
        if pool.fits(task, active, memory):
            active.append(task)
    if len(active) > 1:
        assert sum(task.memory for task in active) <= memory
        assert sum(task.busy for task in active[:-1]) < pool.FULL
    assert bool(active) == bool(waiting)


def _note(folder: Path, name: str, seconds: float, alone: bool) -> None:
    with (folder / "log").open("a") as file:
        file.write(f"{name} {os.getpid()} {alone}\n")
    time.sleep(seconds)


def _die(folder: Path, deaths: int, alone: bool) -> None:
    _note(folder, "die", 0.0, alone)
    if len((folder / "log").read_text().splitlines()) <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)


def _crowded(folder: Path, alone: bool) -> None:
    _note(folder, "crowded", 0.0, alone)
    if not alone:
        raise pool.MemoryTaken


def _until_told(folder: Path, alone: bool) -> None:
    _note(folder, "waits", 0.0, alone)
    while signal.SIGUSR2 not in preemption.asked():
        time.sleep(0.02)
    _note(folder, "saved", 0.0, alone)
    raise preemption.Preempted


def _log(folder: Path) -> list[tuple[str, ...]]:
    return [tuple(line.split()) for line in (folder / "log").read_text().splitlines()]


def _never(why: str) -> None:
    raise AssertionError(why)


def test_processes_are_used_again(tmp_path: Path) -> None:
    pool.run([pool.Task(partial(_note, tmp_path, f"{k}", 0.05), _never, 1.0, 0.1) for k in range(6)], 2.0, most=8)
    log = _log(tmp_path)
    assert sorted(name for name, *_ in log) == list("012345")
    assert 1 <= len({pid for _, pid, _ in log}) <= 2


@pytest.mark.parametrize(("deaths", "lost"), [(1, 0), (2, 1)])
def test_a_process_that_dies_takes_its_task_along_twice_at_most(deaths: int, lost: int, tmp_path: Path) -> None:
    said: list[str] = []
    pool.run([pool.Task(partial(_die, tmp_path, deaths), said.append, 1.0, 0.1)], 2.0, most=2)
    assert [len(_log(tmp_path)), len(said)] == [2, lost]
    assert not lost or "exit status -9" in said[0]


def test_memory_that_others_took_is_asked_for_alone(tmp_path: Path) -> None:
    crowded = pool.Task(partial(_crowded, tmp_path), _never, 1.0, 0.1)
    pool.run([crowded, pool.Task(partial(_note, tmp_path, "other", 0.2), _never, 1.0, 0.1)], 4.0, most=2)
    assert [(name, alone) for name, _, alone in _log(tmp_path) if name == "crowded"] == [
        ("crowded", "False"),
        ("crowded", "True"),
    ]


def test_a_preemption_reaches_every_process_and_begins_nothing_more(tmp_path: Path) -> None:
    preemption.install()

    def tell() -> None:
        while not (tmp_path / "log").exists() or len(_log(tmp_path)) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR2)

    threading.Thread(target=tell).start()
    with pytest.raises(preemption.Preempted):
        pool.run([pool.Task(partial(_until_told, tmp_path), _never, 1.0, 0.1)] * 3, 2.0, most=4)
    assert [name for name, *_ in _log(tmp_path)] == ["waits", "waits", "saved", "saved"]
