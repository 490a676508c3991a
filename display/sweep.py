"""Plans and the progress of a sweep."""

import time

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


def plan_table(rows: list[tuple[RunConfig, Cost]], device: str, workers: int, price: float | None) -> Table:
    """A line per run, or of many runs per budget and architecture, then the totals."""
    look = {"title": f"{len(rows)} runs on {device}", "caption": _total(rows, device, workers, price)}
    return _line_per_run(rows, look) if len(rows) <= LONGEST_PLAN else _line_per_cell(rows, "runs", price, look)


def trials_table(rows: list[tuple[RunConfig, Cost]], device: str, workers: int, price: float | None) -> Table:
    """The same of a tuning's trials, each as its cell's run and the mean of what it may cost."""
    look = {"title": f"{len(rows)} trials on {device}", "caption": _total(rows, device, workers, price)}
    return _line_per_cell(rows, "trials", price, look)


def _line_per_run(rows: list[tuple[RunConfig, Cost]], look: dict[str, str]) -> Table:
    names = ("budget", "architecture", "width", "params", "tokens", "steps", "batch", "lr", "memory", "time")
    table = table_of(*names, **look)
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


def _line_per_cell(rows: list[tuple[RunConfig, Cost]], what: str, price: float | None, look: dict[str, str]) -> Table:
    """Of all runs, or `what` they are, together: FLOPs, sizes and tokens from the fewest to the most, the largest
    memory, what they take of a worker, and what that costs where there is a price."""
    cells: dict[tuple[float, str], list[Cost]] = {}
    for run, cost in rows:
        cells.setdefault((run.budget, run.model.layout), []).append(cost)
    names = ("budget", "architecture", what, "FLOPs", "params", "tokens", "memory", "time")
    table = table_of(*names, *([] if price is None else ["cost"]), **look)
    for (budget, arch), costs in cells.items():
        spans = ([cost.params for cost in costs], [cost.tokens for cost in costs])
        seconds = worker_seconds(costs, 1)
        table.add_row(
            compute(budget),
            arch,
            str(len(costs)),
            compute(sum(cost.flops for cost in costs)),
            *(_span(min(span), max(span)) for span in spans),
            f"{max(cost.memory for cost in costs) / 1e9:.1f} GB",
            duration(seconds),
            *([] if price is None else [f"{price * seconds / 3600:.2f}"]),
        )
    return table


def _span(low: float, high: float) -> str:
    return short(low) if low == high else f"{short(low)} to {short(high)}"


def _total(rows: list[tuple[RunConfig, Cost]], device: str, workers: int, price: float | None) -> str:
    costs = [cost for _, cost in rows]
    flops = sum(cost.flops for cost in costs)
    text = f"{compute(flops)} FLOPs, about {duration(wall_seconds(costs, workers))} with {workers} workers"
    hours = worker_seconds(costs, workers) / 3600
    if device == "cuda":
        text += f", {hours:.2g} worker hours"
    return text + (f", {price * hours:.2f} at {price:g} an hour of a worker" if price is not None else "")


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
