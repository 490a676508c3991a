"""A law fitted to a table of runs: a column per group, and what it rests on beneath."""

import math
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.table import Table

from eutectic.analysis.compare import Estimate
from eutectic.analysis.optimum import Cost
from eutectic.analysis.profile import Profile
from eutectic.analysis.table import Rows
from eutectic.analysis.tablefit import Best, GroupFit, TableFit
from eutectic.display.words import compute, digits, short

GROUPS_ABREAST = 3
ROWS_SHOWN = 10
WIDE = 1e6  # ends of an interval this many times apart are no interval


def show_table_fit(console: Console, fitted: TableFit) -> None:
    """A column per group: parameters, the best size and what they rest on; beneath, the rows and columns used."""
    console.print(f"{fitted.table.law.name}: {fitted.table.law.formula}", soft_wrap=True)
    groups = [group for group in fitted.groups if group.fit is not None]
    for first in range(0, len(groups), GROUPS_ABREAST):
        console.print(_table_fit(fitted, groups[first : first + GROUPS_ABREAST]))
    for line in _table_notes(fitted):
        console.print(line, soft_wrap=True)


def _table_fit(fitted: TableFit, groups: list[GroupFit]) -> Table:
    table = Table()
    table.add_column("", no_wrap=True)
    for group in groups:
        table.add_column(heading(fitted.table, group.group), justify="right")

    def row(name: str, cells: Iterable[str]) -> None:
        table.add_row(name, *cells)

    for name in groups[0].parameters:
        row(name, (_estimate(group.parameters[name], digits) for group in groups))
        if any(group.profiles or group.unprofiled for group in groups):
            row("  profile", (_profile(group.profiles.get(name)) for group in groups))
    table.add_section()
    if best := [group.best for group in groups if group.best is not None]:

        def row_of_best(name: str, text: Callable[[Best], str]) -> None:
            row(name, ("-" if group.best is None else text(group.best) for group in groups))

        row_of_best("budget", lambda b: f"{compute(b.compute)} FLOPs")
        row_of_best("best params", lambda b: _estimate(b.params, short))
        row_of_best("best tokens", lambda b: _estimate(b.tokens, short))
        row_of_best("tokens / params", lambda b: _estimate(b.tokens_per_param, digits))
        if best[0].ratio is not None:
            row_of_best("best attention", lambda b: "" if b.ratio is None else _estimate(b.ratio, "{:.2f}".format))
        row_of_best("loss there", lambda b: _estimate(b.loss, digits))
        row_of_best("cost", lambda b: _cost(b.cost))
        table.add_section()
    fits = [group.fit for group in groups if group.fit is not None]
    certificates = [fit.certificate for fit in fits]
    row("points", (str(fit.n) for fit in fits))
    row("objective", (f"{fit.objective:.8g}" for fit in fits))
    row("relative gradient", (f"{c.gradient:.0e}" for c in certificates))
    row("starts in best", (f"{round(c.share_best * c.starts)} of {c.starts}" for c in certificates))
    row("distinct minima", (str(c.basins) for c in certificates))
    row("condition", (digits(c.condition) for c in certificates))
    if any(group.p_none is not None for group in groups):
        row("p, no dependence", ("-" if g.p_none is None else f"{g.p_none:.2g}" for g in groups))
    row("resamples kept", ("-" if g.converged is None else f"{g.converged:.1%}" for g in groups))
    return table


def _estimate(estimate: Estimate, text: Callable[[float], str]) -> str:
    return text(estimate.value) + (
        "" if math.isnan(estimate.low) else f" [{text(estimate.low)}, {text(estimate.high)}]"
    )


def _profile(profile: Profile | None) -> str:
    if profile is None:
        return "refused"
    low, high = ("open" if end is None else digits(end) for end in profile.interval)
    return f"[{low}, {high}]"


def _cost(cost: Cost) -> str:
    k0, k1, k2, k3 = cost.coefficients
    if cost.error < 1e-9 and abs(k1 - 1) < 1e-9:
        return f"{math.exp(k0):.3g} N D"
    share = f" e^({k2:.2g} r) N^({k3:.2g} r)" if k2 or k3 else ""
    return f"{math.exp(k0):.3g} N^{k1:.3f}{share} D ± {cost.error:.1%}"


def _table_notes(fitted: TableFit) -> list[str]:
    """What was minimized, over which rows; what was left out, and what not to trust."""
    table, how = fitted.table, fitted.settings
    lines = [f"{how.loss_fn.text}; {len(table.used)} of {len(table.used) + len(table.dropped)} rows"]
    if how.resamples:
        drawn = {"pairs": "rows", "wild": "the residuals' signs"}.get(how.kind) or f"rows by {table.sources['cluster']}"
        lines[0] += f"; brackets: 95% by {how.resamples} resamples of {drawn} ({how.kind} bootstrap), seed {how.seed}"
    if how.profiles:
        lines.append("profile: 95% by likelihood; open: on that side these runs set no end")
    lines += [columns_used(table), *rows_left_out(table)]
    for group in fitted.groups:
        name = f"{group.group}: " if group.group else ""
        refusals = [text for text in (group.refusal, group.unpriced) if text]
        lines += [name + line for line in (*refusals, *group.unprofiled.values(), *_doubts(group.best))]
    return lines


def heading(table: Rows, group: str) -> str:
    if "group" not in table.sources:
        return "all rows"
    return group or f"({table.sources['group']} empty)"


def columns_used(table: Rows) -> str:
    return "; ".join(f"{name} = {source}" for name, source in table.sources.items())


def rows_left_out(table: Rows) -> list[str]:
    """A line for each reason."""
    lines = []
    for reason, rows in table.dropped.groupby("reason", sort=False)["row"]:
        shown = ", ".join(str(row) for row in rows[:ROWS_SHOWN]) + (" ..." if len(rows) > ROWS_SHOWN else "")
        lines.append(f"{len(rows)} not used, {reason}: row {shown}")
    return lines


def _doubts(best: Best | None) -> list[str]:
    """Of an optimum."""
    if best is None:
        return []
    lines = []
    if best.beyond:
        lines.append(f"the best {' and '.join(best.beyond)} lie outside what these runs span: extrapolated")
    if any(not e.high < WIDE * e.low for e in (best.params, best.tokens) if not math.isnan(e.low)):
        lines.append("the interval of the best size has no end: some resamples would spend all compute on one of both")
    if best.ratio is not None and best.ratio.value in (0, 1):
        lines.append("the best attention is an end of its range, not an optimum within")
    return lines
