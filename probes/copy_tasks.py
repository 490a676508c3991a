"""Tasks of what is kept: contents to be copied from among others, to be told from one state, or learnt by heart."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eutectic.probes.draws import Draws, Ints
from eutectic.probes.task import IGNORED, Examples, Task, halves, nothing, rows, whole_pairs


@dataclass(frozen=True)
class SelectiveCopy(Task):
    """`copied` contents stand in random places among blanks; at the end, after a mark, they are asked for in order."""

    vocab: int = 16
    length: int = 256
    copied: int = 16

    name: ClassVar[str] = "selective_copy"
    axes: ClassVar[dict[str, tuple[float, ...]]] = {"copied": (16, 32, 64, 96), "length": (256, 512, 1024)}

    @property
    def tokens(self) -> int:
        """A blank and a mark among them."""
        return self.vocab + 2

    @property
    def answers(self) -> range:
        return range(self.vocab)

    def refusal(self) -> str:
        fits = 1 <= self.copied <= self.length - self.copied - 1 and self.vocab >= 2
        return "" if fits else f"{self.copied} contents, read and told, do not fit into {self.length} tokens"

    def examples(self, seed: int, index: Ints) -> Examples:
        draws, copied, blank, mark = Draws(seed, index), self.copied, self.vocab, self.vocab + 1
        contents = draws.below(self.vocab, copied)
        place = np.sort(draws.chosen(self.length - copied - 1, copied), 1)
        tokens, targets = nothing(index, self.length, blank)
        tokens[rows(index), place] = contents
        tokens[:, -copied - 1] = mark
        targets[:, -copied:] = contents
        return tokens, targets


@dataclass(frozen=True)
class Compression(Task):
    """Random tokens and a mark, from whose state alone all tokens are asked for by their places."""

    vocab: int = 16
    length: int = 32

    name: ClassVar[str] = "compression"
    axes: ClassVar[dict[str, tuple[float, ...]]] = {"length": (32, 64, 128, 256), "vocab": (16, 32, 64, 128)}
    summary: ClassVar[bool] = True

    @property
    def tokens(self) -> int:
        return self.vocab + 1

    @property
    def answers(self) -> range:
        return range(self.vocab)

    def refusal(self) -> str:
        return "" if self.length >= 2 and self.vocab >= 2 else f"{self.length} tokens of {self.vocab} say nothing"

    def examples(self, seed: int, index: Ints) -> Examples:
        tokens = Draws(seed, index).below(self.vocab, self.length)
        targets = tokens.copy()
        tokens[:, -1], targets[:, -1] = self.vocab, IGNORED
        return tokens, targets


@dataclass(frozen=True)
class Memorization(Task):
    """Keys with values that are the same in all examples of a seed, after each a mark, at which the value is asked for:
    nothing in an example tells it."""

    vocab: int = 256
    length: int = 32

    name: ClassVar[str] = "memorization"
    axes: ClassVar[dict[str, tuple[float, ...]]] = {"vocab": (256, 1024, 4096, 8192)}
    taught: ClassVar[int] = 256

    @property
    def tokens(self) -> int:
        return self.vocab + 1

    @property
    def answers(self) -> range:
        return range(self.vocab // 2, self.vocab)

    def refusal(self) -> str:
        return halves(self.vocab) or whole_pairs(self.length)

    def examples(self, seed: int, index: Ints) -> Examples:
        half = self.vocab // 2
        (values,) = half + Draws(FACTS, np.array([seed])).orders(half)
        keys = Draws(seed, index).below(half, self.length // 2)
        tokens, targets = nothing(index, self.length, self.vocab)
        tokens[:, ::2], targets[:, 1::2] = keys, values[keys]
        return tokens, targets


FACTS = 0x0FAC75  # a seed that no example has
