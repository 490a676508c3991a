"""Milliseconds of StripedHyena's operator, forward and backward, by each of its forms beside the memory's limit.

    python bench/gated_modal_conv.py
    python bench/gated_modal_conv.py --table > results/bench/gated_modal_conv.md

From projected q, k, v to y: FIRs of three taps, gates, convolution by 8 pairs of poles, and all gradients, poles and
residues included; bfloat16 inputs, captured as CUDA graphs over inputs in rotation. The limit reads and writes each
tensor once at a copy's speed: q, k, v and y, then q, k, v, dy and their three gradients, 11 of batch x length x
channels. errors: relative L2 of what was timed against FFTs in float64 on the same rounded inputs, of y and every
gradient. The form "fft, filter given" does less, gates and torch.fft, as where a filter is a parameter: no FIRs, skip
or poles. Rows go to results/bench/gated_modal_conv.parquet as they come.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from forms import Form, Oracle, Place, blocks, measured, table
from rows import bandwidth, parsed, tell, versions, write
from torch import Tensor

from eutectic.arch.layers import short_conv
from eutectic.kernels import long_conv, modal_conv
from eutectic.kernels.triton.gated_modal_conv import gated_modal_conv as fused

OUT = Path("results/bench/gated_modal_conv.parquet")
SHAPES = [(8, 2048, 1024), (4, 8192, 1024), (1, 32768, 1024), (1, 131072, 1024), (64, 1024, 256), (64, 1024, 512)]
MODES, TENSORS = 8, 11
KEY = ["device", "form", "batch", "length", "channels"]
NOTE = """ FlashFFTConv is not measured: it does not install here.
Quoted, from one H200 with it built for sm_90: 10.9 ms at 1 x 32,768 x 1,024, its filter given, where torch.fft with the
filter given took 5.96 ms."""


def by_parts(convolve: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def run(qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor) -> Tensor:
        q, k, v = short_conv(qkv, fir, None)[0].chunk(3, -1)
        u = k * v
        return q * (convolve(u, log_poles, residues).to(u.dtype) + skip.to(u.dtype) * u)

    return run


def given(qkv: Tensor, h: Tensor) -> Tensor:
    q, k, v = qkv.chunk(3, -1)
    return q * long_conv.fft(k * v, h).to(qkv.dtype)


def oracle(
    qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor
) -> Iterator[tuple[Place, Tensor]]:
    """By FFT, channels in parts."""
    length, n = qkv.shape[1], len(skip)
    thirds = qkv.unflatten(2, (3, n)), fir.unflatten(0, (3, n))
    for channels in blocks(n, 32):
        q, k, v = (long_conv.fft(thirds[0][:, :, i, channels], thirds[1][i, channels]) for i in range(3))
        h, u = modal_conv.impulse_response(log_poles[channels], residues[channels], length), k * v
        yield (..., channels), q * (long_conv.fft(u, h) + skip[channels] * u)


def oracle_turned(
    qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor
) -> Iterator[tuple[Place, Tensor]]:
    """Of qkv (3 channels, batch, length), as a projection W x' leaves it and the Triton form takes it."""
    for (_, channels), part in oracle(qkv.permute(1, 2, 0), fir, log_poles, residues, skip):
        yield (channels,), part.permute(2, 0, 1)


def oracle_given(qkv: Tensor, h: Tensor) -> Iterator[tuple[Place, Tensor]]:
    thirds = qkv.unflatten(2, (3, len(h)))
    for channels in blocks(len(h), 32):
        q, k, v = thirds[..., channels].unbind(2)
        yield (..., channels), q * long_conv.fft(k * v, h[channels])


FORMS: dict[str, tuple[Form, Oracle]] = {
    "triton": (fused, oracle_turned),
    "chunked": (by_parts(modal_conv.chunked), oracle),
    "fft": (by_parts(modal_conv.fft), oracle),
    "fft, filter given": (given, oracle_given),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    title = "StripedHyena's operator, forward and backward"
    options = parsed(parser, OUT, lambda found: table(found, title, "gated_modal_conv.py", NOTE))
    peak = bandwidth()
    for form in options.forms:
        for batch, length, channels in SHAPES:
            row = {"form": form, "batch": batch, "length": length, "channels": channels}
            row |= {"device": torch.cuda.get_device_name(), "bytes_per_second": peak, **versions()}
            row["limit_ms"] = TENSORS * batch * length * channels * 2 / peak * 1e3
            row |= measured(*FORMS[form], *inputs(batch, length, channels, form), compiled="fft" not in form)
            tell(row, KEY[1:])
            write(row, options.out, KEY)


def inputs(batch: int, length: int, channels: int, form: str) -> tuple[list[Tensor], Tensor]:
    """qkv, fir, log poles, residues, skip, or qkv and h, and the gradient in y; memories of 1 to 250 tokens."""
    g = torch.Generator().manual_seed(0)
    memory = torch.logspace(0, 2.4, MODES)
    decay = -(0.5 + torch.rand(channels, MODES, generator=g)) / memory
    poles = torch.complex(decay, torch.rand(channels, MODES, generator=g) * torch.pi / memory)
    residues = torch.complex(*(torch.randn(2, channels, MODES, generator=g) * (MODES * memory) ** -0.5))
    fir, skip = torch.randn(3 * channels, 3, generator=g), torch.randn(channels, generator=g)
    fir, poles, residues, skip = (t.cuda() for t in (fir, poles, residues, skip))
    g = torch.Generator(fir.device).manual_seed(0)
    qkv, dy = (torch.randn(batch, length, n * channels, generator=g, device=fir.device).bfloat16() for n in (3, 1))
    if form == "fft, filter given":
        return [qkv, modal_conv.impulse_response(poles, residues, length)], dy
    if form == "triton":
        qkv, dy = (t.permute(2, 0, 1).contiguous() for t in (qkv, dy))
    return [qkv, fir, poles, residues, skip], dy


if __name__ == "__main__":
    main()
