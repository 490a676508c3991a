"""Seconds of a forward and backward pass of 7B-shaped layers over one long sequence, hybrids beside all attention.

    python bench/long_sequences.py                         # a period of four layers, with each attention there is
    python bench/long_sequences.py --layers 32 --lengths 32768 131072 --attentions best
    python bench/long_sequences.py --table > results/bench/long_sequences.md

Width 4096, 32 heads of which 8 have keys and values, SwiGLU of 11008, random bfloat16 weights, batch 1, no optimizer:
a weight's gradient is freed when it is there. Blocks are compiled, and checkpointed where activations would not fit
beside each other, all layouts alike. Rows go to
results/bench/long_sequences.parquet as they come; a row of the same device, layout, attention and length is replaced.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rows import parsed, versions, write
from torch import nn
from torch.utils.checkpoint import checkpoint

from eutectic.arch.model import blank
from eutectic.config import ModelConfig
from eutectic.kernels import dispatch

OUT = Path("results/bench/long_sequences.parquet")
LAYOUTS = ("attn", "hyena+attn", "hyena*3+attn")
LENGTHS = (8192, 32768, 65536, 131072)
WIDTH, HEADS, KV_HEADS, FFN = 4096, 32, 8, 11008
SAME = ["device", "layers", "length", "attention"]
KEY = [*SAME, "layout"]
ROOM = 0.6  # of a device's memory, that activations may take before they are recomputed
ACTIVATIONS = 14  # of a block, in multiples of length x WIDTH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS)
    parser.add_argument("--attentions", nargs="+", choices=("best", "fa2"), default=("best", "fa2"))
    parser.add_argument("--repeats", type=int, default=3)
    options = parsed(parser, OUT, table)
    best = dispatch.attention
    for length in options.lengths:
        for attention in options.attentions:
            dispatch.attention = best if attention == "best" else flash_attention_2
            for layout in options.layouts:
                row = measure(layout, options.layers, length, options.repeats)
                row |= {"attention": attention, "library": library(attention)}
                print(
                    {name: row[name] for name in ("layout", "attention", "length", "seconds", "gib", "error")},
                    flush=True,
                )
                write(row, options.out, KEY)


def measure(layout: str, layers: int, length: int, repeats: int) -> dict[str, Any]:
    """A row; one that cannot run has infinite seconds and its error."""
    torch.compiler.reset()
    model = ModelConfig(layout, layers, WIDTH, HEADS, KV_HEADS, FFN, 256)
    row: dict[str, Any] = {"layout": layout, "layers": layers, "length": length}
    row |= {"device": torch.cuda.get_device_name(), "seconds": float("inf"), "error": "", **versions()}
    row["checkpointed"] = ACTIVATIONS * length * WIDTH * 2 * layers > ROOM * torch.cuda.mem_get_info()[1]
    try:
        blocks = made(model)
        row["params"] = sum(p.numel() for p in blocks.parameters())
        x = torch.randn(1, length, WIDTH, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        torch.cuda.reset_peak_memory_stats()
        seconds = [passed(blocks, x, row["checkpointed"]) for _ in range(repeats + 1)]
        row["seconds"] = statistics.median(seconds[1:])
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
    return row | {"gib": torch.cuda.max_memory_allocated() / 2**30, "tokens_per_second": length / row["seconds"]}


def library(attention: str) -> str:
    if attention == "fa2":
        return "FlashAttention-2"
    return dispatch.attention_by(torch.device("cuda", 0), torch.bfloat16, WIDTH // HEADS, HEADS > KV_HEADS)


def made(model: ModelConfig) -> nn.ModuleList:
    """The blocks, on the GPU, drawn there: the weights' values do not matter, their scale does."""
    blocks = blank(model).blocks.to_empty(device="cuda").to(torch.bfloat16)
    for parameter in blocks.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        parameter.register_post_accumulate_grad_hook(_free)
    for block in blocks:
        block.compile(dynamic=False)
    return blocks


def _free(parameter: torch.Tensor) -> None:
    parameter.grad = None


def passed(blocks: nn.ModuleList, x: torch.Tensor, recompute: bool) -> float:
    """Seconds of one pass, there and back."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    y = x
    for block in blocks:
        y = checkpoint(block, y, use_reentrant=False) if recompute else block(y)
    y.backward(torch.ones_like(y))
    torch.cuda.synchronize()
    x.grad = None
    return time.perf_counter() - began


def flash_attention_2(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None = None) -> torch.Tensor:
    """Torch's own, the claim's baseline."""
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.FLASH_ATTENTION):
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def table(found: pd.DataFrame) -> str:
    """Seconds, speed over all attention with the same attention, and peak memory."""
    lines = ["# 7B-shaped layers over one long sequence\n", "Written by `bench/long_sequences.py --table`.\n"]
    measures = "seconds | over all attention | GiB | recomputed"
    lines.append(f"| device | layers | length | layout | parameters | attention | {measures} |")
    lines.append("|---" * 10 + "|")
    for _, row in found.sort_values(KEY).iterrows():
        same = found[(found[SAME] == row[SAME]).all(axis=1)]
        baseline = same.loc[same["layout"] == "attn", "seconds"]
        runs = len(baseline) and not row["error"]
        speed = f"{baseline.iloc[0] / row['seconds']:.2f}" if runs else ""
        cells = (*row[["device", "layers", "length", "layout"]], f"{row['params'] / 1e6:,.0f} M", row["library"])
        took = (
            row["error"].split(".")[0] or f"{row['seconds']:.3f}",
            speed,
            f"{row['gib']:.1f}",
            "yes" if row["checkpointed"] else "",
        )
        lines.append("| " + " | ".join(str(cell) for cell in (*cells, *took)) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
