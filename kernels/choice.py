"""Which kernels the user asks for, and word of which were chosen; for compiled code as well."""

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from eutectic.errors import UserError

VARIABLE = "EUTECTIC_KERNELS"
NAMES = ("reference", "torch", "triton")

P = ParamSpec("P")
R = TypeVar("R")
_said: set[str] = set()


def constant(function: Callable[P, R]) -> Callable[P, R]:
    """Have a compiler call a function of constants while it traces, and take its result for a constant.

    It is torch.compiler.assume_constant_result without the import of the compiler, two seconds that planning, which
    compiles nothing, would wait for.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant
def forced() -> str | None:
    """The implementation that the environment forces wherever an op has it; None where each op is to choose.

    Raises UserError for a name that is none of them.
    """
    name = os.environ.get(VARIABLE) or None
    if name not in (None, *NAMES):
        raise UserError(f"{VARIABLE} is {name!r}; set it to {', '.join(NAMES[:-1])} or {NAMES[-1]}, or unset it.")
    return name


@constant
def has_triton(device: str) -> bool:
    """Whether a Triton kernel can run there: on a GPU, or elsewhere by Triton's interpreter.

    Raises UserError where it is forced and cannot.
    """
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    can = importlib.util.find_spec("triton") is not None and (device == "cuda" or interpreted)
    if forced() == "triton" and not can:
        raise UserError(
            f"{VARIABLE}=triton cannot be had on a {device.upper()} here; unset it, or install triton and set "
            "TRITON_INTERPRET=1, which is slow and for tests."
        )
    return can


@constant
def plain(op: str) -> str | None:
    """`reference` or `torch`, where the environment forces one of them on `op`, which is then said."""
    name = forced()
    if name not in ("reference", "torch"):
        return None
    say(op, f"{name}, by {VARIABLE}")
    return name


@constant
def say(op: str, what: str) -> None:
    """Print a line on stderr, the first time in this process that it is about `op`."""
    if op not in _said:
        _said.add(op)
        print(f"{op}: {what}", file=sys.stderr)
