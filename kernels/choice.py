"""Which kernels the user asks for, and word of which were chosen."""

import functools
import os
import sys

from eutectic.errors import UserError

VARIABLE = "EUTECTIC_KERNELS"
NAMES = ("reference", "torch", "triton")


def forced() -> str | None:
    """The implementation that the environment forces wherever an op has it; None where each op is to choose."""
    name = os.environ.get(VARIABLE) or None
    if name not in (None, *NAMES):
        raise UserError(f"{VARIABLE} is {name!r}; set it to {', '.join(NAMES[:-1])} or {NAMES[-1]}, or unset it.")
    return name


@functools.cache
def say(op: str, what: str) -> None:
    """Once a process."""
    print(f"{op}: {what}", file=sys.stderr)
