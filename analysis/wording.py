"""Numbers and lists as sentences have them."""

import math
from collections.abc import Sequence

from eutectic.analysis.compare import Estimate


def flops(value: float) -> str:
    """1e15 FLOPs."""
    return f"{value:.3g} FLOPs".replace("e+", "e")


def signed(one: Estimate, digits: int = 3) -> str:
    """-0.063 [-0.078, -0.048]."""
    return _bracketed(one, f"+.{digits}f")


def plain(one: Estimate, digits: int = 3) -> str:
    """0.063 [0.048, 0.078]."""
    return _bracketed(one, f".{digits}f")


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def _bracketed(one: Estimate, form: str) -> str:
    if math.isnan(one.low):
        return f"{one.value:{form}}"
    return f"{one.value:{form}} [{one.low:{form}}, {one.high:{form}}]"
