"""A campaign: sweeps that answer one question together, each in a folder of its own, results/CAMPAIGN/PART."""

from collections.abc import Mapping
from pathlib import Path

from eutectic.analysis.load import Runs, load
from eutectic.errors import UserError

MAIN = "main"  # the part that architectures and budgets are compared in; a sweep by itself is one of this part alone
RATIO, PLACEMENT, HEADS, DOMAIN, TUNE = "ratio", "placement", "heads", "domain", "tune"


def parts(folder: Path) -> dict[str, Path]:
    """The sweeps of a campaign by name, the main one first; a sweep that is none's is its own main part. Raises
    UserError where there is neither."""
    if (folder / "runs.parquet").exists():
        return {MAIN: folder}
    found = {path.parent.name: path.parent for path in sorted(folder.glob("*/runs.parquet"))}
    if not found:
        raise UserError(f"no runs.parquet in {folder} or a folder in it; train with `eutectic sweep --name` first.")
    return {name: found[name] for name in sorted(found, key=lambda name: name != MAIN)}


def load_parts(folder: Path) -> Mapping[str, Runs]:
    """The runs of each part. Raises UserError as parts() and load.load() do."""
    return {name: load(path) for name, path in parts(folder).items()}
