"""How architectures do on synthetic tasks, and whether that orders them as scaling does, as tables."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.console import Console

from eutectic.analysis.probe import SETUP, means
from eutectic.analysis.rank import MEAN, Correlations
from eutectic.display.tables import table_of
from eutectic.display.words import compute

AT_ONCE = 4  # columns beside each other on a page of 120 columns
CONTROL = " (control)"

Row = Mapping[Hashable, Any]


def show_scores(console: Console, scores: pd.DataFrame) -> None:
    """Of analysis/probe.py's scores: for each setup, tables of a few tasks each, the mean of all before the first."""
    for (match, n_layers), rows in scores.groupby(SETUP):
        average = means(rows)
        cells: dict[str, dict[str, str]]
        cells = {row["arch"]: {MEAN: _score(row)} for row in average.table.to_dict("records")}
        for row in rows.sort_values("control", kind="stable").to_dict("records"):
            cells.setdefault(row["arch"] + CONTROL * row["control"], {})[row["label"]] = _score(row)
        chances: dict[str, float] = {MEAN: average.table["chance"].mean()} if average.tasks else {}
        chances |= {str(label): chance for label, chance in rows.groupby("label", sort=False)["chance"].first().items()}
        console.print(f"accuracy: {n_layers} layers, equal {match}", style="bold")
        for start in range(0, len(chances), AT_ONCE):
            own = list(chances)[start : start + AT_ONCE]
            headers = ("\n".join([*label.split(" "), f"chance {chances[label]:.3g}"]) for label in own)
            table = table_of("architecture", *headers)
            for name, by_label in cells.items():
                if by_label.keys() & set(own):
                    table.add_row(name, *(by_label.get(label, "") for label in own))
            console.print(table)
        said = (
            "Share right of test examples, its 95% interval over seeds, and of a guess that does not read the example"
        )
        control = " Control: answers drawn anew, so that nothing is to be learnt." if rows["control"].any() else ""
        seeds = " or ".join(str(n) for n in sorted(rows["seeds"].unique()))
        console.print(f"{said}; seeds: {seeds}. Mean: over tasks.{control}", soft_wrap=True)
        for label, archs in average.left_out.items():
            console.print(f"{label} is not in the mean, not tried by {', '.join(archs)}.", soft_wrap=True)


def _score(row: Row) -> str:
    """0.93 [0.88, 0.97], the interval within what an accuracy can be."""
    if math.isnan(row["low"]):
        return f"{row['accuracy']:.2f}"
    return f"{row['accuracy']:.2f} [{max(row['low'], 0):.2f}, {min(row['high'], 1):.2f}]"


def show_correlations(console: Console, found: Correlations, sweep: str, match: str, n_layers: int) -> None:
    """Of one setup's scores with a sweep's losses: a row for each budget and task, with what it says."""
    table = table_of(
        *("budget", "task", "tau", "rho"),
        left=("task",),
        title=f"rank correlation of accuracy with compute-optimal loss of {sweep}: {n_layers} layers, equal {match}",
        caption="tau-b of Kendall and rho of Spearman, positive where the better on the task has the lower loss; "
        "brackets: 95%, by a bootstrap of architectures. Mean: of "
        f"{', '.join(found.tasks) or 'none, as no task was tried by all'}",
    )
    table.add_column("that is to say")
    for _, rows in found.table.groupby("budget"):
        names = [compute(rows["budget"].iloc[0]), *[""] * len(rows)]
        for name, row in zip(names, rows.to_dict("records"), strict=False):
            table.add_row(name, row["task"], _correlation(row, "tau"), _correlation(row, "rho"), row["sentence"])
        table.add_section()
    console.print(table)
    for what, archs in (("compute-optimal loss", found.without_loss), ("scores", found.without_scores)):
        if archs:
            console.print(f"No {what}: {', '.join(archs)}.", soft_wrap=True)
    for arch, budget, status in found.not_optima:
        console.print(f"Left out at {compute(budget)} FLOPs: {arch} ({status}).", soft_wrap=True)


def _correlation(row: Row, name: str) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if math.isnan(value):
        return "none"
    return f"{value:.2f}" if math.isnan(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"
