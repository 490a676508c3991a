"""What an option's words say; each that cannot be used is refused in one sentence."""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from eutectic.errors import UserError

YEAR_HOURS = 24 * 365
TRACKERS = ("wandb", "trackio", "tensorboard")


def as_words(text: str) -> list[str]:
    """An option's words, also when a shell or make handed them over as one."""
    return text.split()


def as_number(kind: Callable[[str], Any], option: str) -> Callable[[str], Any]:
    """What makes a number of an option's one word."""
    return lambda word: numbers([[word]], kind, option)[0]


def as_hours(word: str) -> float:
    hours: float = as_number(float, "--hours")(word)
    if hours > YEAR_HOURS:
        raise UserError(f"--hours {word} is more than a year; give a job's time limit, e.g. 12.")
    return hours


def as_tracker(word: str) -> str:
    if word in TRACKERS and importlib.util.find_spec(word) is None:
        raise UserError(f"--track {word} needs a package: `{sys.executable} -m pip install {word}`.")
    return word


def as_count(what: str, does: str = "trains") -> Callable[[str], int]:
    def read(word: str) -> int:
        count: int = as_number(int, what)(word)
        if count == 0:
            raise UserError(f"{what} 0 {does} nothing; give 1 or more.")
        return count

    return read


def numbers(words: list[list[str]], kind: Callable[[str], Any], what: str) -> list[Any]:
    """Flatten and convert an option's words. Raises UserError for one that is no positive (float) or whole number."""
    values = []
    for word in (w for part in words for w in part):
        try:
            value = kind(word)
        except ValueError:
            wanted, example = ("number", "1e11 or 0.5") if kind is float else ("whole number", "3")
            raise UserError(f"{what} {word!r} is not a {wanted}; write e.g. {example}.") from None
        if not 0 <= value < float("inf") or (kind is float and value == 0):
            raise UserError(
                f"{what} {word} cannot be used; it must be {'positive and finite' if kind is float else '0 or more'}."
            )
        if kind is int and value >= 2**63:
            raise UserError(f"{what} {word} is too large; give whole numbers below 2^63.")
        values.append(value)
    return values
