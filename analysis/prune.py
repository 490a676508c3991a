"""How few modes a pruned model keeps for a rise of perplexity that is allowed."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

BUDGETS = (0.001, 0.01, 0.05)  # one tenth of a percent, one, five


@dataclass(frozen=True)
class Kept:
    """Of a run on a device: what the search of `eutectic prune` keeps under a budget. row: of the `prune` table. rise:
    of perplexity, on text that decides nothing. saved: share of the bytes of a sequence. fewest: whether one mode fewer
    is known to be too few, or none is left."""

    budget: float
    row: "pd.Series[float]"
    rise: float
    saved: float
    fewest: bool


def kept(rows: pd.DataFrame, budgets: Sequence[float] = BUDGETS) -> list[Kept]:
    """For each budget, of the rows of one run on one device: from all its modes to one, the last before the first whose
    judged perplexity is over it."""
    rows = rows.sort_values("modes", ascending=False)
    unpruned, found = rows.iloc[0], []
    for budget in budgets:
        within = (rows["judged_perplexity"] <= (1 + budget) * unpruned["judged_perplexity"]).cummin()
        row = rows[within].iloc[-1]
        rise = float(row["perplexity"] / unpruned["perplexity"] - 1)
        saved = float(1 - row["state_bytes"] / unpruned["state_bytes"])
        found.append(Kept(budget, row, rise, saved, bool(not within.all() or row["modes"] == 1)))
    return found
