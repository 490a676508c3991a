"""Tokens a second, forward and backward, of one layer of every sequence mixer beside attention's.

    python bench/mixers.py --device cuda     # compiled, bf16 autocast, width 1024
    python bench/mixers.py --device cpu      # as the CPU trains: eager, float32, width 64
    python bench/mixers.py --table > results/bench/mixers.md

A process per mixer compiles all lengths at the same time as the others; then each times its own while the rest wait.
Rows go to results/bench/mixers.parquet as they come; a row of the same device, mixer, width and length is replaced.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rows import parsed, versions, write
from together import Row, measured
from torch import Tensor, nn

from eutectic.arch import registry
from eutectic.arch.base import LayerShape, Mixer
from eutectic.arch.layout import parse
from eutectic.kernels import dispatch

OUT = Path("results/bench/mixers.parquet")
LENGTHS = (1024, 2048, 4096, 16384)
TOKENS = 16384  # a pass: shorter sequences come in batches
WIDTHS = {"cuda": (1024, 16), "cpu": (64, 4)}
KEY = ["device", "mixer", "d_model", "length"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--mixers", nargs="+", default=registry.names(Mixer))
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    options = parsed(parser, OUT, table)
    at_once = len(options.mixers) if options.device == "cuda" else 1
    jobs = [(mixer, options.device, tuple(options.lengths)) for mixer in options.mixers]
    for row in measured(passes, jobs, at_once):
        write(row, options.out, KEY)
        print(
            f"{row['mixer']:16} {row['length']:6} {row['tokens_per_second']:12,.0f} tokens/s "
            f"MFU {row['mfu']:.3f}  {row['error']}",
            flush=True,
        )


def passes(mixer: str, device: str, lengths: tuple[int, ...]) -> Iterator[Row | None]:
    """A row per length; one that cannot run has zero tokens a second and its error."""
    torch.manual_seed(0)
    d_model, n_heads = WIDTHS[device]
    shape = LayerShape(d_model, d_model, n_heads, n_heads, 0, layer=0, n_layers=8, out_scale=0.25)
    layer = registry.make(parse(mixer).block[0].parts[0][0], Mixer, shape).to(device)
    run = torch.compile(layer, dynamic=False) if device == "cuda" else layer
    errors = {}
    for length in lengths:
        try:
            if device == "cuda":
                one_pass(run, inputs(d_model, length, device), device)
                torch.cuda.synchronize()
            errors[length] = ""
        except Exception as error:
            errors[length] = f"{type(error).__name__}: {str(error)[:200]}"
        if device == "cuda":
            torch.cuda.empty_cache()
    yield None
    peak = matmul_peak(device)
    for length in lengths:
        row = timed(run, layer, d_model, length, device, peak) if not errors[length] else {"seconds": float("inf")}
        flops = layer.flops(length, "chunked")
        row |= {
            "mixer": mixer,
            "length": length,
            "d_model": d_model,
            "n_heads": n_heads,
            "batch": TOKENS // length,
            "tokens_per_second": TOKENS / row["seconds"],
            "mfu": 3 * (flops.projection + flops.core) * TOKENS / length / row["seconds"] / peak,
            "peak_flops": peak,
            "device": torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads",
            "attention": attention_of(device, d_model // n_heads),
            "error": errors[length],
            **versions(),
        }
        yield row


def attention_of(device: str, dim: int) -> str:
    """By what attention is, of a head of dim: where the mixer has some, and of the one that it stands beside."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    return dispatch.attention_by(torch.device(device), dtype, dim, False)


def inputs(d_model: int, length: int, device: str) -> Tensor:
    return torch.randn(TOKENS // length, length, d_model, device=device, requires_grad=True)


def one_pass(layer: Callable[..., Tensor], x: Tensor, device: str) -> None:
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        y = layer(x)
    y.backward(torch.ones_like(y))


def timed(run: Callable[..., Tensor], layer: nn.Module, d_model: int, length: int, device: str, peak: float) -> Row:
    """Median seconds of a forward and backward pass, and the memory it took at its peak."""
    x = inputs(d_model, length, device)
    repeats = 10 if device == "cuda" else 3
    one_pass(run, x, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = [clock(lambda: one_pass(run, x, device), device) for _ in range(repeats)]
    layer.zero_grad()
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    return {"seconds": statistics.median(seconds), "peak_memory": memory}


def clock(work: Any, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def matmul_peak(device: str) -> float:
    """FLOP/s of a large matmul in the precision that layers run in, which MFU is of."""
    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / statistics.median(clock(lambda: a @ b, device) for _ in range(10))


def table(rows: pd.DataFrame) -> str:
    """Markdown: per device, tokens a second by mixer and length, that over attention's, and MFU."""
    parts = ["# One layer of each mixer, forward and backward\n\nWritten by `bench/mixers.py --table`.\n"]
    for device, found in rows.groupby("device", sort=False):
        first = found.iloc[0]
        parts.append(
            f"\n## {device}\n\nWidth {first['d_model']}, {first['n_heads']} heads, {TOKENS:,} tokens a pass, torch "
            f"{first['torch']}. Each cell: thousands of tokens a second (over attention's; MFU, exact-causal).\n"
        )
        lengths = sorted(found["length"].unique())
        parts.append(
            "\n| mixer | " + " | ".join(f"{n:,}" for n in lengths) + " |\n|---|" + "--:|" * len(lengths) + "\n"
        )
        by = found.set_index(["mixer", "length"])
        for mixer in (name for name in registry.names(Mixer) if name in set(found["mixer"])):
            cells = [_cell(by, mixer, n) for n in lengths]
            parts.append(f"| `{mixer}` | " + " | ".join(cells) + " |\n")
    return "".join(parts)


def _cell(by: pd.DataFrame, mixer: str, length: int) -> str:
    speeds, shares = by["tokens_per_second"].to_dict(), by["mfu"].to_dict()
    if not speeds.get((mixer, length)):
        return ""
    ratio = speeds[mixer, length] / speeds["attn", length]
    return f"{speeds[mixer, length] / 1e3:,.0f} ({ratio:.2f}; {shares[mixer, length]:.3f})"


if __name__ == "__main__":
    main()
