"""How a sweep stands: its runs by status, what they have cost, how long it will take, and what went wrong."""

from collections import Counter
from collections.abc import Sequence
from textwrap import shorten

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from eutectic.display.tables import table_of
from eutectic.display.words import compute, duration
from eutectic.sweeps.ledger import STATUSES, Ledger
from eutectic.sweeps.standing import Standing

ALWAYS_SHOWN = ("planned", "running", "done")  # all six with a name such as hyena*3+attn are wider than 80 columns
LONGEST_REASON = 200  # characters of a failure; its log has the rest


def show_status(console: Console, standing: Standing, price: float | None = None) -> None:
    """price: of a device's hour."""
    console.print(_table(standing))
    for line in (*_totals(standing, price), *_lines(standing)):
        console.print(line, markup=False, soft_wrap=True)


def status_group(standings: Sequence[Standing], price: float | None = None) -> Group:
    """The same of several sweeps, to be drawn again in its place."""
    parts = list[RenderableType]()
    for one in standings:
        parts += [_table(one), *map(Text, _totals(one, price)), *map(Text, _lines(one))]
    return Group(*parts)


def _table(standing: Standing) -> Table:
    """Counts by budget and architecture. Where a name is too long for the page, it goes on in a second line."""
    ledger = standing.ledger
    counts: dict[tuple[float, str], Counter[str]] = {}
    for run_id, status in standing.statuses.items():
        counts.setdefault(ledger.label(run_id), Counter())[status] += 1
    for study in standing.due:
        counts.setdefault((study.budget, study.arch), Counter())["planned"] += study.trials
    shown = [s for s in STATUSES if s in ALWAYS_SHOWN or any(count[s] for count in counts.values())]
    table = table_of("budget", "architecture", *shown, title=standing.name)
    table.columns[1].no_wrap, table.columns[1].overflow = False, "fold"
    for (budget, arch), count in sorted(counts.items()):
        table.add_row(compute(budget), arch, *(str(count[s] or "") for s in shown))
    return table


def _totals(standing: Standing, price: float | None) -> list[str]:
    """What has ended and who is at the rest, or is to come; then, where it is known, what has been spent."""
    pace = standing.pace
    parts = [f"{standing.ended} of {standing.total} runs ended"]
    if standing.ended < standing.total:
        parts.append("1 worker is at it" if pace.workers == 1 else f"{pace.workers or 'no'} workers are at it")
    if pace.eta is not None:
        parts.append(f"ETA {duration(pace.eta)}")
    lines = [", ".join(parts)]
    if standing.queue:
        lines.append(f"Slurm: {standing.queue}")
    if pace.device_seconds is None:
        return lines
    hours = pace.device_seconds / 3600
    cost = f" ({price * hours:.2f} at {price:g} an hour)" if price is not None else ""
    return [*lines, f"{hours:.2f} device hours so far{cost}"]


def _lines(standing: Standing) -> list[str]:
    """One for each run in flight, each that failed, was lost or damaged, and each job that ended early."""
    ledger, statuses = standing.ledger, standing.statuses
    lines = []
    for run_id, status in statuses.items():
        if status == "running" and (progress := ledger.progress(run_id)):
            lines.append(f"{_name(ledger, run_id)}: step {progress['step']} of {progress['steps']}")
        if status == "failed":
            log = ledger.log(run_id)
            reason = shorten(ledger.failure(run_id), LONGEST_REASON, placeholder=" ...")
            lines.append(f"{_name(ledger, run_id)} failed: {reason}{f' (log: {log})' if log else ''}")
    if lost := ledger.lost(run_id for run_id, status in statuses.items() if status == "planned"):
        lines.append(f"planned runs whose folder is gone: {len(lost)}; the command that planned them makes it again.")
    lines += [f"{path} was damaged and set aside; delete it when you have seen it." for path in ledger.damaged()]
    return lines + [
        f"job {job.job} ended early: {job.how} ({job.state}){f'; its log is {job.log}' if job.log else ''}"
        for job in standing.jobs
    ]


def _name(ledger: Ledger, run_id: str) -> str:
    budget, arch = ledger.label(run_id)
    return f"{run_id} {arch} at {compute(budget)}"
