"""What a sweep's small training steps are made of, and how many runs at once fill a GPU.

    python bench/step_kernels.py
    python bench/step_kernels.py --layouts mamba2 --width 96 --at-once 1 8 16
    python bench/step_kernels.py --table > results/bench/step_kernels.md

A step as the sweeps take it, captured and replayed. Alone it is profiled: kernels, the time that they take, and which
take most (printed). Then as many processes as `--at-once` says replay theirs at the same time, under MPS. Rows go to
results/bench/step_kernels.parquet as they come; one of the same device, layout, width and number is replaced.
"""

import argparse
import multiprocessing
import os
import time
from collections import Counter
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rows import parsed, versions, write

from eutectic.arch.model import build
from eutectic.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from eutectic.sweeps.grids.campaign import HEADS, RECIPE
from eutectic.sweeps.mps import shared_gpu
from eutectic.sweeps.recipe import Shape
from eutectic.train.compiled import keep_compiled
from eutectic.train.shards import default_cache
from eutectic.train.step import Stepper

OUT = Path("results/bench/step_kernels.parquet")
VOCAB, LENGTH, SECONDS, PROFILED, SHOWN = 4096, 1024, 2.0, 10, 12
KEY = ["device", "layout", "d_model", "at_once"]
PATIENCE = 300.0  # seconds, of compiling too, after which a worker that has not come is not waited for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", default=["attn", "hyena", "hyena*3+attn", "mamba2", "gated_deltanet"])
    parser.add_argument("--width", type=int, default=64, choices=HEADS)
    parser.add_argument("--batch", type=int, default=16, help=f"sequences of {LENGTH} tokens a step")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    options = parsed(parser, OUT, table)
    keep_compiled(default_cache())
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    with shared_gpu("0"):
        for layout in options.layouts:
            for row in measured(layout, options.width, options.batch, sorted(options.at_once)):
                print({name: value for name, value in row.items() if name not in versions()}, flush=True)
                write(row, options.out, KEY)


def measured(layout: str, width: int, batch: int, numbers: list[int]) -> list[dict[str, Any]]:
    """A row for each number of processes."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(numbers[-1] + 1, timeout=PATIENCE), context.Queue()
    jobs = [(place, layout, width, batch, numbers, barrier, queue) for place in range(numbers[-1])]
    workers = [context.Process(target=work, args=job) for job in jobs]
    for worker in workers:
        worker.start()
    barrier.wait()
    together: dict[int, float] = {}
    for number in numbers:
        barrier.wait()
        together[number] = sum(queue.get(timeout=PATIENCE) for _ in range(number))
    alone: dict[str, Any] = queue.get(timeout=PATIENCE)
    for worker in workers:
        worker.join()
    rows = ({"at_once": number, "steps_per_second": rate} for number, rate in together.items())
    return [
        {"layout": layout, "d_model": width, "tokens": batch * LENGTH, **alone, **row, **versions()} for row in rows
    ]


def work(place: int, layout: str, width: int, batch: int, numbers: list[int], barrier: Barrier, queue: Any) -> None:
    """Of as many places as each number says, the steps a second; of the first last what it is made of."""
    stepper, rows = captured(layout, width, batch)
    barrier.wait()
    for number in numbers:
        barrier.wait()
        if place < number:
            queue.put(rate(stepper, rows))
    if place == 0:
        queue.put(profiled(stepper, rows))


def captured(layout: str, width: int, batch: int) -> tuple[Stepper, torch.Tensor]:
    torch.set_float32_matmul_precision("high")
    torch.cuda.set_stream(torch.cuda.Stream())
    shape = Shape(RECIPE.ladder[0].n_layers, width, *HEADS[width])
    model = ModelConfig(layout, shape.n_layers, width, shape.n_heads, shape.n_kv_heads, shape.d_ffn, VOCAB)
    data, optim = DataConfig("", "", "", "", VOCAB, LENGTH, 1), OptimConfig(1e-4)
    config = RunConfig("", 0, "exact-causal", "chunked", data, model, optim, batch * 100, batch, batch, 1, "bf16", 0, 0)
    stepper, rows = Stepper(build(model, 0), config, "cuda"), torch.randint(VOCAB, (batch, LENGTH + 1))
    for _ in range(6):
        stepper.step(rows, 1e-4)
    torch.cuda.synchronize()
    return stepper, rows


def rate(stepper: Stepper, rows: torch.Tensor) -> float:
    """Steps a second over SECONDS and what is left of the last few, at most these ahead of the GPU."""
    taken, began, elapsed = 0, time.monotonic(), 0.0
    while elapsed < SECONDS:
        for _ in range(4):
            stepper.step(rows, 1e-4)
        torch.cuda.synchronize()
        taken, elapsed = taken + 4, time.monotonic() - began
    return taken / elapsed


def profiled(stepper: Stepper, rows: torch.Tensor) -> dict[str, Any]:
    """Kernels and copies of a step, and the milliseconds that they take; prints those that take most."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(PROFILED):
            stepper.step(rows, 1e-4)
        torch.cuda.synchronize()
    count: Counter[str] = Counter()
    took: Counter[str] = Counter()
    for event in profile.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            count[event.name] += 1
            took[event.name] += event.device_time_total / 1e3 / PROFILED
    for name, milliseconds in took.most_common(SHOWN):
        print(f"{milliseconds:8.3f} ms {count[name] / PROFILED:6.1f} times {name[:90]}")
    return {
        "device": torch.cuda.get_device_name(),
        "kernels": sum(count.values()) / PROFILED,
        "kernel_ms": sum(took.values()),
    }


def table(found: pd.DataFrame) -> str:
    """Steps a second of all together."""
    lines = ["# A sweep's small steps\n", "Written by `bench/step_kernels.py --table`.\n"]
    lines.append("| device | layout | width | tokens | kernels | their ms | at once | steps/s | ms a step |")
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for _, row in found.sort_values(KEY).iterrows():
        speed = f"{row['steps_per_second']:.0f} | {1e3 / row['steps_per_second']:.2f}"
        cells = (row["device"], row["layout"], row["d_model"], f"{row['tokens']:,}", f"{row['kernels']:.0f}")
        lines.append("| " + " | ".join(map(str, cells)) + f" | {row['kernel_ms']:.2f} | {row['at_once']} | {speed} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
