"""A law of the best learning rate or batch, fitted to each group of a table of runs, and how it hangs on the window."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from eutectic.analysis.hyper import SETTINGS, HyperOptimum, Window, optima
from eutectic.analysis.hyper_law import PUBLISHED, STEP_LAW, WINDOWS, HyperLaw, by_window, law
from eutectic.analysis.table import TunedTable
from eutectic.analysis.tablefit import refuse_all

SAME = 0.01  # rows whose params and tokens agree to this are of one cell: tokens are realized to whole batches
OVER = {p.target: tuple(p.exponents) for p in PUBLISHED if p.source == STEP_LAW}  # variables, as the Step Law has them


@dataclass(frozen=True)
class GroupLaw:
    """optima: of the cells, through the default window. without: runs that no quadratic in logarithms can use, for a
    setting of theirs is 0 or not known. windows: as hyper_law.by_window has them, no rows where there is no law, by
    refusal."""

    group: str
    optima: tuple[HyperOptimum, ...]
    without: int
    fitted: HyperLaw | None
    windows: pd.DataFrame
    refusal: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        cells = [vars(cell) for cell in self.optima]
        fitted = self.fitted and vars(self.fitted) | {"constant": self.fitted.constant}
        windows = self.windows.to_dict("records")
        return {
            "group": self.group,
            "law": fitted,
            "refusal": self.refusal,
            "cells": cells,
            "without": self.without,
            "windows": windows,
        }


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
    parts = [(str(name), rows) for name, rows in used.groupby("group")] if "group" in used else [("", used)]
    over = OVER[table.target]
    groups = tuple(_fit_group(name, _in_cells(rows), table.target, over) for name, rows in parts)
    if all(group.fitted is None for group in groups):
        raise refuse_all(table, groups)
    return HyperTable(table, over, groups)


def _in_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """With params, and tokens of runs with equal params, that agree to SAME made equal: their geometric mean."""
    rows = rows.assign(params=_merged(rows["params"]))
    return rows.assign(tokens=rows.groupby("params")["tokens"].transform(_merged))


def _merged(values: pd.Series) -> pd.Series:
    known, first = {}, 0.0
    for value in np.unique(values):
        first = first if value <= first * (1 + SAME) else value
        known[value] = first
    logs = np.log(values)
    return np.exp(logs.groupby(values.map(known)).transform("mean"))


def _fit_group(name: str, rows: pd.DataFrame, target: str, over: tuple[str, ...]) -> GroupLaw:
    found, without = tuple(optima(rows, Window())), _without(rows)
    fitted = law(found, target, over)
    if fitted is None:
        return GroupLaw(name, found, without, None, pd.DataFrame(), _refusal(found, target, over))
    return GroupLaw(name, found, without, fitted, by_window(rows, WINDOWS, target, over), "")


def _without(rows: pd.DataFrame) -> int:
    there = [name for name in SETTINGS if name in rows]
    varied = rows.groupby(["params", "tokens"])[there].transform("nunique") > 1
    return int((varied & ~(rows[there] > 0)).any(axis=1).sum())


def _refusal(found: Sequence[HyperOptimum], target: str, over: tuple[str, ...]) -> str:
    had = sum(target in cell.values for cell in found)
    needed, variables = len(over) + 2, " and ".join(over)
    start = (
        f"a law of {target} in {variables} needs {needed} cells (runs of one params and tokens) with an optimum in it"
    )
    if not any(target in cell.best for cell in found):
        return f"{start}, and {target} does not vary in any of {len(found)}: give runs that differ in it alone."
    if had < needed:
        states = pd.Series([cell.status if target in cell.best else f"without several {target}" for cell in found])
        how = ", ".join(f"{n} {status}" for status, n in states.value_counts().items())
        return f"{start}; of {len(found)} there are {had} ({how}): tune more cells, or with settings further apart."
    return f"{start}, and the {had} there are do not differ in {variables} by themselves: add other sizes or tokens."
