"""Milliseconds of the recurrence of a matrix state under a scalar decay, forward and backward, by each of its forms.

    python bench/scalar_decay.py
    python bench/scalar_decay.py --table > results/bench/scalar_decay.md

bfloat16 inputs (batch, length, heads, dim) as Mamba-2 (one key for all heads) and RetNet have them at width 1024,
captured as CUDA graphs over inputs in rotation. chunked: plain torch, compiled. The limit reads and writes each tensor
once at a copy's speed: q, k, v and y, then q, k, v, dy and three gradients. errors: relative L2 of what was timed
against the chunked form in float64 on the same rounded inputs, of y and every gradient. Rows go to
results/bench/scalar_decay.parquet as they come.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from forms import Form, Place, blocks, measured, table
from rows import bandwidth, parsed, tell, versions, write
from torch import Tensor

from eutectic.kernels import scalar_decay
from eutectic.kernels.triton.scalar_decay import scalar_decay as fused

OUT = Path("results/bench/scalar_decay.parquet")
LENGTHS = [(8, 2048), (4, 8192), (1, 32768), (1, 131072)]
KINDS = {"mamba2": (32, 1, 128, 64), "retention": (16, 16, 64, 128)}  # heads, groups, d_k, d_v
KEY = ["device", "form", "batch", "length", "channels", "kind"]


def first(run: object) -> Form:
    return lambda *tensors: run(*tensors)[0]  # type: ignore[operator]


def oracle(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Iterator[tuple[Place, Tensor]]:
    """Heads in parts."""
    share = v.shape[2] // q.shape[2]
    for heads in blocks(v.shape[2], 4):
        groups = slice(heads.start // share, -(-heads.stop // share))
        part = q[:, :, groups], k[:, :, groups], v[:, :, heads], log_decay[:, :, heads]
        yield (..., heads, slice(None)), scalar_decay.chunked(*part)[0]


FORMS: dict[str, Form] = {"triton": first(fused), "chunked": first(scalar_decay.chunked)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    options = parsed(parser, OUT, tables)
    peak = bandwidth()
    for form, kind in ((form, kind) for form in options.forms for kind in KINDS):
        for batch, length in LENGTHS:
            tensors, dy = inputs(batch, length, kind)
            q, _, v, _ = tensors
            row = {"form": form, "kind": kind, "batch": batch, "length": length, "channels": v.shape[2] * v.shape[3]}
            row |= {"device": torch.cuda.get_device_name(), "bytes_per_second": peak, **versions()}
            row["limit_ms"] = 2 * (6 * q.numel() + 5 * v.numel()) / peak * 1e3
            row |= measured(FORMS[form], oracle, tensors, dy, compiled=True)
            tell(row, KEY[1:])
            write(row, options.out, KEY)


def inputs(batch: int, length: int, kind: str) -> tuple[list[Tensor], Tensor]:
    """q, k, v, log a, and the gradient in y."""
    heads, groups, d_k, d_v = KINDS[kind]
    g = torch.Generator("cuda").manual_seed(0)
    q, k = torch.randn(2, batch, length, groups, d_k, generator=g, device="cuda")
    v, dy = torch.randn(2, batch, length, heads, d_v, generator=g, device="cuda").bfloat16()
    log_decay = -0.1 * torch.rand(batch, length, heads, generator=g, device="cuda")
    return [(q * d_k**-0.5).bfloat16(), k.bfloat16(), v, log_decay], dy


def tables(found: pd.DataFrame) -> str:
    """One of each kind."""
    titles = {kind: f"Scalar decay as {kind} has it, forward and backward" for kind in found["kind"]}
    parts = [table(rows, titles[kind], "scalar_decay.py") for kind, rows in found.groupby("kind")]
    return "".join(f"{part}\n" for part in parts)


if __name__ == "__main__":
    main()
