"""Where commands print, and the sweep that they are about."""

import math
import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from eutectic import files
from eutectic.arguments import Options
from eutectic.errors import UserError
from eutectic.sweeps.ledger import Ledger, members, sweeps


def sweep_folder(options: Options) -> Path:
    folder = named(options.results, options.name or "quick")
    if not folder.is_dir():
        there = ", ".join(str(f.relative_to(options.results)) for f in sweeps(options.results)) or "none"
        raise UserError(f"no sweep {folder}; those in {options.results}/ are: {there}. Choose with --name.")
    return folder


def one_sweep(options: Options) -> Path:
    """sweep_folder(), which is to be no campaign of several."""
    folder = sweep_folder(options)
    if (parts := members(folder)) != [folder]:
        there = ", ".join(str(part.relative_to(options.results)) for part in parts)
        raise UserError(f"{folder} is a campaign, and this is done part by part; name one: {there}.")
    return folder


def named(results: Path, name: str) -> Path:
    """A sweep's folder. Raises UserError where it would be no folder in `results`, or jobs could not run in it."""
    if {".", ".."} & set(name.split("/")) or set(files.UNUSABLE) & set(name):
        raise UserError(f"a sweep cannot be named {name!r}: leave out `:` and `%`, and `.` and `..` as folders.")
    return results / name


def tuning_folder(options: Options) -> Path:
    folder: Path = options.results / options.settings
    if not folder.is_dir():
        raise UserError(f"no tuning {folder}; make one with `eutectic tune --name {options.settings}`.")
    return folder


def out() -> Console:
    # a table in a pipe or a log is laid out for a wide page, not for 80 columns
    # and brackets are those of layouts and intervals, not rich's markup
    return Console(width=max(120, shutil.get_terminal_size().columns), highlight=False, markup=False)


def page() -> Console:
    """As wide as the terminal, or 80 columns, for what may be drawn again in its place: lines that wrapped would not be
    found again."""
    return Console(highlight=False, markup=False)


def err() -> Console:
    """As wide as the terminal: lines that are drawn again in their place must not wrap."""
    return Console(stderr=True, highlight=False, markup=False)


def aside() -> Console:
    """For tables beside the result, as wide as those of out()."""
    return Console(stderr=True, width=out().width, highlight=False, markup=False)


def warn(ledger: Ledger) -> None:
    while ledger.set_aside:
        err().print(f"warning: {ledger.set_aside.pop()}", soft_wrap=True)


def say_failed(failed: dict[str, str], total: int) -> None:
    for run_id, error in failed.items():
        err().print(f"{run_id} failed: {error}", soft_wrap=True)
    if failed:
        err().print(f"{len(failed)} of {total} runs failed; `eutectic retry` trains those again.")


def finite(value: Any) -> Any:
    """The value with NaN and infinities as None, which JSON can say."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
