"""Model-FLOP utilization of training steps: FLOPs by exact-causal over time, against the device's own matmul peak.

    python bench/utilization.py
    python bench/utilization.py --table > results/bench/utilization.md

Rows go to results/bench/utilization.parquet as they come; a row of the same device and layout is replaced.
"""

import argparse
import time
from pathlib import Path

import pandas as pd
import torch
from rows import parsed, versions, write

from eutectic.arch import flops
from eutectic.arch.model import build
from eutectic.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from eutectic.train.step import Stepper

OUT = Path("results/bench/utilization.parquet")
LENGTH, BATCH, VOCAB = 1024, 64, 4096
STEPS = 10
SHAPES = {
    "attn": ModelConfig("attn", 16, 1024, 8, 8, 2736, VOCAB),
    "hyena*3+attn": ModelConfig("hyena*3+attn", 16, 1024, 8, 8, 2736, VOCAB),
}
KEY = ["device", "layout"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", choices=SHAPES, default=list(SHAPES))
    options = parsed(parser, OUT, table)
    torch.set_float32_matmul_precision("high")
    torch.cuda.set_stream(torch.cuda.Stream())
    peak = matmul_peak()
    for layout in options.layouts:
        counts = flops.count(SHAPES[layout], LENGTH, "chunked")
        rate = BATCH * LENGTH / seconds(SHAPES[layout])
        speed = counts.training_flops("exact-causal", LENGTH) / LENGTH * rate
        row = {"layout": layout, "params": counts.params, "batch": BATCH, "length": LENGTH, "tokens_per_second": rate}
        row |= {"flops_per_second": speed, "peak_flops": peak, "device": torch.cuda.get_device_name(), **versions()}
        print(f"{layout}: {speed / peak:.0%}", flush=True)
        write(row, options.out, KEY)


def matmul_peak() -> float:
    a, b = torch.randn(2, 8192, 8192, device="cuda", dtype=torch.bfloat16)
    return 2 * 8192**3 / timed(lambda: a @ b, 20)


def seconds(model: ModelConfig) -> float:
    """Of a training step."""
    data = DataConfig("", "", "", "", VOCAB, LENGTH, 1)
    config = RunConfig(
        "", 0, "exact-causal", "chunked", data, model, OptimConfig(1e-4), BATCH * 100, BATCH, BATCH, 1, "bf16", 0, 0
    )
    stepper = Stepper(build(model, 0), config, "cuda")
    rows = torch.randint(VOCAB, (BATCH, LENGTH + 1))
    return timed(lambda: stepper.step(rows, 1e-4), STEPS)


def timed(call: object, count: int) -> float:
    for _ in range(5):
        call()  # type: ignore[operator]
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(count):
        call()  # type: ignore[operator]
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / count


def table(found: pd.DataFrame) -> str:
    """FLOP/s of training steps and their share of a large matmul's, which is given beside it."""
    lines = ["# Model-FLOP utilization\n", "Written by `bench/utilization.py --table`.\n"]
    lines.append("| device | layout | parameters | tokens a step | k tokens/s | TFLOP/s | 8192-cubed matmul | of it |")
    lines.append("|---|---|--:|---|--:|--:|--:|--:|")
    for _, row in found.sort_values(KEY).iterrows():
        cells = (
            *row[KEY],
            f"{row['params'] / 1e6:.0f} M",
            f"{row['batch']} x {row['length']:,}",
            f"{row['tokens_per_second'] / 1e3:.0f}",
            f"{row['flops_per_second'] / 1e12:.0f}",
            f"{row['peak_flops'] / 1e12:.0f}",
            f"{row['flops_per_second'] / row['peak_flops']:.0%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
