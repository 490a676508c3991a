"""Milliseconds of convolutions with filters as long as the sequence, forward and backward, by each of their forms.

    python bench/long_conv.py
    python bench/long_conv.py --table > results/bench/long_conv.md

bfloat16 inputs (batch, length, channels) and a float32 filter a channel, captured as CUDA graphs over inputs in
rotation. direct: Toeplitz matmuls in Triton, with the copies to (channels, batch, length) and back that they need;
turned: without, of inputs that lie so; fft: torch.fft in float32; monarch: the Fourier matrix as two matmuls. Where
direct and monarch cross is what DIRECT_TAPS of kernels/dispatch.py says. The limit reads and writes each tensor once
at a copy's speed: x and y, then x, dy and dx. errors: relative L2 of what was timed against FFTs in float64 on the
same rounded inputs, of y and every gradient. Rows go to results/bench/long_conv.parquet as they come.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from forms import Form, Place, blocks, measured, table
from rows import bandwidth, parsed, tell, versions, write
from torch import Tensor

from eutectic.kernels import long_conv, monarch
from eutectic.kernels.triton.long_conv import long_conv as fused

OUT = Path("results/bench/long_conv.parquet")
CHANNELS = 1024
SHAPES = [(32, 512), (16, 1024), (8, 2048), (1, 2048), (4, 4096), (4, 8192), (1, 8192), (2, 16384), (1, 32768)]
TENSORS = 5
KEY = ["device", "form", "batch", "length", "channels"]


def direct(x: Tensor, h: Tensor) -> Tensor:
    return fused(x.permute(2, 0, 1).contiguous(), h).permute(1, 2, 0).contiguous()


def turned(x: Tensor, h: Tensor) -> Tensor:
    return fused(x.permute(2, 0, 1), h).permute(1, 2, 0)


def fft(x: Tensor, h: Tensor) -> Tensor:
    return long_conv.fft(x, h).to(x.dtype)


def oracle(x: Tensor, h: Tensor) -> Iterator[tuple[Place, Tensor]]:
    """By FFT, channels in parts."""
    for channels in blocks(x.shape[2], 128):
        yield (..., channels), long_conv.fft(x[..., channels], h[channels])


FORMS: dict[str, Form] = {"direct": direct, "turned": turned, "fft": fft, "monarch": monarch.causal_conv}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    options = parsed(parser, OUT, lambda found: table(found, "Long convolutions, forward and backward", "long_conv.py"))
    peak = bandwidth()
    for form in options.forms:
        for batch, length in SHAPES:
            row = {"form": form, "batch": batch, "length": length, "channels": CHANNELS}
            row |= {"device": torch.cuda.get_device_name(), "bytes_per_second": peak, **versions()}
            row["limit_ms"] = TENSORS * batch * length * CHANNELS * 2 / peak * 1e3
            compiled = form in ("direct", "monarch")
            row |= measured(FORMS[form], oracle, *inputs(batch, length, CHANNELS, form), compiled=compiled)
            tell(row, KEY[1:])
            write(row, options.out, KEY)


def inputs(batch: int, length: int, channels: int, form: str, device: str = "cuda") -> tuple[list[Tensor], Tensor]:
    """x and h, which remembers 1 to length / 4 tokens, and the gradient in y."""
    g = torch.Generator(device).manual_seed(0)
    x, dy = (torch.randn(batch, length, channels, generator=g, device=device).bfloat16() for _ in range(2))
    if form == "turned":
        x, dy = (t.permute(2, 0, 1).contiguous().permute(1, 2, 0) for t in (x, dy))
    memory = torch.logspace(0, math.log10(length / 4), channels, device=device)[:, None]
    decay = torch.exp(-torch.arange(length, device=device) / memory) * memory**-0.5
    return [x, torch.randn(channels, length, generator=g, device=device) * decay], dy


if __name__ == "__main__":
    main()
