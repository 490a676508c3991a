"""What tuning found: the best settings of each cell, and their laws beside those published."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from eutectic.analysis.hyper import HyperOptimum
from eutectic.analysis.settings import Beyond
from eutectic.analysis.transfer import Transfer
from eutectic.analysis.tuned import Tuned, TunedLaw
from eutectic.display.tables import table_of
from eutectic.display.words import LETTERS, short

NAMES = {"lr": "learning rate", "batch": "batch, tokens"}
FURTHER = {"weight_decay": "weight decay", "warmup_fraction": "warm-up", "init_scale": "initial scale"}


def show_tuned(console: Console, tuned: Tuned, counts: Mapping[str, Mapping[str, int]] | None = None) -> None:
    """counts: of each study's trials, by state, where that has been asked."""
    if counts is not None:
        console.print(trials_table(counts))
    console.print(optima_table(tuned))
    console.print(laws_table(tuned))


def trials_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    states = {
        "complete": "done",
        "diverged": "diverged",
        "pruned": "pruned",
        "fail": "failed",
        "running": "unfinished",
    }
    table = table_of("study", *states.values(), left=("study",), title="trials")
    for study, count in counts.items():
        table.add_row(study, *(str(count.get(state, 0)) for state in states))
    return table


def optima_table(tuned: Tuned) -> Table:
    names = NAMES | {name: title for name, title in FURTHER.items() if any(name in o.best for o in tuned.optima)}
    table = table_of(
        "architecture",
        "params",
        "tokens",
        "runs used",
        "within",
        *names.values(),
        "loss",
        "twice",
        title="best settings",
        caption="minimum of a quadratic in the logarithms, through the runs within so many nats of the lowest, where "
        "0.05 decide nothing the fewest that do; *: by the curvature that the architecture's cells share; brackets: "
        "95%. Kept: no best value is decided. In parentheses, where there is no minimum to be had, the best run. "
        "Twice: nats lost by twice or half the best learning rate",
    )
    for cell in tuned.optima:
        used, within = f"{cell.n_used} of {cell.n_runs}", f"{cell.excess:.2f}" + "*" * cell.shared
        table.add_row(cell.group, short(cell.params), short(cell.tokens), used, within, *_settings(cell, names))
    return table


def _settings(cell: HyperOptimum, names: Iterable[str]) -> list[str]:
    if cell.loss is None:
        best = [f"({short(cell.best[name])})" if name in cell.best else "one tried" for name in names]
        return [*best, f"({cell.best_loss:.3f})", cell.status]
    shown = []
    for name in names:
        if name not in cell.values:
            shown.append(f"{short(cell.centre[name])} kept" if name in cell.centre else "one tried")
            continue
        low, high = cell.intervals[name]
        shown.append(f"{short(cell.values[name])} [{short(low)}, {short(high)}]")
    return [*shown, f"{cell.loss:.3f}", f"{cell.cost('lr'):.3f}" if "lr" in cell.values else ""]


def laws_table(tuned: Tuned) -> Table:
    left = ("architecture", "of", "law")
    table = table_of(
        *left,
        "value",
        "exponents",
        left=left,
        title="laws",
        caption="value at the geometric mean of the cells with an optimum; N, parameters, D, tokens: of one alone the "
        "exponent along the cells, where both grow together; brackets: 95%",
    )
    for found in tuned.laws:
        _add_law(table, found)
    return table


def _add_law(table: Table, found: TunedLaw) -> None:
    fitted = found.fitted
    if fitted is None:
        none = "none: three cells with an optimum are needed"
        table.add_row(found.arch, NAMES[found.target], none, "", "")
        return
    low, high = fitted.intervals["coefficient"]
    at = "\nand ".join(f"{short(fitted.centre[name])} {LETTERS[name]}" for name in found.over)
    intervals = {name: "[{:.2f}, {:.2f}]".format(*fitted.intervals[name]) for name in found.over}
    table.add_row(
        found.arch,
        NAMES[found.target],
        f"{fitted.n} cells, at {at}",
        f"{short(fitted.coefficient)} [{short(low)}, {short(high)}]",
        "\n".join(f"{_power(name, power)} {intervals[name]}" for name, power in fitted.exponents.items()),
    )
    for theirs in found.published:
        powers = " ".join(_power(name, power) for name, power in theirs.exponents.items())
        table.add_row("", "", theirs.source, short(theirs.value), powers)
    table.add_section()


def _power(name: str, exponent: float) -> str:
    return f"{LETTERS[name]}^{exponent:.2f}"


def transfer_table(rows: Sequence[Transfer], source: str) -> Table:
    """How the settings of a plan follow from a tuning."""
    table = table_of(
        "architecture",
        "setting",
        "from",
        "cells",
        "smallest run",
        "largest run",
        "twice",
        left=("architecture", "setting", "from"),
        title=f"settings by {source}",
        caption="where the smallest and largest run lie to the cells tuned, of two variables in the one that is "
        "further out; twice: nats lost by twice or half the best setting at the tuned cell nearest to the largest run",
    )
    for row in rows:
        ends = ["" if end is None else _outside(end) for end in (row.below, row.above)]
        law = "law of the tuning" if row.like == row.arch else f"law of {row.like}"
        origin = law if row.tuned else "the recipe: no law"
        cost = "" if row.twice is None else f"{row.twice:.3f}"
        table.add_row(row.arch, NAMES[row.target], origin, str(row.cells), *ends, cost)
    return table


def _outside(end: Beyond) -> str:
    if end.decades == 0:
        return "within"
    return f"{short(10 ** abs(end.decades))} times {'more' if end.decades > 0 else 'fewer'} {end.over}"
