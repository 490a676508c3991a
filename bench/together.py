"""Measurements that compile at the same time, in a process each, and are then timed one at a time."""

import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier, Lock
from typing import Any

COMPILE_SECONDS = 300.0  # after which those that are done wait no longer

Row = dict[str, Any]
Work = Callable[..., Iterator[Row | None]]


def measured(work: Work, jobs: list[tuple[Any, ...]], at_once: int) -> Iterator[Row]:
    """Rows as they come, of at most at_once processes at a time.

    work(*job) compiles, yields None, and then times and yields its rows. It must be found by its module and name.
    """
    context = multiprocessing.get_context("spawn")
    for first in range(0, len(jobs), at_once):
        wave = jobs[first : first + at_once]
        ready, turn, rows = context.Barrier(len(wave)), context.Lock(), context.Queue()
        workers = [context.Process(target=_take_turns, args=(work, job, ready, turn, rows)) for job in wave]
        for worker in workers:
            worker.start()
        ended = 0
        while ended < len(workers):
            row = rows.get(timeout=2 * COMPILE_SECONDS)
            if row is None:
                ended += 1
            else:
                yield row
        for worker in workers:
            worker.join()


def _take_turns(work: Work, job: tuple[Any, ...], ready: Barrier, turn: Lock, rows: Any) -> None:
    try:
        steps = work(*job)
        next(steps)
        with contextlib.suppress(threading.BrokenBarrierError):
            ready.wait(COMPILE_SECONDS)
        with turn:
            for row in steps:
                rows.put(row)
    finally:
        rows.put(None)
