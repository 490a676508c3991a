"""Tasks of recall: what stood after a key before is to be told where the key comes again."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eutectic.probes.draws import Draws, Ints
from eutectic.probes.task import IGNORED, Examples, Task, halves, nothing, rows, whole_pairs


@dataclass(frozen=True)
class Recall(Task):
    """Pairs of a key and its value, which an example keeps: the value of a key that has come before is asked for."""

    vocab: int = 16
    length: int = 128

    name: ClassVar[str] = "recall"
    axes: ClassVar[dict[str, tuple[float, ...]]] = {"vocab": (16, 32, 64, 128), "length": (128, 256, 512, 1024)}
    told_next: ClassVar[bool] = True

    @property
    def tokens(self) -> int:
        return self.vocab

    @property
    def answers(self) -> range:
        return range(self.vocab // 2, self.vocab)

    def refusal(self) -> str:
        return halves(self.vocab) or whole_pairs(self.length)

    def examples(self, seed: int, index: Ints) -> Examples:
        draws, half = Draws(seed, index), self.vocab // 2
        keys = draws.below(half, self.length // 2)
        values = half + np.take_along_axis(draws.below(half, half), keys, 1)
        tokens, targets = nothing(index, self.length)
        tokens[:, ::2], tokens[:, 1::2] = keys, values
        targets[:, ::2] = np.where(_seen(keys), values, IGNORED)
        return tokens, targets


@dataclass(frozen=True)
class NoisyRecall(Task):
    """Recall with tokens of a vocabulary of their own between pairs, which mean nothing."""

    vocab: int = 16
    length: int = 128
    noise: float = 0.2
    noise_vocab: int = 16

    name: ClassVar[str] = "noisy_recall"
    axes: ClassVar[dict[str, tuple[float, ...]]] = {"noise": (0.2, 0.4, 0.6, 0.8), **Recall.axes}
    told_next: ClassVar[bool] = True

    @property
    def tokens(self) -> int:
        return self.vocab + self.noise_vocab

    @property
    def answers(self) -> range:
        return range(self.vocab // 2, self.vocab)

    def refusal(self) -> str:
        if not 0 <= self.noise < 1 or self._pairs < 2:
            return f"a share of noise of {self.noise} leaves fewer than two pairs of {self.length} tokens"
        if self.noise_vocab < 1:
            return f"a vocabulary of {self.noise_vocab} has no token of noise"
        return halves(self.vocab)

    @property
    def _pairs(self) -> int:
        return round(self.length * (1 - self.noise)) // 2

    def examples(self, seed: int, index: Ints) -> Examples:
        pairs, half, draws = self._pairs, self.vocab // 2, Draws(seed, index)
        noise = self.length - 2 * pairs
        keys = draws.below(half, pairs)
        values = half + np.take_along_axis(draws.below(half, half), keys, 1)
        idle = self.vocab + draws.below(self.noise_vocab, noise)
        order = draws.orders(pairs + noise)
        # units in a random order, pairs two tokens wide and noise one; but pairs in the order in which they were drawn
        is_pair = order < pairs
        place = np.cumsum(np.where(is_pair, 2, 1), 1) - np.where(is_pair, 2, 1)
        first, row = place[is_pair].reshape(len(index), pairs), rows(index)
        tokens, targets = nothing(index, self.length)
        tokens[row, first], tokens[row, first + 1] = keys, values
        tokens[row, place[~is_pair].reshape(len(index), noise)] = idle
        targets[row, first] = np.where(_seen(keys), values, IGNORED)
        return tokens, targets


@dataclass(frozen=True)
class FuzzyRecall(Task):
    """Recall of keys and values of one to `motif` tokens each. A value's tokens are asked for one after another."""

    vocab: int = 16
    length: int = 128
    motif: int = 3

    name: ClassVar[str] = "fuzzy_recall"
    axes: ClassVar[dict[str, tuple[float, ...]]] = {"motif": (1, 2, 3), **Recall.axes}
    told_next: ClassVar[bool] = True

    @property
    def tokens(self) -> int:
        return self.vocab

    @property
    def answers(self) -> range:
        return range(self.vocab // 2, self.vocab)

    def refusal(self) -> str:
        if self.motif < 1:
            return f"a motif of {self.motif} tokens has none"
        return halves(self.vocab) or whole_pairs(self.length)

    def examples(self, seed: int, index: Ints) -> Examples:
        draws, half, m = Draws(seed, index), self.vocab // 2, self.motif
        pairs = self.length // 2 + 1  # and a token more than are kept, for the last may be asked for
        sizes = 1 + draws.below(m, 2 * half).reshape(-1, half, 2)  # of each entry's key and value
        motifs = draws.below(half, 2 * half * m).reshape(-1, half, 2, m) + np.array([[0], [half]])
        entry = np.take_along_axis(_alike(motifs[:, :, 0], sizes[:, :, 0], half), draws.below(half, pairs), 1)
        row, token = rows(index), np.arange(m)
        spelt = motifs[row, entry].reshape(len(index), -1)  # each pair in 2 m places, some of which are left out
        there = (token < sizes[row, entry][..., None]).reshape(len(index), -1)
        of_value = np.tile(np.repeat([False, True], m), pairs)
        asked = np.repeat(_seen(entry), 2 * m, 1) & of_value
        kept = np.argsort(~there, axis=1, kind="stable")[:, : self.length + 1]
        tokens, asked = (np.take_along_axis(part, kept, 1) for part in (spelt, asked))
        return tokens[:, :-1], np.where(asked, tokens, IGNORED)[:, 1:]


@dataclass(frozen=True)
class AssociativeRecall(Task):
    """Zoology's multi-query associative recall: first all pairs, of different keys, then `gap` tokens that mean
    nothing, then every key once, in another order, whose value is asked for."""

    vocab: int = 64
    pairs: int = 8
    gap: int = 16

    name: ClassVar[str] = "associative_recall"
    axes: ClassVar[dict[str, tuple[float, ...]]] = {"pairs": (4, 8, 16, 32), "gap": (0, 16, 64, 256)}

    @property
    def length(self) -> int:
        return 3 * self.pairs + self.gap

    @property
    def tokens(self) -> int:
        return self.vocab + 1

    @property
    def answers(self) -> range:
        return range(self.vocab // 2, self.vocab)

    def refusal(self) -> str:
        if not 1 <= self.pairs <= self.vocab // 2 or self.gap < 0:
            return f"{self.pairs} pairs and a gap of {self.gap} do not go with {self.vocab // 2} keys"
        return halves(self.vocab)

    def examples(self, seed: int, index: Ints) -> Examples:
        draws, half, pairs = Draws(seed, index), self.vocab // 2, self.pairs
        keys, values = draws.chosen(half, pairs), half + draws.below(half, pairs)
        again = draws.orders(pairs)
        tokens, targets = nothing(index, self.length, self.vocab)
        tokens[:, : 2 * pairs : 2], tokens[:, 1 : 2 * pairs : 2] = keys, values
        tokens[:, -pairs:] = np.take_along_axis(keys, again, 1)
        targets[:, -pairs:] = np.take_along_axis(values, again, 1)
        return tokens, targets


@dataclass(frozen=True)
class Induction(Task):
    """Induction heads: a mark stands once among random tokens, and last; what followed it is asked for."""

    vocab: int = 16
    length: int = 128

    name: ClassVar[str] = "induction"
    axes: ClassVar[dict[str, tuple[float, ...]]] = {"length": (128, 256, 512, 1024), "vocab": (16, 32, 64, 128)}

    @property
    def tokens(self) -> int:
        return self.vocab + 1

    @property
    def answers(self) -> range:
        return range(self.vocab)

    def refusal(self) -> str:
        return (
            "" if self.length >= 4 and self.vocab >= 2 else f"{self.length} tokens of {self.vocab} have no such place"
        )

    def examples(self, seed: int, index: Ints) -> Examples:
        draws = Draws(seed, index)
        tokens, place = draws.below(self.vocab, self.length), draws.below(self.length - 2, 1)
        targets = np.full_like(tokens, IGNORED)
        targets[:, -1:] = np.take_along_axis(tokens, place + 1, 1)
        np.put_along_axis(tokens, place, self.vocab, 1)
        tokens[:, -1] = self.vocab
        return tokens, targets


def _seen(keys: Ints) -> NDArray[np.bool_]:
    """Whether each has come before in its row."""
    order = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(keys, order, 1)
    again = np.zeros(keys.shape, bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    return again


def _alike(motifs: Ints, sizes: Ints, base: int) -> Ints:
    """Of each entry (n, entries) the first with the same tokens; motifs (n, entries, m), of which `sizes` count."""
    places = np.arange(motifs.shape[2])
    codes = (np.where(places < sizes[..., None], motifs + 1, 0) * (base + 1) ** places).sum(2)
    first: Ints = np.argmax(codes[:, :, None] == codes[:, None, :], axis=2)
    return first
