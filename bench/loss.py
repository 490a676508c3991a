"""Milliseconds and memory of the head and cross-entropy, forward and backward, by chunks and with all logits at once.

    python bench/loss.py
    python bench/loss.py --table > results/bench/loss.md

bfloat16 inputs and a float32 weight of 32,768 by the width, as training under autocast has them. triton, torch: by
chunks, as kernels/dispatch.py chooses. all logits: torch's cross_entropy, compiled. liger: Liger's fused kernel, where
it is installed. Times are of CUDA graphs over inputs in rotation, Liger's of its launches, as it cannot be captured.
mib: what one pass allocates at its peak beyond its inputs, both gradients among it. errors: relative L2 of what was
timed against float64 on the same rounded inputs, of the loss and both gradients. Rows go to results/bench/loss.parquet
as they come.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from forms import Form, Place, measured, there_and_back
from rows import parsed, tell, versions, write
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from eutectic.kernels.linear_cross_entropy import linear_cross_entropy, rows_at_once

OUT = Path("results/bench/loss.parquet")
VOCAB = 32_768
SHAPES = [(4096, 512), (16384, 512), (65536, 512), (16384, 1024), (65536, 1024)]  # tokens, width
KEY = ["device", "form", "tokens", "width"]


def targets(x: Tensor) -> Tensor:
    return torch.arange(len(x), device=x.device) * 7919 % VOCAB


def by_chunks(fused: bool, x: Tensor, weight: Tensor) -> Tensor:
    return linear_cross_entropy(x, weight, targets(x), 0.0, rows_at_once(len(x), VOCAB), fused)


def all_logits(x: Tensor, weight: Tensor) -> Tensor:
    return F.cross_entropy((x @ weight.to(x.dtype).mT).float(), targets(x))


def liger(x: Tensor, weight: Tensor) -> Tensor:
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    return liger_fused_linear_cross_entropy(x, weight.to(x.dtype), targets(x), accum_dtype=torch.float32)


def oracle(x: Tensor, weight: Tensor) -> Iterator[tuple[Place, Tensor]]:
    """Logits are made again for the backward pass, as those of all tokens would not fit."""
    parts = zip(x.split(4096), targets(x).split(4096), strict=True)
    sums = [checkpoint(_summed, part, weight, own, use_reentrant=False) for part, own in parts]
    yield (), torch.stack(sums).sum() / len(x)


def _summed(x: Tensor, weight: Tensor, own: Tensor) -> Tensor:
    return F.cross_entropy(x @ weight.mT, own, reduction="sum")


FORMS: dict[str, Form] = {
    "triton": partial(by_chunks, True),
    "torch": partial(by_chunks, False),
    "all logits": all_logits,
    "liger": liger,
}
UNCAPTURED = ("liger",)  # it asks the GPU how many targets there are


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    options = parsed(parser, OUT, table)
    for form, (tokens, width) in ((form, shape) for form in options.forms for shape in SHAPES):
        compiled, (tensors, dy) = form == "all logits", inputs(tokens, width)
        row = {"form": form, "tokens": tokens, "width": width, "device": torch.cuda.get_device_name(), **versions()}
        row |= measured(FORMS[form], oracle, tensors, dy, compiled, captured=form not in UNCAPTURED)
        if not row["error"]:
            row["mib"] = mebibytes(FORMS[form], tensors, dy, compiled)
        tell(row, KEY[1:])
        write(row, options.out, KEY)


def inputs(tokens: int, width: int, device: str = "cuda") -> tuple[list[Tensor], Tensor]:
    """x and weight, and the gradient in the loss."""
    g = torch.Generator(device).manual_seed(0)
    x = torch.randn(tokens, width, generator=g, device=device).bfloat16()
    return [x, torch.randn(VOCAB, width, generator=g, device=device) * width**-0.5], torch.ones((), device=device)


def mebibytes(run: Form, tensors: list[Tensor], dy: Tensor, compiled: bool) -> float:
    if compiled:
        run = torch.compile(run, dynamic=False)
        there_and_back(run, tensors, dy)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    there_and_back(run, tensors, dy)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def table(found: pd.DataFrame) -> str:
    lines = ["# Head and cross-entropy, forward and backward\n", "Written by `bench/loss.py --table`.\n"]
    lines.append("| device | tokens x width | form | ms | MiB | worst error |")
    lines.append("|---|---|---|--:|--:|--:|")
    for _, row in found.sort_values(["device", "width", "tokens", "ms"]).iterrows():
        took = f"{row['error'].split('.')[0]} |" if row["error"] else f"{row['ms']:.2f} | {row['mib']:,.0f}"
        error = "" if pd.isna(row["worst_error"]) else f"{row['worst_error']:.1e}"
        shape = f"{row['tokens']:,} x {row['width']:,}"
        lines.append(f"| {row['device']} | {shape} | {row['form']} | {took} | {error} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
