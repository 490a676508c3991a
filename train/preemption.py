"""What a scheduler asks of this process by signals. They only set a flag; training acts on it between two steps.

SIGTERM asks to save: what follows is a kill, or, where it was the warning of a grace period, some more training.
SIGUSR2, which submitit has Slurm send ahead of a time limit and of a preemption, asks to save and go; of a process that
would not come back it asks what SIGTERM does.
"""

import signal
from collections.abc import Callable
from typing import Any

_asked: set[int] = set()


class Preempted(BaseException):
    """The run is saved and this process is to end: no error of the run, nor to be caught as one."""


def heed(returns: bool) -> Callable[[int, Any], None] | None:
    """Handle both signals from now on; returns who handled SIGUSR2, or None, with nothing changed, where nobody did.

    returns: whether this process is begun again once it has gone.
    """
    before = signal.getsignal(signal.SIGUSR2)
    if not callable(before):  # no job of submitit's: run here and now
        return None
    install(returns)
    return before


def install(returns: bool = True) -> None:
    """Handle both signals from now on, whoever did before."""
    go = signal.SIGUSR2 if returns else signal.SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: _asked.add(signal.SIGTERM))
    signal.signal(signal.SIGUSR2, lambda *_: _asked.add(go))


def asked() -> set[int]:
    """The signals that came since the last call."""
    came = set(_asked)
    _asked.difference_update(came)
    return came
