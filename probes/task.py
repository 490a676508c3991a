"""Synthetic tasks of mechanistic design (Poli et al. 2024, MAD; Arora et al. 2023, Zoology): small languages, each of
which asks for one thing that language models must be able to do.

An example is a function of (seed, index) alone. Tokens (n, length) are read, and at each place where the target is not
IGNORED the model is to say it, not the next token as such. `chance` is the accuracy of a guess that does not read the
example.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eutectic.errors import UserError
from eutectic.probes.draws import Ints

IGNORED = -100  # as torch's cross-entropy has it
Examples = tuple[Ints, Ints]  # tokens and targets


@dataclass(frozen=True)
class Task(ABC):
    """vocab: tokens with contents, of which some tasks have others besides (`tokens`)."""

    name: ClassVar[str]
    axes: ClassVar[dict[str, tuple[float, ...]]]  # of difficulty, from the easiest
    taught: ClassVar[int] = 12_800  # examples to learn from, unless another number is asked for
    told_next: ClassVar[bool] = False  # what is asked for is the token that comes next
    summary: ClassVar[bool] = False  # all targets are to be told from the last token's state, by their places

    def __post_init__(self) -> None:
        refusal = self.refusal()
        if refusal:
            raise UserError(f"{self.name} cannot be drawn: {refusal}.")

    @property
    @abstractmethod
    def length(self) -> int: ...

    @property
    @abstractmethod
    def tokens(self) -> int:
        """Different tokens in all."""

    @property
    @abstractmethod
    def answers(self) -> range:
        """The tokens that may be asked for, each as often."""

    @property
    def chance(self) -> float:
        return 1 / len(self.answers)

    @abstractmethod
    def examples(self, seed: int, index: Ints) -> Examples: ...

    def refusal(self) -> str:
        """What is wrong with these settings, in a clause."""
        return ""


def halves(vocab: int) -> str:
    """What is wrong with a vocabulary of keys and as many values."""
    return "" if vocab >= 4 and vocab % 2 == 0 else f"a vocabulary of {vocab} has no two halves of two tokens or more"


def whole_pairs(length: int) -> str:
    return "" if length >= 4 and length % 2 == 0 else f"{length} tokens are not two pairs or more"


def nothing(index: Ints, length: int, token: int = 0) -> Examples:
    """Tokens that are all one, and no targets."""
    return np.full((len(index), length), token), np.full((len(index), length), IGNORED)


def rows(index: Ints) -> Ints:
    return np.arange(len(index))[:, None]
