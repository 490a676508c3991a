"""A law of the best learning rate or batch in a table of runs: the law, then how it hangs on the window."""

import math

from rich.console import Console
from rich.table import Table

from eutectic.analysis.hyper import Window
from eutectic.analysis.hyper_law import STEP_LAW
from eutectic.analysis.hyper_table import SAME, GroupLaw, HyperTable
from eutectic.display.table import columns_used, heading, rows_left_out
from eutectic.display.tables import table_of
from eutectic.display.words import LETTERS, digits, short


def show_hyper_table(console: Console, fitted: HyperTable) -> None:
    target = fitted.table.target
    powers = " ".join(f"{LETTERS[name]}^{letter}" for name, letter in zip(fitted.over, "ab", strict=False))
    console.print(f"{target}: best {target} = k {powers}", soft_wrap=True)
    for group in fitted.groups:
        if group.fitted is not None:
            console.print(_law_table(heading(fitted.table, group.group), group, target))
            console.print(_window_table(group, fitted.over))
    for line in _notes(fitted):
        console.print(line, soft_wrap=True)


def _law_table(name: str, group: GroupLaw, target: str) -> Table:
    law = group.fitted
    assert law is not None
    table = table_of("", name, left=("",))
    low, high = law.intervals["coefficient"]
    at = ", ".join(f"{short(value)} {name}" for name, value in law.centre.items())
    table.add_row(f"best {target} at {at}", f"{digits(law.coefficient)} [{digits(low)}, {digits(high)}]")
    for name, exponent in law.exponents.items():
        low, high = law.intervals[name]
        table.add_row(f"exponent of {LETTERS[name]}, {name}", _exponent(exponent, low, high))
    one = " = ".join(LETTERS[name] for name in law.exponents)
    table.add_row(f"k, at {one} = 1", digits(law.constant))
    table.add_row("cells with an optimum", f"{law.n} of {len(group.optima)}")
    table.add_row("runs used", f"{sum(c.n_used for c in group.optima)} of {sum(c.n_runs for c in group.optima)}")
    table.add_row("scatter of cells, in ln", f"{law.scatter:.3f}")
    costs = [cell.cost(target) for cell in group.optima if target in cell.values]
    table.add_row("nats lost by twice or half", f"{min(costs):.2g} to {max(costs):.2g}")
    return table


def _window_table(group: GroupLaw, over: tuple[str, ...]) -> Table:
    names = ("nats above the lowest", "factor from the best", "cells", *over)
    table = table_of(*names, left=(), title="exponents by the window around each optimum")
    for _, rows in group.windows.groupby(["excess", "factor"], sort=False):
        first = rows.iloc[0]
        columns = (rows[name].tolist() for name in ("exponent", "low", "high", "excluded"))
        marks = [_exponent(*ends) + ("*" if excluded else "") for *ends, excluded in zip(*columns, strict=True)]
        limits = ["any" if math.isinf(limit) else f"{limit:g}" for limit in (first["excess"], first["factor"])]
        table.add_row(*limits, f"{first['cells']} of {first['of']}", *marks)
    return table


def _exponent(value: float, low: float, high: float) -> str:
    return "no law" if math.isnan(value) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _notes(fitted: HyperTable) -> list[str]:
    table, window = fitted.table, Window()
    lines = [
        f"each cell (params and tokens, to {SAME:.0%}) by least squares: a quadratic in the logarithms of its "
        f"settings, through the runs within {window.excess:g} nats of its lowest; {len(table.used)} of "
        f"{len(table.used) + len(table.dropped)} rows; brackets: 95% by Student's t",
        columns_used(table),
        *rows_left_out(table),
    ]
    for group in fitted.groups:
        name = f"{group.group}: " if group.group else ""
        if group.without:
            lines.append(f"{name}{group.without} runs enter no quadratic: a setting of theirs is 0 or empty")
        lines += [name + line for line in ([group.refusal] if group.fitted is None else _beside(group))]
    return lines


def _beside(group: GroupLaw) -> list[str]:
    """The published exponents, and whether the intervals leave them out."""
    lines = []
    assert group.fitted is not None
    for name, rows in group.windows.groupby("variable", sort=False):
        low, high = group.fitted.intervals[str(name)]
        published = float(rows["published"].iloc[0])
        where = "inside" if low <= published <= high else "outside"
        lines.append(
            f"{STEP_LAW} has {LETTERS[str(name)]}^{published:g}, {where} this interval (* outside: "
            f"{rows['excluded'].sum()} of {rows['exponent'].notna().sum()} windows)"
        )
    return lines
