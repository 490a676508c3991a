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
from rows import bandwidth, milliseconds, write
from torch import Tensor

from eutectic.arch.layers import short_conv
from eutectic.kernels import modal_conv
from eutectic.kernels.reference.gated_modal_conv import gated_modal_conv as oracle
from eutectic.kernels.triton.gated_modal_conv import gated_modal_conv as fused

OUT = Path("results/bench/gated_modal_conv.parquet")
SHAPES = [(8, 2048, 1024), (4, 8192, 1024), (1, 32768, 1024), (1, 131072, 1024), (64, 1024, 256), (64, 1024, 512)]
CHECKED = (2, 1024, 16)  # where the oracle fits
MODES, INPUTS, TENSORS = 8, 3, 11
KEY = ["device", "form", "batch", "length", "channels"]


def by_parts(convolve: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def run(qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor) -> Tensor:
        q, k, v = short_conv(qkv, fir, None)[0].chunk(3, -1)
        u = k * v
        return q * (convolve(u, log_poles, residues).to(u.dtype) + skip.to(u.dtype) * u)

    return run


FORMS = {"triton": fused, "chunked": by_parts(modal_conv.chunked), "fft": by_parts(modal_conv.fft)}
AXIS = {"triton": 0, "chunked": 2, "fft": 2}  # of channels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="print the rows there are as Markdown; measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(pd.read_parquet(options.out)), end="")
        return
    peak = bandwidth()
    for form in options.forms:
        error = worst_error(form)
        for batch, length, channels in SHAPES:
            row = {"form": form, "batch": batch, "length": length, "channels": channels, "worst_error": error}
            row |= {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "bytes_per_second": peak}
            row["limit_ms"] = TENSORS * batch * length * channels * 2 / peak * 1e3
            row["ms"], row["error"] = timed(form, batch, length, channels)
            print(
                {name: row[name] for name in ("form", "batch", "length", "channels", "ms", "limit_ms", "error")},
                flush=True,
            )
            write(row, options.out, KEY)


def inputs(batch: int, length: int, channels: int, form: str, device: str = "cuda") -> list[Tensor]:
    """qkv, fir, log poles, residues, skip; memories of 1 to 250 tokens. The fused form takes qkv as a projection W x'
    leaves it, (3 channels, batch, length)."""
    g = torch.Generator().manual_seed(0)
    memory = torch.logspace(0, 2.4, MODES)
    decay = -(0.5 + torch.rand(channels, MODES, generator=g)) / memory
    poles = torch.complex(decay, torch.rand(channels, MODES, generator=g) * torch.pi / memory)
    residues = torch.complex(*(torch.randn(2, channels, MODES, generator=g) * (MODES * memory) ** -0.5))
    qkv = torch.randn(batch, length, 3 * channels, generator=g).bfloat16().to(device)
    qkv = qkv.movedim(2, AXIS[form]).contiguous()
    fir, skip = torch.randn(3 * channels, 3, generator=g), torch.randn(channels, generator=g)
    return [qkv, *(t.to(device) for t in (fir, poles, residues, skip))]


def there_and_back(run: Callable[..., Tensor], tensors: list[Tensor], dy: Tensor) -> list[Tensor]:
    tensors = [t.requires_grad_() for t in tensors]
    y = run(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, dy)]


def timed(form: str, batch: int, length: int, channels: int) -> tuple[float, str]:
    torch.compiler.reset()
    run = FORMS[form] if form == "fft" else torch.compile(FORMS[form], dynamic=False)
    try:
        tensors = inputs(batch, length, channels, form)
        dy = torch.randn_like(
            tensors[0].chunk(3, 0 if form == "triton" else 2)[0], memory_format=torch.contiguous_format
        )
        graphs = []
        for _ in range(INPUTS):
            mine = [tensors[0].detach().clone(), *(t.detach() for t in tensors[1:])]
            there_and_back(run, mine, dy)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outcome = there_and_back(run, mine, dy)
            graphs.append((graph, mine, outcome))
        return milliseconds(lambda number: graphs[number % INPUTS][0].replay()), ""
    except Exception as error:
        return float("inf"), f"{type(error).__name__}: {str(error)[:100]}"
    finally:
        torch.cuda.empty_cache()


def worst_error(form: str) -> float:
    """Of y and all gradients, relative, in L2."""
    dy = torch.randn(CHECKED, generator=torch.Generator().manual_seed(1)).bfloat16()
    turned = form == "triton"
    got = there_and_back(
        FORMS[form], inputs(*CHECKED, form), (dy.permute(2, 0, 1).contiguous() if turned else dy).cuda()
    )
    got[:2] = (t.permute(1, 2, 0) if turned else t for t in got[:2])
    plain = inputs(*CHECKED, "fft", "cpu")
    wide = [t.to(torch.complex128 if t.is_complex() else torch.float64) for t in plain]
    expected = there_and_back(oracle, wide, dy.double())
    return max(float((a.cpu() - b).norm() / b.norm()) for a, b in zip(got, expected, strict=True))


def table(found: pd.DataFrame) -> str:
    lines = ["# StripedHyena's operator, forward and backward\n", "Written by `bench/gated_modal_conv.py --table`.\n"]
    lines.append("| device | batch x length x channels | form | ms | over the memory's limit | worst error |")
    lines.append("|---|---|---|--:|--:|--:|")
    for _, row in found.sort_values([*KEY[:1], *KEY[2:], "ms"]).iterrows():
        shape = f"{row['batch']} x {row['length']:,} x {row['channels']:,}"
        took = row["error"] or f"{row['ms']:.3f} | {row['ms'] / row['limit_ms']:.1f}"
        lines.append(f"| {row['device']} | {shape} | {row['form']} | {took} | {row['worst_error']:.1e} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
