"""What a budget of perplexity leaves of a model's modes, from the rows of all of them."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from zoo import perturb, shape, tokens

from eutectic.analysis.prune import BUDGETS, kept
from eutectic.arch.model import build
from eutectic.config import RunConfig
from eutectic.inference.prune import search


def rows(judged: dict[int, float]) -> pd.DataFrame:
    """perplexity: half of what is judged; bytes: 100 and 10 for each mode."""
    made = [(m, p, p / 2, 100 + 10 * m) for m, p in judged.items()]
    return pd.DataFrame(made, columns=["modes", "judged_perplexity", "perplexity", "state_bytes"])


def test_the_search_ends_at_the_first_that_is_over() -> None:
    # 2 modes are over one percent, and 1 is not: never reached
    table = rows({4: 10.0, 3: 10.005, 2: 10.2, 1: 10.05}).sample(frac=1, random_state=0)
    tenth, one, five = kept(table, (0.001, 0.01, 0.05))
    assert [found.row["modes"] for found in (tenth, one, five)] == [3, 3, 1]
    assert one.rise == pytest.approx(0.0005) and one.saved == pytest.approx(10 / 140)
    assert all(found.fewest for found in (tenth, one, five))


def test_rows_of_a_search_that_ended_sooner_say_no_more_than_that() -> None:
    """At more than the budget that ended it: nobody knows what one mode would be."""
    within, over = kept(rows({4: 10.0, 3: 10.01, 2: 10.2}), (0.01, 0.05))
    assert (within.row["modes"], within.fewest) == (3, True)
    assert (over.row["modes"], over.fewest) == (2, False)


def test_it_is_what_the_search_keeps(small_run: RunConfig) -> None:
    """By budgets of a model of random weights, whose perplexity hardly changes."""
    torch.manual_seed(0)
    run = replace(small_run, model=replace(shape("hyena+attn"), n_modes=4))
    model, judged = perturb(build(run.model, 0)), tokens(4, 33)
    every = [(found.run.model.n_modes, found.judged) for found in search(model, run, judged, 100.0)]
    table = rows(dict(every))
    rises = sorted(p / every[0][1] - 1 for _, p in every[1:])
    budgets = [b for b in (rises[0] * 1.01, (rises[0] + rises[-1]) / 2, rises[-1] * 1.01) if b > 0]
    assert budgets
    for one in kept(table, budgets):
        (*_, last) = [found for found in search(model, run, judged, one.budget) if found.within]
        assert (last.run.model.n_modes, last.judged) == (one.row["modes"], one.row["judged_perplexity"])


def test_the_committed_rows_are_of_all_modes() -> None:
    table = pd.read_parquet(Path(__file__).parents[2] / "results/serving/prune.parquet")
    for _, own in table.groupby(["run_id", "device"]):
        found = kept(own)
        assert all(one.fewest for one in found) and len(found) == len(BUDGETS)
        assert [one.row["modes"] for one in found] == sorted((one.row["modes"] for one in found), reverse=True)
