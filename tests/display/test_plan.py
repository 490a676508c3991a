"""What a plan says below its table."""

import dataclasses

import pytest

from eutectic.config import RunConfig
from eutectic.display.sweep import LONGEST_PLAN, Fleet, plan_table
from eutectic.sweeps.cost import AT_ONCE, Cost


@pytest.mark.parametrize(
    ("device", "total"),
    [
        # each of two workers: 50 s of a start and three times 50 s of computing
        ("cuda", "6e12 FLOPs, about 3:20 on 2 GPUs, 0.11 GPU hours, 0.33 at 3 an hour of a GPU"),
        ("cpu", "6e12 FLOPs, about 5:00 on 2 CPUs, 0.17 CPU hours, 0.50 at 3 an hour of a CPU"),
    ],
)
def test_totals_are_of_runs_as_workers_take_them(device: str, total: str, small_run: RunConfig) -> None:
    at_once = AT_ONCE if device == "cuda" else 1
    cost = Cost(seconds=100.0, busy=0.5, at_once=at_once, params=1000, tokens=2000, flops=1e12, memory=1e9)
    rows = [(dataclasses.replace(small_run, seed=seed), cost) for seed in range(6)]
    table = plan_table(rows, Fleet(device, 2, price=3.0))
    assert table.caption == total
    assert list(table.columns[-1].cells) == ["1:40"] * 6


def test_a_line_of_many_runs_has_what_they_take_of_a_worker(small_run: RunConfig) -> None:
    cost = Cost(seconds=100.0, busy=0.5, at_once=AT_ONCE, params=1000, tokens=2000, flops=1e12, memory=1e9)
    table = plan_table([(small_run, cost)] * (LONGEST_PLAN + 1), Fleet("cuda", 2))
    assert list(table.columns[-1].cells) == ["2:48:20"]
    # each of two GPUs for as long, and 50 s of a start more for the second worker
    both = plan_table([(small_run, cost)] * (LONGEST_PLAN + 1), Fleet("cuda", 2, 2, 3.0))
    assert [list(column.cells) for column in both.columns[-2:]] == [["5:36:40"], ["16.83"]]
    assert str(both.caption).endswith("on 4 GPUs, 5.6 GPU hours, 16.92 at 3 an hour of a GPU")
