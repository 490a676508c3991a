"""Batches: pure in (seed, step, rank), without replacement in an epoch, the ranks' parts making up the whole."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eutectic.train import data
from eutectic.train.shards import Manifest

SEQ = 8


@dataclasses.dataclass(frozen=True)
class Counting(Manifest):
    """Token i of either split is i, so a window tells where it came from."""

    def tokens(self, split: str) -> np.ndarray:
        return np.arange(self.train_tokens if split == "train" else self.valid_tokens)


def counting(train: int, valid: int = 100) -> Manifest:
    return Counting("", "bytes", "", "", 256, "uint32", 2, 1, train, valid, 1.0, "")


@given(tokens=st.integers(2 * SEQ, 400), batch=st.integers(1, 7), seed=st.integers(0, 5))
def test_batches(tokens: int, batch: int, seed: int) -> None:
    batches = data.Batches(counting(tokens), SEQ, batch, seed)
    again = data.Batches(counting(tokens), SEQ, batch, seed)
    steps = 3 * batches.windows // batch + 1
    seen = np.concatenate([batches.batch(step, batch) for step in range(steps)])
    assert np.array_equal(seen[-batch:], again.batch(steps - 1, batch)), "a step depends on those before it"
    assert (np.diff(seen, axis=1) == 1).all(), "windows are of neighbouring tokens"
    for epoch in range(len(seen) // batches.windows):
        starts = np.sort(seen[epoch * batches.windows : (epoch + 1) * batches.windows, 0])
        assert (np.diff(starts) == SEQ).all(), "an epoch repeats or skips a window"


def test_seeds_and_epochs_differ() -> None:
    order = [data.Batches(counting(400), SEQ, 49, seed).batch(step, 49)[:, 0] for seed in (0, 1) for step in (0, 1)]
    assert len({tuple(o) for o in order}) == 4


def test_repeats_are_counted() -> None:
    assert data.repeated_share(50, 100) == 0.0
    assert data.repeated_share(100, 100) == 0.0
    assert data.repeated_share(400, 100) == 0.75


def test_validation_is_spread_evenly_and_never_overlaps() -> None:
    rows = data.validation(counting(100, 1001), SEQ, 25)
    assert rows.shape == (25, SEQ + 1)
    assert set(np.diff(rows[:, 0])) == {5 * SEQ}
