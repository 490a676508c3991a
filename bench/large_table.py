"""Seconds to load, fit and draw a sweep of 10,000 runs with curves of 1,000 points, in this process and its pool.

python bench/large_table.py > results/bench/large_table.md
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from eutectic.analysis import schema
from eutectic.analysis.figures.draw import draw
from eutectic.analysis.load import load

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
import sweep_table

RUNS, POINTS = 10_000, 1_000
BUDGETS = tuple(np.geomspace(1e15, 1e19, 12))


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder)
        start = time.perf_counter()
        load(folder)
        loaded = time.perf_counter()
        files = draw(folder)
        drawn = time.perf_counter()
    print("# A large table of runs\n\nWritten by `bench/large_table.py`.\n")
    print(f"{RUNS} runs, curves of {POINTS} points, {os.cpu_count()} CPU cores\n\n| what | seconds |\n|---|---|")
    print(f"| load | {loaded - start:.1f} |")
    print(f"| load, fit and draw {len(files)} files | {drawn - loaded:.1f} |")


def write(folder: Path) -> None:
    per_seed = len(sweep_table.table(loss, budgets=BUDGETS))
    tables = [sweep_table.table(loss, budgets=BUDGETS, noise=0.002, seed=k) for k in range(-(-RUNS // per_seed))]
    runs = pd.concat([table.assign(seed=k) for k, table in enumerate(tables)], ignore_index=True)[:RUNS]
    runs["run_id"] = [f"{k:016x}" for k in range(RUNS)]
    pq.write_table(
        pa.Table.from_pylist(runs.to_dict("records"), schema.arrow_schema(schema.RUNS)), folder / "runs.parquet"
    )
    params, share = (runs[name].to_numpy(float)[:, None] for name in ("params", "attn_share"))
    tokens = np.round(runs["tokens"].to_numpy(float)[:, None] * np.arange(1, POINTS + 1) / POINTS)
    known = {
        "run_id": np.repeat(runs["run_id"].to_numpy(str), POINTS),
        "step": np.tile(np.arange(1, POINTS + 1), RUNS),
        "tokens": tokens.ravel(),
        "flops": (6 * params * tokens).ravel(),
        "train_loss": loss(params, tokens, share).ravel(),
    }
    fields = schema.arrow_schema(schema.CURVES)
    empty = pa.array(np.zeros(RUNS * POINTS))
    columns = [pa.array(known[f.name]) if f.name in known else empty for f in fields]
    arrays = [column.cast(field.type) for column, field in zip(columns, fields, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=fields), folder / "curves.parquet")


def loss(params: np.ndarray, tokens: np.ndarray, share: np.ndarray) -> np.ndarray:
    return 1.7 + 0.2 * (share - 0.4) ** 2 + 400 / params**0.34 + 400 / tokens**0.34


if __name__ == "__main__":
    main()
