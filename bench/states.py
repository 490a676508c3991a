"""What trained models could do without: long filters distilled to orders of 2 to 32, modal ones pruned to one mode.

    python bench/states.py results/NAME/runs/RUN results/NAME/runs/OTHER
    python bench/states.py --table results/NAME > results/NAME/states.md
    eutectic figures --name NAME

Rows go to distill.parquet and prune.parquet of the sweep that the runs are of, as `eutectic distill` and `eutectic
prune` with --name put them there; no model is kept. On a GPU where there is one. All numbers of modes are tried, so
what a budget of perplexity leaves follows from the rows: --table prints that.
"""

import argparse
import math
import time
from pathlib import Path

import pandas as pd
import torch

from eutectic.analysis.prune import kept
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
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--table", type=Path, metavar="SWEEP", help="print what budgets leave, as Markdown")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.table:
        print(table(pd.read_parquet(options.table / "prune.parquet")), end="")
        return
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


def table(rows: pd.DataFrame) -> str:
    """A row for each run on each device and each budget."""
    lines = [
        "# Modes kept under a budget of perplexity\n",
        "Written by `bench/states.py --table`. Half of the held-out text decides; the rise is of the other half, with "
        "95% by windows of text. Bytes are of one sequence.\n",
        "| run | architecture | device | allowed | modes | rise | of filters | of all | saved of all | ms a token |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for (run, device), own in rows.groupby(["run_id", "device"], sort=False):
        most = own["modes"].max()
        for one in kept(own):
            row, few = one.row, "" if one.fewest else " or fewer"
            rise = f"{one.rise:+.2%} [{row['ratio_low'] - 1:+.2%}, {row['ratio_high'] - 1:+.2%}]"
            sizes = f"{row['filter_bytes']:,} | {row['state_bytes']:,} | {one.saved:.1%}"
            lines.append(
                f"| {run} | {row['arch']} | {device} | +{100 * one.budget:g}% | {row['modes']} of {most}{few} "
                f"| {rise} | {sizes} | {row['decode_ms']:.3f} |"
            )
    return "\n".join(lines) + "\n"


def tell(row: Row, names: tuple[str, ...], began: float) -> None:
    print({name: row[name] for name in names} | {"seconds": round(time.perf_counter() - began, 1)}, flush=True)


if __name__ == "__main__":
    main()
