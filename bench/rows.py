"""Measurements as they come, in a parquet file, and the device's peaks that they are held to."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from eutectic import files


def write(row: dict[str, Any], path: Path, key: list[str]) -> None:
    """Add a row; one that is equal in the columns of key is replaced."""
    files.make_folder(path.parent)
    table = pd.DataFrame([row])
    if path.exists():
        table = pd.concat([pd.read_parquet(path), table]).drop_duplicates(key, keep="last")
    with files.replacing(path) as scratch:
        table.to_parquet(scratch, index=False)


def milliseconds(call: Callable[[int], object], repeats: int = 21) -> float:
    """Median on the GPU, of calls that are told their number, by which to rotate inputs."""
    for number in range(3):
        call(number)
    times = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for number, (began, ended) in enumerate(times):
        began.record()
        call(number)
        ended.record()
    torch.cuda.synchronize()
    return statistics.median(began.elapsed_time(ended) for began, ended in times)


def bandwidth() -> float:
    """Bytes a second, read and written, of a copy."""
    source = torch.empty(2**28, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda _: target.copy_(source)) * 1e3
