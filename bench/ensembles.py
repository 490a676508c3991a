"""Milliseconds that a model's training step takes on a synthetic task, of nine models as one and of one at a time.

    python bench/ensembles.py
    python bench/ensembles.py --table > results/bench/ensembles.md

Two layers of width 64 on recall, 32 examples of 128 tokens a step, in float32 with TF32 matmuls. as one: nine models
(probes/ensemble.py), vectorised and captured as a CUDA graph. captured: one, the same way. launched: one as torch's
modules and AdamW train it. Times are of a step, over the number of models; medians of bursts after a warm-up. Rows go
to results/bench/ensembles.parquet as they come.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rows import parsed, versions, write
from torch import nn

from eutectic.arch.model import build
from eutectic.config import ModelConfig, OptimConfig
from eutectic.probes.ensemble import Ensemble, asked_loss
from eutectic.probes.recall_tasks import Recall
from eutectic.train.optim import adamw

OUT = Path("results/bench/ensembles.parquet")
LAYOUTS = ("attn", "hyena", "hyena+attn", "mamba2", "gated_deltanet")
FORMS = {"as one": 9, "captured": 1, "launched": 1}  # and how many models each trains
BATCH = 32
WARM_UP, BURSTS, STEPS = 8, 5, 20
KEY = ["device", "layout", "form"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS)
    options = parsed(parser, OUT, table)
    os.environ["EUTECTIC_KERNELS"] = "torch"
    torch.set_float32_matmul_precision("high")
    for layout in options.layouts:
        for form, models in FORMS.items():
            ms = milliseconds(step_of(layout, form, models)) / models
            row = {"device": torch.cuda.get_device_name(), "layout": layout, "form": form, "models": models, "ms": ms}
            print(row, flush=True)
            write(row | versions(), options.out, KEY)


def step_of(layout: str, form: str, models: int, device: str = "cuda") -> Callable[[], object]:
    """What takes a step of so many models, on examples that are there."""
    task, shape = Recall(), ModelConfig(layout, 2, 64, 4, 4, 176, Recall().tokens)
    members: list[nn.Module] = [build(shape, seed).to(device) for seed in range(models)]
    tokens, targets = (torch.from_numpy(part).to(device) for part in task.examples(0, np.arange(BATCH)))
    if form != "launched":
        optim, steps = OptimConfig(1.0), WARM_UP + BURSTS * STEPS
        ensemble = Ensemble(members, [1e-3] * models, optim, steps)
        return lambda: ensemble.step(tokens.expand(models, -1, -1), targets.expand(models, -1, -1))
    model, optimizer = members[0], adamw(members[0], OptimConfig(1e-3))

    def step() -> None:
        asked_loss(model(tokens), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def milliseconds(step: Callable[[], object]) -> float:
    """Of a step: the median of bursts."""
    times = []
    for steps in (WARM_UP, *[STEPS] * BURSTS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - began) / steps)
    return 1e3 * statistics.median(times[1:])


def table(found: pd.DataFrame) -> str:
    """A row for each architecture; forms are columns, with how many times as long as one of nine they take."""
    lines = [
        "# Synthetic tasks: a model's step, of nine as one and of one at a time\n",
        "Written by `bench/ensembles.py --table`. Milliseconds a model and step.\n",
        "| device | architecture | as one | captured | launched | captured / as one | launched / as one |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for (device, layout), part in found.groupby(["device", "layout"], sort=False):
        ms = part.set_index("form")["ms"]
        cells = [f"{ms[form]:.2f}" for form in FORMS] + [f"{ms[form] / ms['as one']:.1f}" for form in FORMS][1:]
        lines.append(f"| {device} | {layout} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
