"""The campaign's runs on this machine's GPUs as one queue, for so many minutes, where machines are had by the hour.

    python bench/campaign.py --results results/campaign --minutes 25

`make campaign` goes through the same steps, each to its end and its fit; here GPUs pass from the runs of one to those
of the next; towards the end none is begun, and then all save and go. Its tuning is to be there: the first two
commands of results/campaign/run.sh. Says last what the runs that ended came to, with GPU-hours as they are
paid for: planning, start-up and saving included.
"""

import argparse
import multiprocessing
import os
import shlex
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

import torch

from eutectic import arguments
from eutectic.commands.planning import open_sweep, plan_of
from eutectic.errors import UserError
from eutectic.sweeps import pool, worker
from eutectic.sweeps.ledger import Ledger
from eutectic.train import log, preemption
from eutectic.train.shards import default_cache

RUN = Path(__file__).parents[1] / "results/campaign/run.sh"
SAVING_SECONDS = 60.0
# before the end: beside others, runs took 160 seconds (3e14 and 1e15 FLOPs, medians) to 210 (3e15, of which fewer fit),
# nine of ten less than 360; begun later, most would be broken off, and those near their end would have less of the GPU
LAST_SECONDS = 200.0
Queue = list[tuple[Path, str]]  # a sweep's folder and a run's id


def steps() -> list[list[str]]:
    """Part, recipe and options of each step, in order."""
    lines = [line for line in RUN.read_text().splitlines() if line.startswith("step ")]
    return [shlex.split(line.replace('"$@"', ""))[1:] for line in lines]


def planned(results: Path) -> Queue:
    """All runs of the steps, of each the smallest budget first, and of a budget the longest: where it is broken off,
    budgets are whole."""
    queue: Queue = []
    for part, recipe_name, *further in steps():
        words = ["sweep", "--results", str(results), "--name", part, "--recipe", recipe_name, "--settings", "tune"]
        options = arguments.parser().parse_args([*words, "--continue", *further])
        recipe, rows, folder, _, too_often = plan_of(options, prepare=True)
        open_sweep(options, folder, recipe, rows, too_often)
        ledger = Ledger(folder)
        ledger.add([run for run, _ in rows], {run.run_id: cost for run, cost in rows})
        queue += [(folder, run.run_id) for run, cost in sorted(rows, key=lambda row: (row[0].budget, -row[1].seconds))]
    return list(dict.fromkeys(queue))


def train(queue: Queue, number: int, last: float) -> None:
    """What nobody else trains, on the GPU of this number; nothing is begun after `last`, of time.monotonic()."""
    preemption.install()
    place = worker.Place("cuda", default_cache())
    tasks = []
    for folder, runs in groupby(queue, key=lambda entry: entry[0]):
        tasks += worker.tasks(folder, [run_id for _, run_id in runs], place)
    worker.fill_gpu([replace(task, call=partial(in_time, last, task.call)) for task in tasks], place.cache, number)


def in_time(last: float, call: pool.Call, alone: bool) -> None:
    if time.monotonic() < last:
        call(alone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RUN.parent)
    parser.add_argument("--minutes", type=float, required=True)
    options = parser.parse_args()
    began = time.monotonic()
    end = began + 60 * options.minutes
    try:
        queue = planned(options.results)
    except UserError as error:
        sys.exit(f"eutectic: {error}")
    context = multiprocessing.get_context("spawn")
    gpus = [
        context.Process(target=train, args=(queue, number, end - LAST_SECONDS))
        for number in range(torch.cuda.device_count())
    ]
    for gpu in gpus:
        gpu.start()
    for gpu in gpus:
        gpu.join(max(0.0, end - time.monotonic()))
    for gpu in gpus:
        if gpu.pid and gpu.is_alive():
            os.kill(gpu.pid, signal.SIGUSR2)
    for gpu in gpus:
        gpu.join(SAVING_SECONDS)
        gpu.kill()
    runs, flops = 0, 0.0
    for folder in dict.fromkeys(folder for folder, _ in queue):
        before = len(log.read_rows(folder / "runs.parquet"))
        Ledger(folder).collect()
        new = log.read_rows(folder / "runs.parquet")[before:]
        print(folder, len(new), "new runs of", sum(where == folder for where, _ in queue))
        runs, flops = runs + len(new), flops + sum(row["flops"] for row in new)
    hours = len(gpus) * (time.monotonic() - began) / 3600
    print(f"{runs} runs ended, {flops:.3g} FLOPs in {hours:.2f} GPU-hours: {flops / hours / 3600:.3g} FLOP/s a GPU")


if __name__ == "__main__":
    main()
