"""A campaign: sweeps that answer one question together, each in a folder of its own, results/CAMPAIGN/PART."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from eutectic.analysis.load import Runs, load
from eutectic.errors import UserError

MAIN = "main"  # the part that architectures and budgets are compared in; a sweep by itself is one of this part alone
RATIO, PLACEMENT, HEADS, DOMAIN, TUNE = "ratio", "placement", "heads", "domain", "tune"
CLAIMED = (MAIN, RATIO, PLACEMENT, HEADS, DOMAIN)  # parts that a claim is of: a tuning's is of none
UNCLAIMED = "of a part that no claim is of"


def parts(folder: Path) -> dict[str, Path]:
    """The sweeps of a campaign by name, the main one first; a sweep that is none's is its own main part. Raises
    UserError where there is neither."""
    if (folder / "runs.parquet").exists():
        return {MAIN: folder}
    found = {path.parent.name: path.parent for path in sorted(folder.glob("*/runs.parquet"))}
    if not found:
        raise UserError(f"no runs.parquet in {folder} or a folder in it; train with `eutectic sweep --name` first.")
    return {name: found[name] for name in sorted(found, key=lambda name: name != MAIN)}


def compared(parts: Mapping[str, Runs]) -> dict[str, Runs]:
    """The parts as claims compare them: of one that none is of, unless that is so of all, every run is dropped."""
    claimed = [name for name in parts if name in CLAIMED] or list(parts)
    return {name: runs if name in claimed else _dropped(runs) for name, runs in parts.items()}


def _dropped(runs: Runs) -> Runs:
    rest = runs.used[["run_id", "arch", "budget"]].assign(reason=UNCLAIMED)
    return replace(runs, used=runs.used.iloc[:0], dropped=pd.concat([runs.dropped, rest], ignore_index=True))


def load_parts(folder: Path) -> Mapping[str, Runs]:
    """The runs of each part. Raises UserError as parts() and load.load() do."""
    return {name: load(path) for name, path in parts(folder).items()}
