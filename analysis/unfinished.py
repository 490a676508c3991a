"""Runs that a sweep planned and that have no row."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eutectic.sweeps.ledger import ENDED, Ledger

FAILED, UNTRAINED = "failed", "not trained"


@dataclass(frozen=True)
class Unfinished:
    """status: FAILED, with its error, or UNTRAINED, which in a copy of the tables and plans alone is all that is known
    of what failed."""

    run_id: str
    arch: str
    budget: float
    status: str
    error: str = ""

    @property
    def kind(self) -> str:
        """The status with the beginning of the error: its class, or what happened, without where."""
        return f"{self.status} ({re.split('[:;]', self.error)[0]})" if self.error else self.status


def unfinished(folder: Path) -> Sequence[Unfinished]:
    """Those of a sweep's folder; none where it has no plans."""
    ledger, found = Ledger(folder), []
    for run_id, status in ledger.statuses().items():
        if status not in ENDED:
            budget, arch = ledger.label(run_id)
            error = ledger.failure(run_id) if status == "failed" else ""
            found.append(Unfinished(run_id, arch, budget, FAILED if status == "failed" else UNTRAINED, error))
    return found


def of_parts(folders: Mapping[str, Path], frames: Mapping[str, pd.DataFrame]) -> dict[str, Sequence[Unfinished]]:
    """Those of each part of a campaign, but runs that another part has a row of."""
    ended = {run_id for frame in frames.values() for run_id in frame["run_id"]}
    return {name: [one for one in unfinished(path) if one.run_id not in ended] for name, path in folders.items()}
