"""Milliseconds of Hyena-SE's operator, forward and backward, by each of its forms beside the memory's limit.

    python bench/gated_fir.py
    python bench/gated_fir.py --table > results/bench/gated_fir.md

From projected q, k, v to y: FIRs of three taps, a gate, a FIR of 7 taps for groups of 16 channels, a gate; bfloat16
inputs, captured as CUDA graphs over inputs in rotation. fused: one Triton op; parts: FIRs in Triton and gates compiled;
torch: all of it compiled. The limit reads and writes each tensor once at a copy's speed: q, k, v and y, then q, k, v,
dy and their three gradients. errors: relative L2 against the oracle in float64 on the same rounded inputs, the worst of
y and all gradients. Rows go to results/bench/gated_fir.parquet as they come.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from forms import Form, table, timed, worst_error
from rows import bandwidth, write
from torch import Tensor

from eutectic.kernels import fir
from eutectic.kernels.reference.gated_fir import gated_fir as oracle
from eutectic.kernels.triton.fir import fir as one_fir
from eutectic.kernels.triton.gated_fir import gated_fir as fused

OUT = Path("results/bench/gated_fir.parquet")
SHAPES = [(8, 2048, 1024), (4, 8192, 1024), (1, 32768, 1024), (1, 131072, 1024), (64, 1024, 256)]
CHECKED = (2, 300, 64)
TAPS, GROUP, TENSORS = 7, 16, 11
KEY = ["device", "form", "batch", "length", "channels"]


def by_parts(convolve: Callable[[Tensor, Tensor], Tensor]) -> Form:
    def run(qkv: Tensor, short: Tensor, taps: Tensor) -> Tensor:
        q, k, v = convolve(qkv, short).chunk(3, -1)
        return q * convolve(k * v, taps)

    return run


FORMS: dict[str, Form] = {
    "fused": fused,
    "parts": by_parts(one_fir),
    "torch": by_parts(lambda x, taps: fir.shifted(x, taps, None)[0]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="print the rows there are as Markdown; measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(pd.read_parquet(options.out), "Hyena-SE's operator, forward and backward", "gated_fir.py"), end="")
        return
    peak = bandwidth()
    for form in options.forms:
        error = worst_error(FORMS[form], oracle, *inputs(*CHECKED))
        for batch, length, channels in SHAPES:
            row = {"form": form, "batch": batch, "length": length, "channels": channels, "worst_error": error}
            row |= {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "bytes_per_second": peak}
            row["limit_ms"] = TENSORS * batch * length * channels * 2 / peak * 1e3
            row["ms"], row["error"] = timed(FORMS[form], *inputs(batch, length, channels), compiled=form != "fused")
            print({name: row[name] for name in (*KEY[1:], "ms", "limit_ms", "worst_error", "error")}, flush=True)
            write(row, options.out, KEY)


def inputs(batch: int, length: int, channels: int, device: str = "cuda") -> tuple[list[Tensor], Tensor]:
    """qkv, the short FIRs and the taps, and the gradient in y."""
    g = torch.Generator(device).manual_seed(0)
    qkv = torch.randn(batch, length, 3 * channels, generator=g, device=device).bfloat16()
    dy = torch.randn(batch, length, channels, generator=g, device=device).bfloat16()
    short = torch.randn(3 * channels, 3, generator=g, device=device)
    return [qkv, short, torch.randn(channels // GROUP, TAPS, generator=g, device=device) * TAPS**-0.5], dy


if __name__ == "__main__":
    main()
