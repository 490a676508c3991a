"""How far back the convolutions of trained models remember, as tables."""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from eutectic.display.tables import table_of

Row = Mapping[str, Any]

COLUMNS = ("layer", "mixer", "filters", "time constant", "90%", "longer", "memory", "90%", "past")
MEANING = (
    "In tokens. time constant: -1 / ln |p| of the poles of all filters, median and 90%. longer: filters with more than "
    "a tenth of their energy beyond the trained length; only poles say what comes there. memory: lag by which 90% of a "
    "filter's energy within that length is seen, lag 0 not counted; median of the filters and 90%. past: share that "
    "lags from 1 on have of all energy; the rest stays with its token."
)


def show_filters(console: Console, rows: Iterable[Row]) -> None:
    """Of summaries by inference/filters.py, with the models that they are of: a table for each."""
    for _, own in itertools.groupby(rows, key=lambda row: row["model"]):
        console.print(_table(list(own)))
    console.print(MEANING)


def _table(rows: list[Row]) -> Table:
    first = rows[0]
    title = f"{first['arch']}, {first['model']}, trained on sequences of {first['seq_len']:,}"
    table = table_of(*COLUMNS, left=("mixer",), title=title)
    for row in rows:
        table.add_row(
            str(row["layer"]),
            row["mixer"].partition("(")[0],
            str(row["channels"]),
            *(_tokens(row[name]) for name in ("time_constant", "time_constant_90")),
            "-" if math.isnan(row["longer"]) else f"{row['longer']:.0%}",
            *(_tokens(row[name]) for name in ("memory", "memory_90")),
            f"{row['past']:.0%}",
        )
    return table


def _tokens(value: float) -> str:
    """7.31, 212, 1,024."""
    return "-" if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
