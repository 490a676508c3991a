"""Milliseconds that a model takes for one more token of each sequence, by their length and number.

    python bench/decode.py
    python bench/decode.py --table > results/bench/decode.md

As `eutectic generate` decodes: bfloat16, the step compiled and captured. Weights are random, and so are states, which
say that they have seen so many tokens; those that would not fit are left out. Rows go to results/bench/decode.parquet
as they come.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from rows import parsed, versions, write

from eutectic.arch.model import build
from eutectic.config import ModelConfig
from eutectic.inference.cache import Cache
from eutectic.inference.size import state_bytes
from eutectic.inference.speed import ROOM, filled, step_milliseconds

OUT = Path("results/bench/decode.parquet")
LAYOUTS = ("attn", "hyena+attn", "hyena*3+attn", "hyena", "mamba2")
LENGTHS = (1024, 16384, 65536, 131072)
ROWS = (1, 16, 64)
LARGEST = 17e9  # bytes of states, for those of all layouts to fit a GPU beside what compiles
LAYERS, WIDTH, HEADS, KV_HEADS, VOCAB = 16, 1024, 8, 2, 32_000
KEY = ["device", "layout", "layers", "d_model", "rows", "length"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    options = parsed(parser, OUT, table)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    for layout in options.layouts:
        shape = ModelConfig(layout, options.layers, options.width, HEADS, KV_HEADS, 3 * options.width, VOCAB)
        model = build(shape, 0).to(options.device, torch.bfloat16).eval()
        for rows in options.rows:
            for length in options.lengths:
                if rows * model.state_size(length).bytes(torch.bfloat16) > LARGEST:
                    continue
                torch.compiler.reset()
                cache = filled(Cache(model, rows, length + ROOM), length)
                tokens = torch.zeros(rows, dtype=torch.long, device=options.device)
                ms = step_milliseconds(cache, tokens)
                row = {"device": device, "layout": layout, "layers": options.layers, "d_model": options.width}
                row |= {"rows": rows, "length": length, "ms": ms, "tokens_per_second": 1e3 * rows / ms}
                row |= {"bytes": state_bytes(cache.states)} | versions()
                print({name: row[name] for name in (*KEY, "ms")}, flush=True)
                write(row, options.out, KEY)


def table(found: pd.DataFrame) -> str:
    """A row for each architecture and number of sequences; lengths are columns."""
    lengths = sorted(found["length"].unique())
    lines = [
        "# Decoding\n",
        "Written by `bench/decode.py --table`. Milliseconds for one more token of each sequence.\n",
    ]
    lines.append(f"| device | architecture | sequences | {' | '.join(f'{length:,}' for length in lengths)} |")
    lines.append(f"|---|---|--:|{'--:|' * len(lengths)}")
    for (device, rows, layout), part in found.groupby(["device", "rows", "layout"], sort=False):
        by_length = part.set_index("length")["ms"]
        cells = [f"{by_length[length]:.2f}" if length in by_length else "" for length in lengths]
        lines.append(f"| {device} | {layout} | {rows} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
