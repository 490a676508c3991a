"""What a scheduler asks of this process by signals. They only set a flag; training acts on it between two steps.

SIGTERM asks to save: what follows is a kill, or, where it was the warning of a grace period, some more training.
SIGUSR2, which submitit has Slurm send ahead of a time limit and of a preemption, asks to save and go.
"""

import signal
from collections.abc import Callable
from typing import Any

_asked: set[int] = set()


class Preempted(BaseException):
    """The run is saved and this process is to end: no error of the run, nor to be caught as one."""


def heed() -> Callable[[int, Any], None] | None:
    """Handle both signals from now on; returns who handled SIGUSR2, or None, with nothing changed, where nobody did."""
    before = signal.getsignal(signal.SIGUSR2)
    if not callable(before):  # no job of submitit's: run here and now
        return None
    install()
    return before


def install() -> None:
    """Handle both signals from now on, whoever did before."""
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda number, _: _asked.add(number))


def asked() -> set[int]:
    """The signals that came since the last call."""
    came = set(_asked)
    _asked.difference_update(came)
    return came
