"""Grafts of a sweep's best attention model and, the other way, of its best hybrid, against training from scratch.

    python -m eutectic.cli sweep --recipe gpu --archs attn 'hyena*3+attn' --budget 3e14 --name parents
    python bench/graft.py --sweep parents --budgets 3e13 1e14 3e14

Of each, every layer is scanned; then the other's layout, and the one that replaces the half of the layers that the scan
found least sensitive, are grafted and trained on, beside the parent itself and the same from scratch at equal compute.
All of it, with tables and figures, is the sweep SWEEP-graft. Each step prints its seconds.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

ATTENTION, HYBRID = "attn", "hyena*3+attn"
TO_MIXER = {ATTENTION: "hyena", HYBRID: "attn"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--sweep", required=True, help="whose runs are grafted")
    parser.add_argument("--budgets", nargs="+", required=True, help="FLOPs to train on with")
    parser.add_argument("--parents", nargs="+", choices=TO_MIXER, default=list(TO_MIXER), help="layouts to graft")
    options = parser.parse_args()
    rows = pd.read_parquet(options.results / options.sweep / "runs.parquet")
    place = ["--results", str(options.results), "--name", f"{options.sweep}-graft"]
    for parent in options.parents:
        own = rows[(rows["arch"] == parent) & (rows["status"] == "done")]
        best = own.loc[own["loss"].idxmin()]
        run = str(options.results / options.sweep / "runs" / best["run_id"])
        print(f"{parent}: run {best['run_id']}, width {best['d_model']}, {best['flops']:.3g} FLOPs", flush=True)
        scan = told("graft", run, "--scan", "--to-mixer", TO_MIXER[parent], *place)
        half = scan["layouts"][str(len(scan["layers"]) // 2)]
        other = HYBRID if parent == ATTENTION else ATTENTION
        told("graft", run, "--archs", other, half, "--budget", *options.budgets, "--scratch", *place)
    show("fit", *place)
    show("figures", *place)


def told(*command: str) -> Any:
    return json.loads(eutectic(*command, "--json", stdout=subprocess.PIPE).stdout)


def show(*command: str) -> None:
    eutectic(*command)


def eutectic(*command: str, **streams: Any) -> "subprocess.CompletedProcess[str]":
    """A process of its own, which leaves the GPU to the next."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "eutectic.cli", *command], text=True, check=True, **streams)
    print(f"{time.monotonic() - began:.0f} s: eutectic {' '.join(command)}", flush=True)
    return done


if __name__ == "__main__":
    main()
