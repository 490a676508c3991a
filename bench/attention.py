"""Milliseconds of causal attention, forward and backward, by each library there is beside torch's own.

    python bench/attention.py
    python bench/attention.py --table > results/bench/attention.md

bfloat16; small: 16 heads of 64, as at width 1024; 7b: 32 heads of 128, of which 8 have keys and values. Captured as
CUDA graphs over inputs in rotation. Sums of gradients come in whatever order is quickest. cudnn and fa2 are torch's own
scaled_dot_product_attention by these. The limits: each tensor read and written once at a copy's speed, q, k, v and y,
then those, dy and three gradients; and the matmuls, two of them forward and five backward, over half the matrix, at the
speed of a large one. errors: relative L2 of what was timed against the formula in float64 on the same rounded inputs,
of y and every gradient. Rows go to results/bench/attention.parquet as they come.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from forms import Form, Place, measured
from mixers import matmul_peak
from rows import bandwidth, parsed, tell, versions, write
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from eutectic.kernels import flash_attention

OUT = Path("results/bench/attention.parquet")
LENGTHS = [(8, 2048), (4, 8192), (1, 32768)]
KINDS = {"small": (16, 16, 64), "7b": (32, 8, 128)}  # heads, of them with keys and values, and their size
MATMULS = 7
KEY = ["device", "form", "batch", "length", "channels", "kind"]


def by_torch(backend: SDPBackend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(backend):
        return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])


def by_library(name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return flash_attention.attend(name, q, k, v, None, ordered=False)


FORMS: dict[str, Form] = {
    "cudnn": partial(by_torch, SDPBackend.CUDNN_ATTENTION),
    "fa2": partial(by_torch, SDPBackend.FLASH_ATTENTION),
    **{library.name: partial(by_library, library.name) for library in flash_attention.LIBRARIES},
}


def oracle(q: Tensor, k: Tensor, v: Tensor) -> Iterator[tuple[Place, Tensor]]:
    """Head by head, queries in parts."""
    share, size = q.shape[1] // k.shape[1], 1024
    for head in range(q.shape[1]):
        for first in range(0, q.shape[2], size):
            last = first + size
            mine = q[:, head, first:last]
            keys, values = k[:, head // share, :last], v[:, head // share, :last]
            scores = mine @ keys.mT * q.shape[3] ** -0.5
            future = torch.ones_like(scores[0], dtype=torch.bool).triu(first + 1)
            yield (
                (slice(None), slice(head, head + 1), slice(first, last)),
                (scores.masked_fill(future, -torch.inf).softmax(2) @ values).unsqueeze(1),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = [lib.name for lib in flash_attention.LIBRARIES if flash_attention.importable(lib.name, lib.module)]
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["cudnn", "fa2", *there])
    options = parsed(parser, OUT, table)
    speed, peak = bandwidth(), matmul_peak("cuda")
    for form, kind in ((form, kind) for form in options.forms for kind in KINDS):
        heads, kv_heads, dim = KINDS[kind]
        for batch, length in LENGTHS:
            flops = MATMULS * batch * heads * length**2 * dim
            row = {"form": form, "kind": kind, "batch": batch, "length": length, "channels": heads * dim}
            row |= {"device": torch.cuda.get_device_name(), "bytes_per_second": speed, "peak_flops": peak, **versions()}
            row |= {"limit_ms": 6 * batch * length * (heads + kv_heads) * dim * 2 / speed * 1e3}
            row |= {"flops": flops, "matmuls_ms": flops / peak * 1e3}
            row |= measured(FORMS[form], oracle, *inputs(batch, length, kind), compiled=False)
            tell(row, KEY[1:])
            write(row, options.out, KEY)


def inputs(batch: int, length: int, kind: str, device: str = "cuda") -> tuple[list[Tensor], Tensor]:
    """q, k and v, as a layer's projections give them, and the gradient in y."""
    heads, kv_heads, dim = KINDS[kind]
    g = torch.Generator(device).manual_seed(0)
    q, k, v, dy = (
        torch.randn(batch, length, n, dim, generator=g, device=device).bfloat16().transpose(1, 2)
        for n in (heads, kv_heads, kv_heads, heads)
    )
    return [q, k, v], dy


def table(found: pd.DataFrame) -> str:
    lines = ["# Causal attention, forward and backward\n", "Written by `bench/attention.py --table`.\n"]
    lines.append("| device | batch x length | heads | form | ms | TFLOP/s | of a large matmul's | worst error |")
    lines.append("|---|---|---|---|--:|--:|--:|--:|")
    for _, row in found.sort_values(["device", "kind", "length", "ms"]).iterrows():
        heads, kv_heads, dim = KINDS[row["kind"]]
        shape = f"{row['batch']} x {row['length']:,} | {heads} of {dim}, {kv_heads} with keys"
        took = f"{row['ms']:.3f} | {row['flops'] / row['ms'] / 1e9:.0f} | {row['matmuls_ms'] / row['ms']:.0%}"
        error = "" if pd.isna(row["worst_error"]) else f"{row['worst_error']:.1e}"
        said = f"{row['error'].split('.')[0]} | |" if row["error"] else took
        lines.append(f"| {row['device']} | {shape} | {row['form']} | {said} | {error} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
