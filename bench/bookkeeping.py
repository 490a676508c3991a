"""Seconds that the bookkeeping of a large sweep takes: its plan, ledger, `status` and `collect`, in new processes.

python bench/bookkeeping.py > results/bench/bookkeeping.md
"""

import argparse
import dataclasses
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eutectic.analysis import schema
from eutectic.config import RunConfig
from eutectic.sweeps import plan, recipe
from eutectic.sweeps.cost import estimate
from eutectic.sweeps.ledger import Ledger
from eutectic.train import log, shards

MIXERS = ("hyena", "mamba2", "gated_deltanet", "linear_attn", "s4d")
ARCHS = ("attn", *(f"{mixer}{rest}" for mixer in MIXERS for rest in ("", "*3+attn", "+attn", "+attn*3")))
BUDGETS = tuple(float(f"{1e12 * 10 ** (k / 10):.2g}") for k in range(10))
CURVE = 100  # rows of each run's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    options = parser.parse_args()
    per_seed = len(ARCHS) * len(BUDGETS) * recipe.find("quick").sizes
    chosen = dataclasses.replace(
        recipe.find("quick"), archs=ARCHS, budgets=BUDGETS, seeds=tuple(range(-(-options.runs // per_seed)))
    )
    manifest = shards.prepare(chosen.source, chosen.tokenizer, shards.default_cache())
    runs = plan.plan(chosen, manifest, threads=1)[: options.runs]
    print("# The bookkeeping of a large sweep\n\nWritten by `bench/bookkeeping.py`.\n")
    print(f"{len(runs)} runs, curves of {CURVE} rows, {os.cpu_count()} CPU cores\n\n| what | seconds |\n|---|---|")
    with tempfile.TemporaryDirectory() as place:
        measure(runs, chosen.seeds, Path(place))


def measure(runs: list[RunConfig], seeds: Iterable[int], place: Path) -> None:
    def command(*arguments: str) -> Callable[[], object]:
        words = [sys.executable, "-m", "eutectic.cli", *arguments, "--results", str(place), "--name", "s"]
        return lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    ledger, done = Ledger(place / "s"), Finished(place / "s")
    words = ["--archs", *ARCHS, "--budget", *map(str, BUDGETS), "--seeds", *map(str, seeds)]
    tell("`eutectic plan`", command("plan", *words))
    loads = {run.run_id: estimate(run, "cpu") for run in runs}
    tell("ledger: add all", lambda: ledger.add(runs, loads))
    tell("ledger: add all again", lambda: Ledger(place / "s").add(runs, loads))
    ledger.claim(runs[-1].run_id)  # with somebody at it there is a time left to reckon
    tell("`eutectic status`, all planned", command("status"))
    share = len(runs) // 10
    done.take(runs[: 4 * share])
    tell(f"`eutectic collect`, {4 * share} new", command("collect"))
    done.take(runs[4 * share : 7 * share])
    tell(f"`eutectic status`, {4 * share} collected, {3 * share} done, {3 * share} planned", command("status"))
    tell(f"`eutectic collect`, {3 * share} new", command("collect"))
    done.take(runs[7 * share : -100])
    command("collect")()
    done.take(runs[-100:])
    tell("`eutectic collect`, the last 100 new", command("collect"))
    tell("`eutectic collect`, none new", command("collect"))
    tell("`eutectic status`, all collected", command("status"))


class Finished:
    """Runs as workers leave them, all with the columns of the first."""

    def __init__(self, folder: Path):
        self.ledger = Ledger(folder)
        self.row: pa.Table | None = None
        steps = {"step": range(1, CURVE + 1), "train_loss": [3.0 - step / CURVE for step in range(CURVE)]}
        columns = [
            pa.array(steps.get(field.name, [None] * CURVE), field.type) for field in schema.arrow_schema(schema.CURVES)
        ]
        self.curve = pa.Table.from_arrays(columns, schema=schema.arrow_schema(schema.CURVES))

    def take(self, runs: list[RunConfig]) -> None:
        if self.row is None:
            outcome = {"status": "done", "loss": 2.0, "seconds": 10.0, **log.outcome_columns("cpu")}
            fields = schema.arrow_schema(schema.RUNS)
            self.row = pa.Table.from_pylist([log.planned_columns(runs[0]) | outcome], fields)
        for run in runs:
            folder = self.ledger.runs / run.run_id
            for name, table in (("curve", self.curve), ("run", self.row)):
                named = pa.array(itertools.repeat(run.run_id, len(table)), pa.string())
                index = table.schema.get_field_index("run_id")
                pq.write_table(table.set_column(index, table.schema.field(index), named), folder / f"{name}.parquet")
            self.ledger.finish(run.run_id, "done")


def tell(what: str, call: Callable[[], object]) -> None:
    began = time.perf_counter()
    call()
    print(f"| {what} | {time.perf_counter() - began:.2f} |", flush=True)


if __name__ == "__main__":
    main()
