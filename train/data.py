"""Batches as a pure function of (seed, step), so that resuming needs no saved state."""

import functools
from typing import Any

import numpy as np

from eutectic.train.shards import Manifest

Rows = np.ndarray[Any, np.dtype[np.int64]]


class Batches:
    """Training windows of seq_len + 1 tokens (the last is only a target) in epochs without replacement.

    Each epoch cuts the tokens into windows from its own random offset and visits them in its own random order.
    Windows run across documents; the separator token marks the border.
    """

    def __init__(self, manifest: Manifest, seq_len: int, batch_size: int, seed: int):
        self.tokens, self.seq_len, self.batch_size, self.seed = manifest.tokens("train"), seq_len, batch_size, seed
        self.windows = windows_per_epoch(manifest.train_tokens, seq_len)

    def batch(self, step: int, size: int) -> Rows:
        """The `size` windows of a step: (size, seq_len + 1) token ids."""
        first = step * self.batch_size
        return _gather(self.tokens, self._starts(np.arange(first, first + size)), self.seq_len)

    def _starts(self, index: Rows) -> Rows:
        epochs, position = np.divmod(index, self.windows)
        starts = np.empty_like(index)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            offset, order = self._epoch(int(epoch))
            starts[chosen] = offset + order[position[chosen]] * self.seq_len
        return starts

    @functools.lru_cache(maxsize=2)  # noqa: B019 - a batch spans two epochs at most, and a run has one Batches
    def _epoch(self, epoch: int) -> tuple[int, Rows]:
        random = np.random.default_rng([self.seed, epoch])
        return int(random.integers(self.seq_len)), random.permutation(self.windows)


def windows_per_epoch(tokens: int, seq_len: int) -> int:
    """How many windows fit whatever the offset; 0 where the tokens are too few."""
    return max(0, (tokens - seq_len) // seq_len)


def repeated_share(sequences: int, windows: int) -> float:
    """Share of training sequences that an earlier epoch has shown already."""
    return max(0, sequences - windows) / sequences


def validation(manifest: Manifest, seq_len: int, count: int) -> Rows:
    """(count, seq_len + 1) held-out windows, evenly spaced and the same for every run."""
    tokens = manifest.tokens("valid")
    windows = (len(tokens) - 1) // seq_len
    return _gather(tokens, np.arange(count) * windows // count * seq_len, seq_len)


def _gather(tokens: np.ndarray[Any, np.dtype[Any]], starts: Rows, seq_len: int) -> Rows:
    return tokens[starts[:, None] + np.arange(seq_len + 1)].astype(np.int64)
