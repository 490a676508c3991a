"""Numbers as people read them."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it imports scipy, which most words do without
    from eutectic.analysis.compare import Estimate

Text = Callable[[float], str]

LETTERS = {"params": "N", "tokens": "D"}


def short(value: float) -> str:
    """1234567 -> 1.23M."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def digits(value: float) -> str:
    """12845.6 -> 1.285e4."""
    return f"{value:.4g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def compute(flops: float) -> str:
    return f"{flops:.3g}".replace("e+", "e")


def duration(seconds: float) -> str:
    """75 -> 1:15, 4000 -> 1:06:40."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def counted(n: int, what: str) -> str:
    """1,234 runs."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def capped(value: float, most: float, text: Text) -> str:
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "∞"
    return f">{text(most)}" if value > most else text(value)


def interval(estimate: "Estimate", most: float, text: Text) -> str:
    if math.isnan(estimate.low):
        return "" if math.isnan(estimate.value) else "[unknown]"
    close = ")" if math.isinf(estimate.high) else "]"
    return f"[{capped(estimate.low, most, text)}, {capped(estimate.high, most, text)}{close}"
