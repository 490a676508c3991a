"""Random numbers that are a function of where they are asked for: of a seed, an example's index and a place in it.

By SplitMix64's mixing (Steele et al. 2014) of counters, so that any examples are drawn at once, in any order or
company, and no generator has a state.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bits = NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Draws:
    """Of examples with these indices (n,) under a seed: each call is another part of them, in the order of calls."""

    def __init__(self, seed: int, index: Ints):
        with np.errstate(over="ignore"):
            self._keys = mixed(mixed(np.uint64(seed) + GOLDEN) + index.astype(np.uint64) * GOLDEN)
        self._calls = np.uint64(0)

    def bits(self, count: int) -> Bits:
        """(n, count)."""
        self._calls += np.uint64(1)
        with np.errstate(over="ignore"):
            keys = mixed(self._keys + self._calls * SECOND)
            found: Bits = mixed(keys[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)
        return found

    def below(self, most: int, count: int) -> Ints:
        """(n, count) integers from 0 to most - 1, each as likely to 2^-32 of itself."""
        return ((self.bits(count) >> np.uint64(32)) * np.uint64(most) >> np.uint64(32)).astype(np.int64)

    def orders(self, count: int) -> Ints:
        """(n, count) permutations of 0 to count - 1."""
        return np.argsort(self.bits(count), axis=1)

    def chosen(self, most: int, count: int) -> Ints:
        """(n, count) different integers from 0 to most - 1, in random order."""
        return self.orders(most)[:, :count]


def mixed(z: Any) -> Any:
    """A bijection of 64 bits, or of arrays of them, of which every bit hangs on every other."""
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return z ^ (z >> np.uint64(31))
