"""Which runs are given up: those of made curves, and those of validations.csv, a study with no run given up.

validations.csv: 18 runs each of recipe quick's central size at a budget, by `eutectic tune`, in the order they ended,
with the validation losses after each fifth of the training.
"""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eutectic.sweeps.prune import FEWEST, WINDOW, hopeless

Array = NDArray[np.float64]
ORDINARY = [[3.0 + k / 10, 2.6 + k / 10, 2.4 + k / 10, 2.3 + k / 10, 2.25 + k / 10] for k in range(FEWEST)]
SLOW = [3.9, 3.7, 3.4, 2.9, 2.3]  # as at high learning rates, whose losses fall when these do


def studies() -> dict[str, Array]:
    """By cell, validation losses (runs, evaluations)."""
    found = defaultdict(list)
    with open(Path(__file__).parent / "validations.csv") as file:
        for row in csv.DictReader(file):
            found[f"{row['arch']} {row['budget']}"].append([float(row[f"after_{k}_of_5"]) for k in range(1, 6)])
    return {cell: np.array(losses) for cell, losses in found.items()}


def replay(losses: Array) -> tuple[set[int], float]:
    """Of a study whose runs are trained one after the other: those given up, and the share of the training done."""
    finished: list[Array] = []
    lost, trained = set(), 0
    for i, run in enumerate(losses):
        ended = next((k for k in range(1, len(run)) if hopeless(finished, run[:k])), len(run))
        trained += ended
        if ended < len(run):
            lost.add(i)
        else:
            finished.append(run)
    return lost, trained / losses.size


def test_a_slow_starter_is_kept_once_one_has_been_seen_to_fall_as_late() -> None:
    winner = [loss - 0.15 for loss in SLOW]
    assert winner[-1] < min(run[-1] for run in ORDINARY)
    for k in range(1, 5):
        assert winner[k - 1] > np.median([run[k - 1] for run in ORDINARY]), "rules by rank would give it up"
        assert not hopeless([*ORDINARY, SLOW], winner[:k])


def test_a_hopeless_run_is_given_up_and_only_beside_enough_others() -> None:
    bad = [5.0, 4.5, 4.4, 4.35, 4.3]
    assert all(hopeless([*ORDINARY, SLOW], bad[:k]) for k in range(1, 5))
    assert not hopeless(ORDINARY[1:], bad[:2])


def test_what_may_still_fall_is_less_later() -> None:
    """The slow starter fell by 1.6 after the first fifth, and by 1.4 after the second, down to 2.3."""
    late = [3.85, 3.8]
    assert not hopeless([*ORDINARY, SLOW], late[:1]) and hopeless([*ORDINARY, SLOW], late)


def test_what_would_end_in_the_window_by_the_largest_fall_is_kept() -> None:
    largest = 3.0 - 2.25  # of all, which fall alike
    assert not hopeless(ORDINARY, [2.25 + WINDOW + largest - 1e-6])
    assert hopeless(ORDINARY, [2.25 + WINDOW + largest + 1e-6])


@pytest.mark.parametrize("cell", studies())
def test_runs_that_end_near_the_best_are_kept_in_whatever_order(cell: str) -> None:
    losses, random = studies()[cell], np.random.default_rng(0)
    assert losses.shape == (18, 5)
    near = set(np.flatnonzero(losses[:, -1] <= losses[:, -1].min() + WINDOW))
    # the hazard is there: some of these are behind half a dozen others early on
    assert max(int((losses[:, 0] < losses[i, 0]).sum()) for i in near) >= 5
    given_up, shares = 0, []
    for _ in range(200):
        order = random.permutation(len(losses))
        lost, share = replay(losses[order])
        assert int(np.argmin(losses[order, -1])) not in lost
        given_up += len({int(order[i]) for i in lost} & near)
        shares.append(share)
    assert given_up <= 0.01 * 200 * len(near)
    assert np.mean(shares) < 0.85
