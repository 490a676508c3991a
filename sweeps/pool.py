"""A GPU kept full: as many runs at once as its memory holds and its arithmetic needs, each in a process of its own.

Processes stay for the runs that follow, so that torch is imported once; while one compiles, the others train. A process
that dies takes one run with it, which is tried once more; memory that others had taken is no fault of the run, which
then has the GPU for itself.
"""

import math
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from eutectic.train import preemption

FULL = 4.0  # GPUs that runs would keep busy, were each alone: while some compile the others are to fill one
TRIES = 2
TICK_SECONDS = 1.0


Call = Callable[[bool], None]
Lost = Callable[[str], None]


class MemoryTaken(Exception):
    """A run found less memory than it needs while other runs had some."""


@dataclass(frozen=True)
class Task:
    """call(alone) trains a run, and raises MemoryTaken only where it is not alone; lost() says that its process died.

    memory: bytes. busy: share of the time that the run alone would keep the GPU busy.
    """

    call: Call
    lost: Lost
    memory: float
    busy: float
    tries: int = 0


@dataclass
class _Slot:
    process: BaseProcess
    pipe: Connection
    task: Task | None = field(default=None)


def run(tasks: Sequence[Task], memory: float, most: int) -> None:
    """Do the tasks, begun in this order. memory: the GPU's, in bytes; most: processes at once.

    Signals for this process that preemption heeds are handed on; raises Preempted once all have saved and gone.
    """
    waiting, slots, leaving = list(tasks), list[_Slot](), False
    try:
        while (waiting and not leaving) or any(slot.task for slot in slots):
            if not leaving:
                _begin(waiting, slots, memory, most)
            ready = connection.wait([slot.pipe for slot in slots], TICK_SECONDS)
            for slot in [slot for slot in slots if slot.pipe in ready]:
                again = _ended(slot, slots)
                waiting[:0] = [again] if again else []
            for number in preemption.asked():
                leaving |= number == signal.SIGUSR2
                for slot in slots:
                    os.kill(slot.process.pid or 0, number)
    finally:
        for slot in slots:
            slot.pipe.close()  # which ends an idle process
            if slot.task:
                slot.process.kill()
            slot.process.join()
    if leaving:
        raise preemption.Preempted


def fits(task: Task, others: Sequence[Task], memory: float) -> bool:
    """Whether a task may begin beside others. One task may always begin by itself."""
    if not others:
        return True
    needed = task.memory + sum(other.memory for other in others)
    return needed <= memory and sum(other.busy for other in others) < FULL


def _begin(waiting: list[Task], slots: list[_Slot], memory: float, most: int) -> None:
    """Begin every waiting task that there is room for; smaller ones overtake one that must wait for memory."""
    for task in list(waiting):
        active = [slot.task for slot in slots if slot.task]
        if len(active) < most and fits(task, active, memory):
            slot = next((slot for slot in slots if not slot.task), None) or _open(slots)
            slot.task = task
            slot.pipe.send((task.call, task.memory == math.inf))
            waiting.remove(task)


def _open(slots: list[_Slot]) -> _Slot:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    theirs.close()
    slots.append(_Slot(process, ours))
    return slots[-1]


def _ended(slot: _Slot, slots: list[_Slot]) -> Task | None:
    """Take note of what a slot reports, or of its death; returns a task to be begun again."""
    task, slot.task = slot.task, None
    try:
        memory_taken = slot.pipe.recv()
    except EOFError:
        slots.remove(slot)
        slot.process.join()
        if task is None or slot.process.exitcode == 0:
            return None
        if task.tries + 1 < TRIES:
            return replace(task, tries=task.tries + 1)
        task.lost(f"its process ended {TRIES} times (exit status {slot.process.exitcode}), perhaps out of memory")
        return None
    return replace(task, memory=math.inf) if task and memory_taken else None


def _serve(pipe: Connection) -> None:
    """Do what comes through the pipe until it is closed, or the process that opened it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to hand on
    preemption.install()
    while True:
        try:
            call, alone = pipe.recv()
        except EOFError:
            return
        try:
            call(alone)
        except MemoryTaken:
            pipe.send(True)
        except preemption.Preempted:
            print("saved, and gone for the scheduler", file=sys.stderr)
            return
        else:
            pipe.send(False)


def _leave_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
