"""Runs that a sweep planned and that have no row."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
