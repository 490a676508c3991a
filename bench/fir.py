"""Milliseconds of causal FIRs, forward and backward, by each of their forms beside the memory's limit.

    python bench/fir.py
    python bench/fir.py --table > results/bench/fir.md

Three and four taps a channel, as before most mixers; 7 and 128 for groups of 16 channels, Hyena-SE's and Hyena-MR's.
bfloat16 inputs (batch, length, channels) and float32 taps, captured as CUDA graphs over inputs in rotation. torch: sums
tap by tap or blocks unfolded for a matmul, compiled; conv1d: torch's depthwise convolution of the transpose. The limit
reads and writes each tensor once at a copy's speed: x and y, then x, dy and dx. errors: relative L2 of what
was timed against FFTs in float64 on the same rounded inputs, of y and every gradient. Rows go to
results/bench/fir.parquet as they come.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from forms import Form, Place, blocks, measured, table
from rows import bandwidth, parsed, tell, versions, write
from torch import Tensor
from torch.nn import functional as F

from eutectic.kernels import fir, long_conv
from eutectic.kernels.triton.fir import fir as fused

OUT = Path("results/bench/fir.parquet")
SHAPES = [(8, 2048, 1024), (8, 2048, 3072), (4, 8192, 1024), (1, 32768, 1024), (1, 131072, 1024), (64, 1024, 256)]
TAPS = {3: 1, 4: 1, 7: 16, 128: 16}  # and the channels that share them
TENSORS = 5
KEY = ["device", "form", "batch", "length", "channels", "taps"]


def by_torch(x: Tensor, taps: Tensor) -> Tensor:
    return (fir.shifted if taps.shape[1] <= fir.FEW_TAPS else fir.blocked)(x, taps, None)[0]


def by_conv1d(x: Tensor, taps: Tensor) -> Tensor:
    channels, n = x.shape[2], taps.shape[1]
    weight = taps.to(x.dtype).repeat_interleave(channels // len(taps), 0).flip(1)[:, None]
    return F.conv1d(F.pad(x.mT, (n - 1, 0)), weight, groups=channels).mT


def oracle(x: Tensor, taps: Tensor) -> Iterator[tuple[Place, Tensor]]:
    """By FFT, channels in parts."""
    group = x.shape[2] // len(taps)
    for channels in blocks(x.shape[2], 128):
        h = taps[channels.start // group : channels.stop // group].repeat_interleave(group, 0)[:, : x.shape[1]]
        yield (..., channels), long_conv.fft(x[..., channels], h)


FORMS: dict[str, Form] = {"triton": fused, "torch": by_torch, "conv1d": by_conv1d}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--taps", nargs="+", type=int, choices=TAPS, default=list(TAPS))
    options = parsed(parser, OUT, lambda found: table(found, "Causal FIRs, forward and backward", "fir.py"))
    peak = bandwidth()
    for form, n in ((form, n) for form in options.forms for n in options.taps):
        for batch, length, channels in SHAPES:
            row = {"form": form, "batch": batch, "length": length, "channels": channels, "taps": n}
            row |= {"device": torch.cuda.get_device_name(), "bytes_per_second": peak, **versions()}
            row["limit_ms"] = TENSORS * batch * length * channels * 2 / peak * 1e3
            row |= measured(FORMS[form], oracle, *inputs(batch, length, channels, n), compiled=form == "torch")
            tell(row, KEY[1:])
            write(row, options.out, KEY)


def inputs(batch: int, length: int, channels: int, n: int, device: str = "cuda") -> tuple[list[Tensor], Tensor]:
    """x and taps, and the gradient in y."""
    g = torch.Generator(device).manual_seed(0)
    x, dy = (torch.randn(batch, length, channels, generator=g, device=device).bfloat16() for _ in range(2))
    return [x, torch.randn(channels // TAPS[n], n, generator=g, device=device) * n**-0.5], dy


if __name__ == "__main__":
    main()
