"""Seconds to distill long filters to modal forms of order 16, and their errors beside what theory allows.

    python bench/distill.py
    python bench/distill.py --table > results/bench/distill.md

256 channels of 4,096 taps on a CPU, 4,096 on a GPU, of three kinds: implicit, Hyena's filters as they start, whose
sines make them all but noise; smooth, the same with sines of frequency 1; modal, StripedHyena's as they start, of 32
modes. start, error: relative L2 without h_0 in the median channel, before refinement and after. Of the channel that is
farthest out, over the upper bound: the error at the worst frequency over twice the tail of Hankel singular values; over
the lower one: over sigma_17, which nothing of order 16 comes below. Rows go to
results/bench/distillation.parquet as they come.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from rows import parsed, versions, write
from torch import Tensor

from eutectic.arch.mixers.hyena import ModalFilter
from eutectic.arch.mixers.hyena_implicit import ImplicitFilter
from eutectic.inference.distill import distill
from eutectic.kernels.modal_conv import impulse_response

OUT = Path("results/bench/distillation.parquet")
LENGTH, ORDER, FEATURES, MODES = 4096, 16, 33, 32
CHANNELS = {"cpu": 256, "cuda": 4096}
KINDS: dict[str, Callable[[int], Tensor]] = {
    "implicit": lambda channels: ImplicitFilter(channels, LENGTH, FEATURES, 14.0)(LENGTH),
    "smooth": lambda channels: ImplicitFilter(channels, LENGTH, FEATURES, 1.0)(LENGTH),
    "modal": lambda channels: impulse_response(*ModalFilter(channels, MODES, complex_poles=True).poles(), LENGTH),
}
KEY = ["device", "kind", "channels", "length", "order"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--device", choices=CHANNELS, default="cuda" if torch.cuda.is_available() else "cpu")
    options = parsed(parser, OUT, table)
    device, channels = options.device, CHANNELS[options.device]
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    for kind in options.kinds:
        torch.manual_seed(0)
        with torch.no_grad():
            h = KINDS[kind](channels).to(device)
        distill(h[:2], ORDER)  # libraries load
        began = time.perf_counter()
        _, report = distill(h, ORDER)
        modes = float(report.modes.double().mean())  # waits for the device
        row = {"device": name, "kind": kind, "channels": channels, "length": LENGTH, "order": ORDER}
        row |= {"seconds": time.perf_counter() - began, "modes": modes} | versions()
        row |= {"start": float(report.start.median()), "error": float(report.error.median())}
        row |= {"over_upper": float((report.peak / report.upper).max())}
        row |= {"over_lower": float((report.peak / report.lower).max())}
        print(row, flush=True)
        write(row, options.out, KEY)


def table(found: pd.DataFrame) -> str:
    lines = ["# Distillation to order 16\n", "Written by `bench/distill.py --table`.\n"]
    lines.append("| device | filters | channels x length | seconds | modes | start | error | over upper | over lower |")
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for _, row in found.sort_values(["device", "kind"]).iterrows():
        size = f"{row['channels']:,} x {row['length']:,} | {row['seconds']:.1f} | {row['modes']:.1f}"
        errors = f"{row['start']:.1e} | {row['error']:.1e} | {row['over_upper']:.2g} | {row['over_lower']:.2g}"
        lines.append(f"| {row['device']} | {row['kind']} | {size} | {errors} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
