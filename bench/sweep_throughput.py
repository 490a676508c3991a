"""Runs per GPU-hour of a sweep's worker, against the same runs one after another, each compiled whole in a new process.

    python bench/sweep_throughput.py --budgets 3e14 1e15
    python bench/sweep_throughput.py --budgets 1e16 --every 3 --ways "one by one"
    python bench/sweep_throughput.py --table > results/bench/sweep_throughput.md

Both ways start without compiled kernels and keep theirs between runs. The worker trains all runs of the plan; one after
another, which takes long, only every --every-th is. Equal seeds: a run's loss is compared with the other way's, which
computes it by another program, and with its own when the worker trains those few runs again. A call measures budgets
together and is numbered; rows go to results/bench/sweep_throughput.parquet as they come.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from rows import parsed, versions

from eutectic.config import RunConfig
from eutectic.sweeps import plan, recipe, worker
from eutectic.sweeps.cost import estimate
from eutectic.sweeps.ledger import Ledger
from eutectic.train import shards

OUT = Path("results/bench/sweep_throughput.parquet")
ARCHS = ["attn", "hyena", "hyena*3+attn", "mamba2"]
TOGETHER, AGAIN, ALONE = WAYS = ("worker", "worker again", "one by one")
NOTE = """Seconds of a GPU that a run takes, wall-clock. The worker trains all runs of a plan; one by one only the
middle size of each architecture is trained (`--every 3`). 3e14 and 1e15 FLOPs were measured in one call, whose worker
trained the runs of both together: its seconds are their mean. \\* The two ways were measured in different calls.

At 1e16 FLOPs the text is repeated until validation losses are 9 nats; the ways' programs round otherwise, and there it
shows (docs/log.md, 2026-11-26). Trained again by the worker, runs come out equal to the last bit.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="gpu")
    parser.add_argument("--budgets", nargs="+", type=float)
    parser.add_argument("--archs", nargs="+", default=ARCHS)
    parser.add_argument("--sizes", type=int, default=3)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--alone", nargs=2, metavar=("FOLDER", "RUN"), help="train one run, as a process of its own")
    options = parsed(parser, OUT, table)
    if options.alone:
        train_alone(Path(options.alone[0]), options.alone[1], recipe.find(options.recipe).device)
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    chosen = dataclasses.replace(
        recipe.find(options.recipe), budgets=tuple(options.budgets), archs=tuple(options.archs), sizes=options.sizes
    )
    cache = shards.default_cache()
    manifest = shards.prepare(chosen.source, chosen.tokenizer, cache)
    runs = plan.plan(chosen, manifest, threads=int(chosen.device == "cpu"))
    sample = runs[options.every // 2 :: options.every]
    call = 1 + (pd.read_parquet(options.out)["call"].max() if options.out.exists() else 0)
    with tempfile.TemporaryDirectory() as scratch:
        for way in options.ways:
            ledger = Ledger(Path(scratch, way))
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(
                Path(scratch, "compiled", "whole" if way == ALONE else "blocks")
            )
            own = runs if way == TOGETHER else sample
            ledger.add(own)
            longest = sorted(own, key=lambda run: -estimate(run, chosen.device).seconds)
            began = time.monotonic()
            if way != ALONE:
                worker.work(ledger.folder, [run.run_id for run in longest], worker.Place(chosen.device, cache))
                record(options.out, call, way, ledger, own, time.monotonic() - began)
                continue
            for run in reversed(longest):
                began = time.monotonic()
                command = [sys.executable, __file__, "--recipe", options.recipe, "--alone", str(ledger.folder)]
                subprocess.run([*command, run.run_id], check=True)
                record(options.out, call, way, ledger, [run], time.monotonic() - began)
    print(table(pd.read_parquet(options.out)))


def train_alone(folder: Path, run_id: str, device: str) -> None:
    """As others do: the whole model compiled, kernels launched one by one, sums in whatever order is quickest."""
    from eutectic.train import loop
    from eutectic.train.step import Objective, Stepper

    class Whole(Stepper):
        def _compile(self, objective: Objective) -> None:
            self._capturable = False
            objective.compile(dynamic=False)

        def _order(self, strict: bool) -> None:
            pass

    loop.Stepper = Whole  # type: ignore[misc]
    worker.train_planned(folder, run_id, worker.Place(device, shards.default_cache()), True)


def record(out: Path, call: int, way: str, ledger: Ledger, runs: list[RunConfig], seconds: float) -> None:
    """Append a row per run; seconds: of all of them, wall-clock."""
    ledger.collect()
    done = pd.read_parquet(ledger.folder / "runs.parquet").set_index("run_id")
    rows: list[dict[str, Any]] = []
    for run in runs:
        row = done.loc[run.run_id] if run.run_id in done.index else None
        columns = ("device", "loss", "params", "flops", "seconds", "peak_memory")
        known = {} if row is None else {name: row[name] for name in columns}
        shape = {"arch": run.model.layout, "budget": run.budget, "d_model": run.model.d_model, "steps": run.steps}
        cost = estimate(run, "cpu" if run.threads else "cuda")
        guess = {"expected_memory": cost.memory, "expected_seconds": cost.seconds, "busy": cost.busy}
        named = {"call": call, "way": way, "run_id": run.run_id}
        rows.append({**named, **shape, **known, **guess, "wall": seconds / len(runs), **versions()})
        if row is None:
            print(f"{run.run_id} {run.model.layout}: {ledger.failure(run.run_id)}", file=sys.stderr)
    old = [pd.read_parquet(out)] if out.exists() else []
    out.parent.mkdir(parents=True, exist_ok=True)
    pd.concat([*old, pd.DataFrame(rows)]).to_parquet(out, index=False)


def table(rows: pd.DataFrame) -> str:
    """By budget: seconds of GPU a run takes either way, the FLOPs of a GPU-hour that this is, their ratio, and the
    largest gaps of losses; each way by its last call that had all architectures."""
    lines = ["# A sweep's worker against runs one by one\n", "Written by `bench/sweep_throughput.py --table`.\n", NOTE]
    lines.append(
        "| device | budget | runs | one by one, s | worker, s | FLOPs a GPU-hour, one by one | worker | times more | "
        "losses differ by | by, trained again |"
    )
    lines.append("|---|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for (device, budget), own in rows.groupby(["device", "budget"]):
        flops = float(str(budget))
        archs = own.groupby(["way", "call"])["arch"].transform("nunique")
        whole = own[archs == own["arch"].nunique()]  # calls that were not cut short
        last = whole[whole["call"] == whole.groupby("way")["call"].transform("max")]
        ways = {way: part.set_index("run_id") for way, part in last.groupby("way")}
        if not {TOGETHER, ALONE} <= set(ways):
            continue
        mean = {way: part["wall"].mean() for way, part in ways.items()}
        calls = {way: part["call"].iloc[0] for way, part in ways.items()}
        gaps = _gap(ways[TOGETHER], ways[ALONE]), _again(own)
        counts = f"{len(ways[TOGETHER])} and {len(ways[ALONE])}"
        ratio = f"{mean[ALONE] / mean[TOGETHER]:.2f}" + (" \\*" if calls[ALONE] != calls[TOGETHER] else "")
        hourly = [f"{flops * 3600 / mean[way]:.2g}".replace("e+", "e") for way in (ALONE, TOGETHER)]
        seconds = f"{mean[ALONE]:.1f}", f"{mean[TOGETHER]:.1f}", *hourly, ratio
        lines.append(f"| {' | '.join((str(device), f'{budget:.3g}', counts, *seconds, *gaps))} |")
    return "\n".join(lines) + "\n"


def _again(rows: pd.DataFrame) -> str:
    """Of the last call in which the worker trained runs twice."""
    calls = rows.loc[rows["way"] == AGAIN, "call"]
    ways = dict(iter(rows[rows["call"] == calls.max()].set_index("run_id").groupby("way")))
    return _gap(ways[TOGETHER], ways[AGAIN]) if ways else ""


def _gap(one: pd.DataFrame, other: pd.DataFrame) -> str:
    return f"{(one['loss'] - other['loss']).abs().max():.2g}"


if __name__ == "__main__":
    main()
