"""Tokens a second of whole training steps, a hybrid beside the Transformer of the same width and depth.

    python bench/training_step.py
    python bench/training_step.py --kernels torch --lengths 1024 2048
    python bench/training_step.py --table > results/bench/training_step.md

As the sweeps train: blocks compiled, steps captured, sums in a fixed order, bf16 autocast, AdamW. Rows go to
results/bench/training_step.parquet as they come; one of the same device, kernels, layout, width and length is replaced.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from rows import milliseconds, parsed, versions, write
from together import Row, measured

from eutectic.arch.model import build
from eutectic.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from eutectic.kernels import choice, dispatch
from eutectic.train.step import Stepper

OUT = Path("results/bench/training_step.parquet")
LAYOUTS = ("attn", "hyena+attn", "hyena*3+attn")
WIDTHS = (256, 512, 1024)
LENGTHS = (1024, 2048, 4096, 8192, 16384)
LAYERS, HEAD, VOCAB, TOKENS = 8, 64, 4096, 32768
ORDER = (
    "All sums are in a fixed order, as sweeps train, those of attention's gradients too. That is in the ratios: it "
    "took 16 of the 223 ms of a 206 M Transformer's step at 1,024 tokens on an H100 (docs/log.md, 2026-11-26)."
)
SAME = ["device", "kernels", "d_model", "length"]
KEY = [*SAME, "layout"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", nargs="+", choices=("best", "torch"), default=["best"])
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS)
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--at-once", type=int, default=6, help="processes that share the GPU's memory")
    options = parsed(parser, OUT, table)
    jobs = [
        (kernels, layout, width, length)
        for kernels in options.kernels
        for width in options.widths
        for length in options.lengths
        for layout in options.layouts
    ]
    for row in measured(steps, jobs, options.at_once):
        print({name: row[name] for name in (*KEY[1:], "tokens_per_second", "error")}, flush=True)
        write(row, options.out, KEY)


def steps(kernels: str, layout: str, width: int, length: int) -> Iterator[Row | None]:
    """A row; a step that cannot run has no tokens a second, and its error."""
    if kernels != "best":
        os.environ[choice.VARIABLE] = kernels
    torch.set_float32_matmul_precision("high")
    torch.cuda.set_stream(torch.cuda.Stream())
    model = ModelConfig(layout, LAYERS, width, width // HEAD, width // HEAD, (8 * width // 3 + 31) // 32 * 32, VOCAB)
    batch = TOKENS // length
    data, optim = DataConfig("", "", "", "", VOCAB, length, 1), OptimConfig(1e-4)
    config = RunConfig("", 0, "exact-causal", "chunked", data, model, optim, batch * 100, batch, batch, 1, "bf16", 0, 0)
    row: Row = {"kernels": kernels, "layout": layout, "d_model": width, "length": length, "tokens_per_second": 0.0}
    row |= {"device": torch.cuda.get_device_name(), "layers": LAYERS, "error": "", **versions()}
    rows = torch.randint(VOCAB, (batch, length + 1))
    try:
        built = build(model, 0)
        row["params"] = sum(p.numel() for p in built.parameters())
        stepper = Stepper(built, config, "cuda")
        row["attention"] = dispatch.attention_by(torch.device("cuda", 0), torch.bfloat16, HEAD, False)
        for _ in range(6):
            stepper.step(rows, 1e-4)
        torch.cuda.synchronize()
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
    yield None
    if not row["error"]:
        torch.cuda.reset_peak_memory_stats()
        row["tokens_per_second"] = TOKENS / milliseconds(lambda _: stepper.step(rows, 1e-4)) * 1e3
        row["gib"] = torch.cuda.max_memory_reserved() / 2**30
    yield row


def table(found: pd.DataFrame) -> str:
    """Tokens a second, and that over the Transformer's."""
    lines = ["# Training steps\n", f"Written by `bench/training_step.py --table`. {ORDER}\n"]
    lines.append("| device | kernels | width | length | layout | parameters | k tokens/s | over the Transformer |")
    lines.append("|---|---|--:|--:|---|--:|--:|--:|")
    for _, row in found.sort_values(KEY).iterrows():
        same = found[(found[SAME] == row[SAME]).all(axis=1)]
        transformer = same.loc[same["layout"] == "attn", "tokens_per_second"]
        speed = f"{row['tokens_per_second'] / transformer.iloc[0]:.2f}" if len(transformer) else ""
        took = row["error"] or f"{row['tokens_per_second'] / 1e3:,.0f}"
        cells = (*row[[*SAME, "layout"]], f"{row['params'] / 1e6:.1f} M", took, speed)
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
