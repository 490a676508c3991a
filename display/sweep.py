"""Plans and the progress of a sweep."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from eutectic.config import RunConfig
from eutectic.display.tables import table_of
from eutectic.display.words import compute, duration, short
from eutectic.sweeps.cost import Cost, wall_seconds, worker_seconds
from eutectic.sweeps.ledger import FINISHED

LONGEST_PLAN = 200  # runs that are listed one by one; --json lists all
QUIET_SECONDS = 20.0  # between lines where stderr is no terminal


@dataclass(frozen=True)
class Fleet:
    """So many workers at once, each with so many devices, and what an hour of a device costs."""

    device: str
    workers: int
    devices: int = 1
    price: float | None = None

    @property
    def unit(self) -> str:
        return {"cuda": "GPU", "cpu": "CPU"}[self.device]

    def seconds(self, costs: Collection[Cost], workers: int) -> float:
        """Of devices, all added up, where so many workers share these runs."""
        return self.devices * worker_seconds(costs, workers)

    def totals(self, costs: Collection[Cost]) -> dict[str, float]:
        """Of these runs: how many devices train them, in so many seconds; the hours of devices, and their cost where
        there is a price."""
        hours = self.seconds(costs, self.workers) / 3600 if costs else 0.0
        wall = wall_seconds(costs, self.workers) if costs else 0.0
        cost = {} if self.price is None else {"cost": self.price * hours}
        return {"devices": self.workers * self.devices, "wall_seconds": wall, "device_hours": hours, **cost}

    def look(self, rows: list[tuple[RunConfig, Cost]], what: str) -> dict[str, str]:
        """Title and totals of a table of runs, or `what` they are."""
        costs = [cost for _, cost in rows]
        totals = self.totals(costs)
        n, hours = totals["devices"], totals["device_hours"]
        total = f"{compute(sum(cost.flops for cost in costs))} FLOPs, about {duration(totals['wall_seconds'])}"
        total += f" on {n} {self.unit}{'s' * (n > 1)}, {hours:.2g} {self.unit} hours"
        if self.price is not None:
            total += f", {totals['cost']:.2f} at {self.price:g} an hour of a {self.unit}"
        return {"title": f"{len(rows)} {what} on {self.device}", "caption": total}


def plan_table(rows: list[tuple[RunConfig, Cost]], fleet: Fleet) -> Table:
    """A line per run, or of many runs per budget and architecture, then the totals."""
    return _line_per_run(rows, fleet) if len(rows) <= LONGEST_PLAN else _line_per_cell(rows, "runs", fleet)


def trials_table(rows: list[tuple[RunConfig, Cost]], fleet: Fleet) -> Table:
    """The same of a tuning's trials, each as its cell's run and the mean of what it may cost."""
    return _line_per_cell(rows, "trials", fleet)


def _line_per_run(rows: list[tuple[RunConfig, Cost]], fleet: Fleet) -> Table:
    names = ("budget", "architecture", "width", "params", "tokens", "steps", "batch", "lr", "memory", "time")
    table = table_of(*names, **fleet.look(rows, "runs"))
    for run, cost in rows:
        table.add_row(
            compute(run.budget),
            run.model.layout,
            str(run.model.d_model),
            short(cost.params),
            short(cost.tokens),
            str(run.steps),
            str(run.batch_size),
            f"{run.optim.lr:g}",
            f"{cost.memory / 1e9:.1f} GB",
            duration(cost.seconds),
        )
    return table


def _line_per_cell(rows: list[tuple[RunConfig, Cost]], what: str, fleet: Fleet) -> Table:
    """Of all runs, or `what` they are, together: FLOPs, sizes and tokens from the fewest to the most, the largest
    memory, what they take of devices, and what that costs where there is a price."""
    cells: dict[tuple[float, str], list[Cost]] = {}
    for run, cost in rows:
        cells.setdefault((run.budget, run.model.layout), []).append(cost)
    names = ["budget", "architecture", what, "FLOPs", "params", "tokens", "memory", f"{fleet.unit} time"]
    table = table_of(*names, *([] if fleet.price is None else ["cost"]), **fleet.look(rows, what))
    for (budget, arch), costs in cells.items():
        spans = ([cost.params for cost in costs], [cost.tokens for cost in costs])
        seconds = fleet.seconds(costs, 1)
        table.add_row(
            compute(budget),
            arch,
            str(len(costs)),
            compute(sum(cost.flops for cost in costs)),
            *(_span(min(span), max(span)) for span in spans),
            f"{max(cost.memory for cost in costs) / 1e9:.1f} GB",
            duration(seconds),
            *([] if fleet.price is None else [f"{fleet.price * seconds / 3600:.2f}"]),
        )
    return table


def _span(low: float, high: float) -> str:
    return short(low) if low == high else f"{short(low)} to {short(high)}"


class SweepProgress:
    """The sweep's bar with its ETA, weighted by expected time, and a bar for each run in flight."""

    def __init__(self, console: Console, seconds: dict[str, float], labels: dict[str, str]):
        self.console, self.seconds, self.labels = console, seconds, labels
        self.started, self.spoke = time.monotonic(), time.monotonic()
        self.at_start: float | None = None
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self.whole = self.bars.add_task("sweep", total=1.0, note="")
        self.tasks: dict[str, tuple[TaskID, float]] = {}

    def __enter__(self) -> "SweepProgress":
        if self.console.is_terminal:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def update(self, statuses: dict[str, str], flights: dict[str, tuple[int, int]]) -> None:
        """statuses of all runs, and (step, steps) of those in flight."""
        shares = {i: 1.0 if s in FINISHED else 0.0 for i, s in statuses.items()}
        shares |= {i: step / max(1, steps) for i, (step, steps) in flights.items()}
        done = sum(self.seconds[i] * share for i, share in shares.items()) / sum(self.seconds.values())
        self.at_start = done if self.at_start is None else self.at_start
        finished = sum(s in FINISHED for s in statuses.values())
        note = f"{finished}/{len(statuses)} runs, {self._eta(self.started, self.at_start, done)}"
        self.bars.update(self.whole, completed=done, note=note)
        for run_id in [i for i in self.tasks if i not in flights]:
            self.bars.remove_task(self.tasks.pop(run_id)[0])
        for run_id, (step, steps) in flights.items():
            if run_id not in self.tasks:
                self.tasks[run_id] = self.bars.add_task(self.labels[run_id], total=steps, note=""), step / max(1, steps)
            task, first = self.tasks[run_id]
            began = self.bars.tasks[self.bars.task_ids.index(task)].start_time or 0.0
            eta = self._eta(began, first, step / max(1, steps))
            self.bars.update(task, completed=step, note=f"step {step}/{steps}, {eta}")
        if not self.console.is_terminal and time.monotonic() - self.spoke > QUIET_SECONDS:
            self.spoke = time.monotonic()
            self.console.print(note)

    @staticmethod
    def _eta(since: float, before: float, now: float) -> str:
        """Time left at the pace since the start of watching."""
        if now - before < 0.005:
            return "ETA --"
        return f"ETA {duration((time.monotonic() - since) * (1 - now) / (now - before))}"
