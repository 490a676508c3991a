"""What runs take of workers, one at a time and several at once."""

import dataclasses
import random
from pathlib import Path

import pandas as pd
import pytest

from eutectic.sweeps import plan as planning
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps.cost import AT_ONCE, Load, estimate, job_hours, wall_seconds, worker_seconds
from eutectic.train.shards import Manifest

MEASURED = Path(__file__).parents[2] / "results/bench/sweep_throughput.parquet"
MANIFEST = Manifest("sotu", "bpe-4096", "c" * 64, "t" * 64, 4096, "uint16", 249, 10, 3_000_000, 600_000, 3.0, "")


def on_cpu(*seconds: float) -> list[Load]:
    return [Load(seconds=s, busy=0.9, at_once=1) for s in seconds]


def on_gpu(runs: int, seconds: float, busy: float) -> list[Load]:
    return [Load(seconds=seconds, busy=busy, at_once=AT_ONCE)] * runs


@pytest.mark.parametrize(("workers", "wall"), [(1, 10.0), (2, 5.0), (4, 4.0), (100, 4.0)])
def test_one_at_a_time_workers_share_the_seconds(workers: int, wall: float) -> None:
    assert worker_seconds(on_cpu(1, 2, 3, 4), workers) == pytest.approx(10)
    assert wall_seconds(on_cpu(1, 2, 3, 4), workers) == pytest.approx(wall)


@pytest.mark.parametrize(
    ("loads", "workers", "spent", "wall"),
    [
        # alone it takes what it takes
        (on_gpu(1, 100, 0.5), 1, 100, 100),
        # 50 s of start for one, beside which the others have theirs, and 50 s of computing for each
        (on_gpu(6, 100, 0.5), 1, 350, 350),
        (on_gpu(6, 100, 0.5), 2, 400, 200),
        # no worker can do less than a whole run
        (on_gpu(6, 100, 0.5), 6, 600, 100),
        (on_gpu(6, 100, 0.5), 60, 600, 100),
        (on_gpu(2, 100, 0.5) + on_gpu(1, 300, 0.5), 2, 350, 300),
        # hardly any computing: eight at a time, each for 20 s
        (on_gpu(32, 20, 0.01), 1, 80, 80),
        (on_gpu(32, 20, 0.01), 2, 80, 40),
        (on_gpu(4, 20, 0.01), 1, 20.6, 20.6),
    ],
)
def test_on_a_gpu_runs_share_the_computing(loads: list[Load], workers: int, spent: float, wall: float) -> None:
    assert worker_seconds(loads, workers) == pytest.approx(spent)
    assert wall_seconds(loads, workers) == pytest.approx(wall)


def test_together_is_never_slower_than_one_by_one_nor_faster_than_the_gpu() -> None:
    draw = random.Random(0)
    for _ in range(300):
        loads = [Load(seconds=draw.uniform(1, 100), busy=draw.random(), at_once=8) for _ in range(draw.randint(1, 40))]
        workers = draw.randint(1, 8)
        alone = sum(load.seconds for load in loads)
        computing = sum(load.seconds * load.busy for load in loads)
        spent, wall = worker_seconds(loads, workers), wall_seconds(loads, workers)
        assert computing < spent <= alone + 1e-9
        assert max(load.seconds for load in loads) <= wall <= worker_seconds(loads, 1) + 1e-9
        single = [dataclasses.replace(load, at_once=1) for load in loads]
        assert worker_seconds(single, workers) == pytest.approx(alone)


def test_twelve_runs_on_an_h100_take_what_was_measured() -> None:
    rows = pd.read_parquet(MEASURED)
    rows = rows[(rows["way"] == "worker") & (rows["call"] == 1)]  # which trained both budgets together
    recipe = dataclasses.replace(recipes.find("gpu"), archs=("attn", "hyena*3+attn"), sizes=3)
    costs = [estimate(run, "cuda") for run in planning.plan(recipe, MANIFEST, 0)]
    assert len(costs) == len(rows) == 12
    assert sorted(round(cost.flops) for cost in costs) == pytest.approx(sorted(rows["flops"]), rel=0.01)
    assert worker_seconds(costs, 1) == pytest.approx(rows["wall"].sum(), rel=0.05)
    # by seconds added up it was twice that
    assert sum(cost.seconds for cost in costs) > 2 * rows["wall"].sum()


def test_runs_on_several_devices_have_them_to_themselves() -> None:
    recipe = dataclasses.replace(recipes.find("gpu"), archs=("attn",), sizes=3, budgets=(1e15,))
    runs = planning.plan(recipe, MANIFEST, 0)
    for device, devices, at_once in (("cuda", 1, AT_ONCE), ("cuda", 2, 1), ("cpu", 1, 1)):
        costs = [estimate(run, device, devices) for run in runs]
        assert {cost.at_once for cost in costs} == {at_once}
        together = worker_seconds(costs, 1) < 0.8 * sum(cost.seconds for cost in costs)
        assert together == (at_once > 1)


@pytest.mark.parametrize(("workers", "hours"), [(1, 2 * 10.0), (2, 2 * 5.0), (4, 2 * 4.0), (100, 2 * 4.0)])
def test_a_job_s_time_is_twice_its_share_or_the_longest_run_and_ten_minutes(workers: int, hours: float) -> None:
    assert job_hours(on_cpu(3600, 7200, 10800, 14400), workers) == pytest.approx(hours + 1 / 6)
    assert job_hours(on_gpu(6, 3600, 0.5), 2) == pytest.approx(2 * 2.0 + 1 / 6)


def test_memory_by_hand() -> None:
    """Three floats for each of 2^27 logits, also where there are 2^29, and then the head's gradient twice; 40 widths a
    layer, or one where blocks are recomputed, and once 40."""
    recipe = dataclasses.replace(recipes.find("gpu"), archs=("attn",), sizes=1, budgets=(1e15,))
    (run,) = planning.plan(recipe, MANIFEST, 0)
    model = dataclasses.replace(run.model, vocab_size=2**15, layout="attn", n_layers=2, d_model=128, tied=True)
    few, many = (
        dataclasses.replace(run, model=model, micro_batch=1, data=dataclasses.replace(run.data, seq_len=length))
        for length in (2**12, 2**14)
    )
    state = 16 * estimate(few, "cuda").params + 500e6
    activations = 4 * 40 * 2 * 128
    kept = state + 2**12 * activations + 4 * 3 * 2**27
    assert estimate(few, "cuda").memory == kept
    assert estimate(many, "cuda").memory == state + 2**14 * activations + 4 * 3 * 2**27 + 4 * 2 * 2**15 * 128
    again = estimate(few, "cuda", available=kept - 1)
    assert again.recompute and again.memory == kept - 2**12 * activations + 2**12 * 4 * (2 + 40) * 128
    plain = estimate(few, "cuda", available=kept)
    assert not plain.recompute and again.flops == plain.flops
    assert again.seconds - plain.seconds == pytest.approx(plain.busy * plain.seconds / 3)
    single = dataclasses.replace(few, model=dataclasses.replace(model, n_layers=1))
    assert not estimate(single, "cuda", available=0).recompute, "of one block all would be kept at once as well"
