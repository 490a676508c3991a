"""Milliseconds of StripedHyena's operator, forward and backward, by each of its forms beside the memory's limit.

    python bench/gated_modal_conv.py
    python bench/gated_modal_conv.py --table > results/bench/gated_modal_conv.md

From projected q, k, v to y: FIRs of three taps, gates, convolution by 8 pairs of poles, and all gradients, poles and
residues included; bfloat16 inputs, captured as CUDA graphs over inputs in rotation. The limit reads and writes each
tensor once at a copy's speed: q, k, v and y, then q, k, v, dy and their three gradients, 11 of batch x length x
channels. errors: relative L2 against the oracle in float64 on the same rounded inputs, the worst of y and all
gradients. Rows go to results/bench/gated_modal_conv.parquet as they come.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from forms import table, timed, worst_error
from rows import bandwidth, write
from torch import Tensor

from eutectic.arch.layers import short_conv
from eutectic.kernels import modal_conv
from eutectic.kernels.reference.gated_modal_conv import gated_modal_conv as oracle
from eutectic.kernels.triton.gated_modal_conv import gated_modal_conv as fused

OUT = Path("results/bench/gated_modal_conv.parquet")
SHAPES = [(8, 2048, 1024), (4, 8192, 1024), (1, 32768, 1024), (1, 131072, 1024), (64, 1024, 256), (64, 1024, 512)]
CHECKED = (2, 1024, 16)  # where the oracle fits
MODES, TENSORS = 8, 11
KEY = ["device", "form", "batch", "length", "channels"]


def by_parts(convolve: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def run(qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor) -> Tensor:
        q, k, v = short_conv(qkv, fir, None)[0].chunk(3, -1)
        u = k * v
        return q * (convolve(u, log_poles, residues).to(u.dtype) + skip.to(u.dtype) * u)

    return run


def turned(qkv: Tensor, *rest: Tensor) -> Tensor:
    """The fused form of qkv (batch, length, 3 channels)."""
    return fused(qkv.permute(2, 0, 1).contiguous(), *rest).permute(1, 2, 0)


FORMS = {"triton": fused, "chunked": by_parts(modal_conv.chunked), "fft": by_parts(modal_conv.fft)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="print the rows there are as Markdown; measure nothing")
    options = parser.parse_args()
    if options.table:
        found = pd.read_parquet(options.out)
        print(table(found, "StripedHyena's operator, forward and backward", "gated_modal_conv.py"), end="")
        return
    peak = bandwidth()
    for form in options.forms:
        dy = torch.randn(CHECKED, generator=torch.Generator().manual_seed(1)).bfloat16()
        error = worst_error(turned if form == "triton" else FORMS[form], oracle, inputs(*CHECKED), dy.cuda())
        for batch, length, channels in SHAPES:
            row = {"form": form, "batch": batch, "length": length, "channels": channels, "worst_error": error}
            row |= {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "bytes_per_second": peak}
            row["limit_ms"] = TENSORS * batch * length * channels * 2 / peak * 1e3
            tensors = inputs(batch, length, channels)
            dy = torch.randn(batch, length, channels, device="cuda", dtype=torch.bfloat16)
            if form == "triton":  # whose qkv is as a projection W x' leaves it
                tensors[0], dy = tensors[0].permute(2, 0, 1).contiguous(), dy.permute(2, 0, 1).contiguous()
            row["ms"], row["error"] = timed(FORMS[form], tensors, dy, compiled=form != "fft")
            print(
                {name: row[name] for name in ("form", "batch", "length", "channels", "ms", "limit_ms", "error")},
                flush=True,
            )
            write(row, options.out, KEY)


def inputs(batch: int, length: int, channels: int) -> list[Tensor]:
    """qkv, fir, log poles, residues, skip; memories of 1 to 250 tokens."""
    g = torch.Generator().manual_seed(0)
    memory = torch.logspace(0, 2.4, MODES)
    decay = -(0.5 + torch.rand(channels, MODES, generator=g)) / memory
    poles = torch.complex(decay, torch.rand(channels, MODES, generator=g) * torch.pi / memory)
    residues = torch.complex(*(torch.randn(2, channels, MODES, generator=g) * (MODES * memory) ** -0.5))
    qkv = torch.randn(batch, length, 3 * channels, generator=g).bfloat16()
    fir, skip = torch.randn(3 * channels, 3, generator=g), torch.randn(channels, generator=g)
    return [t.cuda() for t in (qkv, fir, poles, residues, skip)]


if __name__ == "__main__":
    main()
