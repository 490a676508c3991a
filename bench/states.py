"""What trained models could do without: long filters distilled to orders of 2 to 32, modal ones pruned to one mode.

    python bench/states.py results/NAME/runs/RUN results/NAME/runs/OTHER
    eutectic figures --name NAME

Rows go to distill.parquet and prune.parquet of the sweep that the runs are of, as `eutectic distill` and `eutectic
prune` with --name put them there; no model is kept.
"""

import argparse
import math
import time
from pathlib import Path

import torch

from eutectic.arch.gated_conv import LongConv
from eutectic.inference import distill_model, prune
from eutectic.inference.load import load
from eutectic.inference.score import held_out, token_losses
from eutectic.inference.surgery import modal_mixers
from eutectic.train.log import Row, add_rows
from eutectic.train.shards import default_cache, open_shards

ORDERS = (2, 4, 8, 16, 32)
TOLERANCE = 1e-9  # so that orders are those asked for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    for folder in options.runs:
        trained = load(folder, default_cache())
        model, run = trained.model.to(options.device).eval(), trained.run
        assert run is not None, f"{folder} is no run of a sweep"
        text = held_out(run, open_shards(run.data, default_cache()))
        sweep = folder.resolve().parents[1]
        began = time.perf_counter()
        if any(isinstance(module, LongConv) for module in model.modules()):
            before = token_losses(model, text)
            for order in ORDERS:
                made = distill_model.distill_model(model, run, order, TOLERANCE)
                after = token_losses(made.model, text)
                rows = distill_model.rows(run, made, order, TOLERANCE, before, after)
                add_rows(sweep / "distill.parquet", "distill", rows)
                tell(rows[0], ("arch", "max_order", "error", "perplexity_before", "perplexity"), began)
        if modal_mixers(model):
            judged, reported = text.chunk(2)
            unpruned = token_losses(model, reported)
            for found in prune.search(model, run, judged, math.inf):
                row = prune.row(run, found, reported, unpruned)
                add_rows(sweep / "prune.parquet", "prune", [row])
                tell(row, ("arch", "modes", "error", "perplexity", "filter_bytes", "decode_ms"), began)


def tell(row: Row, names: tuple[str, ...], began: float) -> None:
    print({name: row[name] for name in names} | {"seconds": round(time.perf_counter() - began, 1)}, flush=True)


if __name__ == "__main__":
    main()
