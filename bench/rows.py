"""Measurements as they come, in a parquet file, with what they were taken by, and the device's peak of copying."""

import argparse
import functools
import importlib.metadata
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from eutectic import files
from eutectic.kernels.flash_attention import LIBRARIES
from eutectic.train.log import commit


@functools.cache
def versions() -> dict[str, str | None]:
    """Of what a row was measured by, and the commit of the code; None for what is not there.

    flash_attn: of each library of that family that is installed. driver: NVIDIA's; cuda: the runtime's.
    """
    flash = [f"{library.name} {found}" for library in LIBRARIES if (found := _version(library.name))]
    return {
        "torch": torch.__version__,
        "triton": _version("triton"),
        "flash_attn": ", ".join(flash) or None,
        "cuda": torch.version.cuda,
        "driver": _driver() if torch.cuda.is_available() else None,
        "commit": commit() or None,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        return None


def parsed(parser: argparse.ArgumentParser, out: Path, table: Callable[[pd.DataFrame], str]) -> argparse.Namespace:
    """A benchmark's options, --out among them, where its rows go. With --table it prints those there are and ends."""
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--table", action="store_true", help="print the rows there are as Markdown; measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(pd.read_parquet(options.out)), end="")
        raise SystemExit
    return options


def write(row: dict[str, Any], path: Path, key: list[str]) -> None:
    """Add a row; one that is equal in the columns of key is replaced."""
    files.make_folder(path.parent)
    table = pd.DataFrame([row])
    if path.exists():
        table = pd.concat([pd.read_parquet(path), table]).drop_duplicates(key, keep="last")
    with files.replacing(path) as scratch:
        table.to_parquet(scratch, index=False)


def tell(row: dict[str, Any], key: list[str]) -> None:
    """Print what a row of forms.measured() is about and what it says."""
    print({name: row.get(name) for name in (*key, "ms", "limit_ms", "worst_error", "error")}, flush=True)


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
