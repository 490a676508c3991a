"""What people see: tables of plans, statuses and optima, and the progress of a sweep. No numbers are made here."""

import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from eutectic.analysis.report import Report
from eutectic.config import RunConfig
from eutectic.sweeps.ledger import STATUSES, Ledger

if TYPE_CHECKING:  # it imports torch, which what only looks does without
    from eutectic.sweeps.cost import Cost

QUIET_SECONDS = 20.0  # between lines where stderr is no terminal


def plan_table(rows: list[tuple[RunConfig, "Cost"]], device: str, workers: int, price: float | None) -> Table:
    """A line per run, then the totals."""
    table = Table(title=f"{len(rows)} runs on {device}", caption=_total(rows, device, workers, price))
    for name in ("budget", "architecture", "width", "params", "tokens", "steps", "batch", "lr", "memory", "time"):
        table.add_column(name, justify="left" if name == "architecture" else "right", no_wrap=True)
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


def _total(rows: list[tuple[RunConfig, "Cost"]], device: str, workers: int, price: float | None) -> str:
    seconds = sum(cost.seconds for _, cost in rows)
    flops = sum(cost.flops for _, cost in rows)
    text = f"{compute(flops)} FLOPs, about {duration(seconds / workers)} with {workers} workers"
    hours = seconds / 3600
    if device == "cuda":
        text += f", {hours:.2g} worker hours"
    return text + (f", {price * hours:.2f} at {price:g} an hour of a worker" if price is not None else "")


def optima_table(report: Report) -> Table:
    table = Table(
        title="isoFLOP optima",
        caption=f"{report.n_runs} runs, {len(report.seeds)} seed(s), FLOPs by {report.convention}; brackets: 95%",
    )
    for name in ("budget", "architecture", "attention", "best params", "tokens", "loss", "perplexity"):
        table.add_column(name, justify="left" if name == "architecture" else "right", no_wrap=True)
    for optimum in sorted(report.optima, key=lambda o: o.budget):
        cells = [compute(optimum.budget), optimum.arch, f"{report.shares[optimum.arch]:.2f}"]
        if optimum.params is None or optimum.loss is None or optimum.loss_interval is None:
            cells += [optimum.status, "", f"({optimum.best_loss:.3f} at {short(optimum.best_params)})", ""]
        else:
            low, high = optimum.params_interval or (0.0, 0.0)
            margin = optimum.loss_interval[1] - optimum.loss
            cells += [
                f"{short(optimum.params)} [{short(low)}, {short(high)}]",
                short(optimum.tokens or 0.0),
                f"{optimum.loss:.3f} ± {margin:.3f}",
                f"{2.718281828459045**optimum.loss:.2f}",
            ]
        table.add_row(*cells)
    return table


def laws_table(report: Report) -> Table:
    table = Table(
        title="laws",
        caption="exponents of compute for the optimal loss, parameters and tokens; L(N,D) = E + A/N^alpha + B/D^beta",
    )
    for name in ("architecture", "loss ~ C^", "params ~ C^", "tokens ~ C^", "E", "A", "alpha", "B", "beta", "runs"):
        table.add_column(name, justify="left" if name == "architecture" else "right", no_wrap=True)
    for front in report.frontiers:
        law = report.laws[front.arch]
        cells = [f"{p.exponent:.3f}" if p else "-" for p in (front.loss, front.params, front.tokens)]
        if law is None:
            cells += ["-"] * 5 + [""]
        else:
            mark = "" if law.identified else " ?"
            cells += [f"{law.E:.2f}{mark}", *(f"{v:.3g}" for v in (law.A, law.alpha, law.B, law.beta)), str(law.n)]
        table.add_row(front.arch, *cells)
    if any(law is not None and not law.identified for law in report.laws.values()):
        table.caption = f"{table.caption}; ?: these runs do not determine every term"
    return table


def hybrid_table(report: Report) -> Table:
    table = Table(title="best share of attention")
    for name in ("budget", "verdict", "share", "best trained", "loss", "gain over both ends"):
        table.add_column(name, justify="right", no_wrap=True)
    for hybrid in report.hybrids:
        low, high = hybrid.interval or (0.0, 0.0)
        share = "" if hybrid.share is None else f"{hybrid.share:.2f} [{low:.2f}, {high:.2f}]"
        gain = "" if hybrid.gain is None else f"{hybrid.gain:.3f} nats"
        table.add_row(compute(hybrid.budget), hybrid.verdict, share, hybrid.best_arch, f"{hybrid.best_loss:.3f}", gain)
    return table


def show_report(console: Console, report: Report) -> None:
    for table in (optima_table(report), laws_table(report), hybrid_table(report)):
        console.print(table)
    for run_id, arch, budget, reason in report.dropped:
        console.print(f"not used: {run_id} ({arch} at {compute(budget)}): {reason}")


def show_status(console: Console, name: str, ledger: Ledger) -> None:
    """Counts by budget and architecture, then the runs in flight and what failed."""
    table = Table(title=name)
    for column in ("budget", "architecture", *STATUSES):
        table.add_column(column, justify="left" if column == "architecture" else "right", no_wrap=True)
    counts: dict[tuple[float, str], Counter[str]] = {}
    lines = []
    for run_id in ledger.run_ids():
        budget, arch = ledger.label(run_id)
        status = ledger.status(run_id)
        counts.setdefault((budget, arch), Counter())[status] += 1
        if status == "running" and (progress := ledger.progress(run_id)):
            lines.append(f"{run_id} {arch} at {compute(budget)}: step {progress['step']} of {progress['steps']}")
        if status == "failed":
            lines.append(f"{run_id} {arch} at {compute(budget)} failed: {ledger.failure(run_id)}")
    for (budget, arch), count in sorted(counts.items()):
        table.add_row(compute(budget), arch, *(str(count[s] or "") for s in STATUSES))
    console.print(table)
    for line in lines:
        console.print(line, markup=False)


class SweepProgress:
    """The sweep's bar with its ETA, weighted by expected time, and a bar for each run in flight."""

    def __init__(self, console: Console, seconds: dict[str, float], labels: dict[str, str]):
        self.console, self.seconds, self.labels = console, seconds, labels
        self.started, self.spoke = time.monotonic(), time.monotonic()
        self.at_start: float | None = None
        self.bars = Progress(
            TextColumn("{task.description}"),
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
        shares = {i: 1.0 if s in ("done", "diverged", "failed") else 0.0 for i, s in statuses.items()}
        shares |= {i: step / max(1, steps) for i, (step, steps) in flights.items()}
        done = sum(self.seconds[i] * share for i, share in shares.items()) / sum(self.seconds.values())
        self.at_start = done if self.at_start is None else self.at_start
        finished = sum(s in ("done", "diverged", "failed") for s in statuses.values())
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


def short(value: float) -> str:
    """1234567 -> 1.23M."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def compute(flops: float) -> str:
    return f"{flops:.3g}".replace("e+", "e")


def duration(seconds: float) -> str:
    """75 -> 1:15, 4000 -> 1:06:40."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
