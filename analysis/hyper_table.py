"""A law of the best learning rate or batch, fitted to each group of a table of runs, and how it hangs on the window."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from eutectic.analysis.hyper import HyperOptimum, Window, optima
from eutectic.analysis.hyper_law import PUBLISHED, STEP_LAW, WINDOWS, HyperLaw, by_window, law
from eutectic.analysis.solve import Refused
from eutectic.analysis.table import TunedTable

# as the Step Law has them
OVER = {p.target: tuple(p.exponents) for p in PUBLISHED if p.source == STEP_LAW}


@dataclass(frozen=True)
class GroupLaw:
    """optima: of the cells, through the default window. windows: as hyper_law.by_window has them, no rows where there
    is no law, by refusal."""

    group: str
    optima: tuple[HyperOptimum, ...]
    fitted: HyperLaw | None
    windows: pd.DataFrame
    refusal: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        cells = [vars(cell) for cell in self.optima]
        fitted = self.fitted and vars(self.fitted) | {"constant": self.fitted.constant}
        windows = self.windows.to_dict("records")
        return {"group": self.group, "law": fitted, "refusal": self.refusal, "cells": cells, "windows": windows}


@dataclass(frozen=True)
class HyperTable:
    """over: the variables of the laws. groups: one of empty name where the table has none."""

    table: TunedTable
    over: tuple[str, ...]
    groups: tuple[GroupLaw, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "target": self.table.target,
            "over": self.over,
            "columns": self.table.sources,
            "n": len(self.table.used),
            "dropped": self.table.dropped.to_dict("records"),
            "groups": [group.to_dict() for group in self.groups],
        }


def fit_hyper_table(table: TunedTable) -> HyperTable:
    """Fit each group. Raises Refused, with the first group's reason, where none has a law."""
    used = table.used.sort_values(list(table.used.columns), kind="stable")
    parts = list(used.groupby("group")) if "group" in used else [("", used)]
    over = OVER[table.target]
    groups = tuple(_fit_group(str(name), rows, table.target, over) for name, rows in parts)
    if all(group.fitted is None for group in groups):
        raise Refused(groups[0].refusal)
    return HyperTable(table, over, groups)


def _fit_group(name: str, rows: pd.DataFrame, target: str, over: tuple[str, ...]) -> GroupLaw:
    found = tuple(optima(rows, Window()))
    fitted = law(found, target, over)
    if fitted is None:
        return GroupLaw(name, found, None, pd.DataFrame(), _refusal(found, target, over))
    return GroupLaw(name, found, fitted, by_window(rows, WINDOWS, target, over), "")


def _refusal(found: tuple[HyperOptimum, ...], target: str, over: tuple[str, ...]) -> str:
    had = sum(target in cell.values for cell in found)
    needed, variables = len(over) + 2, " and ".join(over)
    start = (
        f"a law of {target} in {variables} needs {needed} cells (runs of one params and tokens) with an optimum in it"
    )
    if had < needed:
        how = ", ".join(f"{n} {status}" for status, n in pd.Series([c.status for c in found]).value_counts().items())
        return f"{start}; of {len(found)} there are {had} ({how}): tune more cells, or with settings further apart."
    return f"{start}, and the {had} there are do not differ in {variables} by themselves: add other sizes or tokens."
