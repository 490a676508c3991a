"""Trials that a tuning is yet to ask, for those who look on without opening its studies.

NAME/tune/due.json    by study; written under the studies' lock
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from eutectic import files
from eutectic.sweeps.cost import Load


@dataclass(frozen=True)
class Due:
    """So many trials of a study, of a budget and an architecture; load: of one."""

    budget: float
    arch: str
    trials: int
    load: Load


def note(sweep: Path, dues: Mapping[str, Due]) -> None:
    """By study; those of a tuning that are not among them stay as they are."""
    path = _path(sweep)
    kept = files.read_object(path)
    files.write_json(path, kept | {study: asdict(due) for study, due in dues.items()})


def read(sweep: Path) -> list[Due]:
    """Of every study that has any; empty for what is no tuning."""
    kept = files.read_object(_path(sweep))
    return [Due(**fields | {"load": Load(**fields["load"])}) for fields in kept.values() if fields["trials"]]


def _path(sweep: Path) -> Path:
    return sweep / "tune" / "due.json"
