"""What people see: tables of plans, statuses and optima, and the progress of a sweep. No numbers are made here."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from eutectic.analysis import compare
from eutectic.analysis.optimum import Cost
from eutectic.analysis.predict import Answer, Duel, Rung
from eutectic.analysis.report import Family, Report
from eutectic.analysis.tablefit import Best, GroupFit, TableFit
from eutectic.config import RunConfig
from eutectic.sweeps.ledger import STATUSES, Ledger

if TYPE_CHECKING:  # it imports torch, which what only looks does without
    from eutectic.sweeps.cost import Cost as RunCost

QUIET_SECONDS = 20.0  # between lines where stderr is no terminal
GROUPS_ABREAST = 3
ROWS_SHOWN = 10
DECIDED = 0.95  # of resamples
Text = Callable[[float], str]


def plan_table(rows: list[tuple[RunConfig, "RunCost"]], device: str, workers: int, price: float | None) -> Table:
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


def _total(rows: list[tuple[RunConfig, "RunCost"]], device: str, workers: int, price: float | None) -> str:
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
        caption="L(N,D) = E + A/N^alpha + B/D^beta by Huber loss of ln L (delta twice the median error), its sum over "
        "the runs, and its certificate: relative gradient, starts that ended in the best of how many basins, condition",
    )
    numbers = ("E", "A", "alpha", "B", "beta", "objective", "delta", "runs", "gradient", "starts", "condition")
    for name in ("architecture", *numbers):
        table.add_column(name, justify="left" if name == "architecture" else "right", no_wrap=True)
    for arch, law in report.laws.items():
        fit, certificate = law.fit, law.fit.certificate
        table.add_row(
            arch,
            *(short(fit.values[name]) for name in ("E", "A", "alpha", "B", "beta")),
            f"{fit.objective:.3g}",
            f"{fit.loss_fn.delta:.2g}",
            str(fit.n),
            f"{certificate.gradient:.0e}",
            f"{certificate.share_best:.0%} of {certificate.basins}",
            f"{certificate.condition:.0e}",
        )
    return table


def exponents_table(report: Report) -> Table:
    """The three approaches beside each other."""
    table = Table(
        title="exponents of compute for the best size",
        caption="by the law, with the best tokens; by isoFLOP optima, and whether the two agree; and by the envelope "
        "of training curves, which a decaying learning rate misleads. Brackets: 95%",
    )
    for name in ("architecture", "N by law", "D by law", "N by isoFLOP", "", "N by envelope"):
        table.add_column(name, justify="left" if name == "architecture" else "right", no_wrap=True)
    envelopes = {front.arch: front.params for front in report.envelopes}
    for front in report.frontiers:
        law, lowest = report.laws.get(front.arch), envelopes.get(front.arch)
        if law is None:
            theirs, verdict = ["none", ""], ""
        else:
            theirs = [_bracketed(e) for e in law.exponents]
            verdict = law.agreement.verdict if law.agreement else ""
        line = front.params
        bracket = f" [{line.interval[0]:.2f}, {line.interval[1]:.2f}]" if line and line.interval else ""
        isoflop = f"{line.exponent:.2f}{bracket}" if line else "-"
        table.add_row(front.arch, *theirs, isoflop, verdict, f"{lowest.exponent:.2f}" if lowest else "-")
    return table


def comparison_table(report: Report) -> Table:
    reference = report.comparisons[0].reference
    table = Table(
        title=f"FLOPs that reach the loss of {reference}, over its own",
        caption="by the laws, at each budget; brackets: 95%. In parentheses how often, over resamples, its loss is the "
        f"lowest of all. Crossing: the compute at which it and {reference} change places. Lost: nats at the largest "
        "budget by models four times too small and too large",
    )
    table.add_column("architecture", no_wrap=True)
    last = len(report.budgets) - 1
    shown = sorted({0, last // 2, last})
    for k in shown:
        table.add_column(compute(report.budgets[k]), justify="right", no_wrap=True)
    table.add_column("crossing", justify="right", no_wrap=True)
    table.add_column("lost", justify="right", no_wrap=True)
    for row in report.comparisons:
        cells = [f"{_bracketed(row.multipliers[k])} ({report.wins[row.arch][k]:.0%})" for k in shown]
        there = compute(row.crossover.value) if row.crossover.share >= 0.5 else "none seen"
        lost = ", ".join(f"{e.value:.2f}" for e in report.laws[row.arch].missized)
        table.add_row(row.arch, *cells, there, lost)
    return table


def _bracketed(estimate: compare.Estimate) -> str:
    return "beyond" if math.isnan(estimate.value) else f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def hybrid_table(family: Family) -> Table:
    table = Table(title=f"best share of attention among {family.name}")
    for name in ("budget", "from isoFLOP optima", "best trained", "loss", "gain over both ends", "by the law"):
        table.add_column(name, justify="right", no_wrap=True)
    by_law = {o.compute: o for o in family.law.optima} if family.law else {}
    for hybrid in family.ratios:
        low, high = hybrid.interval or (0.0, 0.0)
        share = hybrid.verdict if hybrid.share is None else f"{hybrid.share:.2f} [{low:.2f}, {high:.2f}]"
        gain = "" if hybrid.gain is None else f"{hybrid.gain:.3f} nats"
        law = by_law.get(hybrid.budget)
        theirs = f"{_bracketed(law.share)} {law.verdict}" if law else ""
        table.add_row(compute(hybrid.budget), share, hybrid.best_arch, f"{hybrid.best_loss:.3f}", gain, theirs)
    if family.law:
        drift, name = family.law.drift, family.law.fit.law.name
        test = next(step.p_none for step in family.law.steps if step.law == name)
        table.caption = (
            f"law: {name}, p = {test:.1g} against no dependence on the share; "
            f"the best share moves by {drift.value:+.2f} [{drift.low:+.2f}, {drift.high:+.2f}] a decade of compute"
        )
    return table


def show_report(console: Console, report: Report) -> None:
    console.print(optima_table(report))
    console.print(laws_table(report))
    console.print(exponents_table(report))
    if report.comparisons:
        console.print(comparison_table(report))
    for family in report.families:
        console.print(hybrid_table(family))
        if family.refusal:
            console.print(f"{family.name}: {family.refusal}", markup=False)
    for arch, refusal in report.refusals.items():
        console.print(f"{arch}: {refusal}", markup=False)
    for run_id, arch, budget, reason in report.dropped:
        console.print(f"not used: {run_id} ({arch} at {compute(budget)}): {reason}")


def show_table_fit(console: Console, fitted: TableFit) -> None:
    """A column per group: parameters, the best size and what they rest on; beneath, the rows and columns used."""
    console.print(f"{fitted.table.law.name}: {fitted.table.law.formula}", soft_wrap=True)
    groups = [group for group in fitted.groups if group.fit is not None]
    for first in range(0, len(groups), GROUPS_ABREAST):
        console.print(_table_fit(groups[first : first + GROUPS_ABREAST]))
    for line in _table_notes(fitted):
        console.print(line, markup=False, soft_wrap=True)


def _table_fit(groups: list[GroupFit]) -> Table:
    table = Table()
    table.add_column("", no_wrap=True)
    for group in groups:
        table.add_column(group.group or "all rows", justify="right")

    def row(name: str, cells: Iterable[str]) -> None:
        table.add_row(name, *cells)

    for name in groups[0].parameters:
        row(name, (_estimate(group.parameters[name], digits) for group in groups))
    table.add_section()
    if best := [group.best for group in groups if group.best is not None]:
        row("budget", (f"{compute(b.compute)} FLOPs" for b in best))
        row("best params", (_estimate(b.params, short) for b in best))
        row("best tokens", (_estimate(b.tokens, short) for b in best))
        row("tokens / params", (_estimate(b.tokens_per_param, digits) for b in best))
        if best[0].ratio is not None:
            row("best attention", (_estimate(b.ratio, "{:.2f}".format) for b in best if b.ratio is not None))
        row("loss there", (_estimate(b.loss, digits) for b in best))
        row("cost", (_cost(b.cost) for b in best))
        table.add_section()
    fits = [group.fit for group in groups if group.fit is not None]
    certificates = [fit.certificate for fit in fits]
    row("points", (str(fit.n) for fit in fits))
    row("objective", (f"{fit.objective:.8g}" for fit in fits))
    row("relative gradient", (f"{c.gradient:.0e}" for c in certificates))
    row("starts in best", (f"{round(c.share_best * c.starts)} of {c.starts}" for c in certificates))
    row("distinct minima", (str(c.basins) for c in certificates))
    row("condition", (digits(c.condition) for c in certificates))
    row("resamples kept", ("-" if g.converged is None else f"{g.converged:.1%}" for g in groups))
    return table


def _estimate(estimate: compare.Estimate, text: Callable[[float], str]) -> str:
    return text(estimate.value) + (
        "" if math.isnan(estimate.low) else f" [{text(estimate.low)}, {text(estimate.high)}]"
    )


def _cost(cost: Cost) -> str:
    k0, k1, k2, k3 = cost.coefficients
    if cost.error < 1e-9 and abs(k1 - 1) < 1e-9:
        return f"{math.exp(k0):.3g} N D"
    share = f" e^({k2:.2g} r) N^({k3:.2g} r)" if k2 or k3 else ""
    return f"{math.exp(k0):.3g} N^{k1:.3f}{share} D ± {cost.error:.1%}"


def _table_notes(fitted: TableFit) -> list[str]:
    """What was minimized, over which rows; what was left out, and what not to trust."""
    table = fitted.table
    lines = [f"{fitted.loss_fn.text}; {len(table.used)} of {len(table.used) + len(table.dropped)} rows"]
    if fitted.resamples:
        lines[0] += f"; brackets: 95% by {fitted.resamples} resamples of rows (pairs bootstrap), seed {fitted.seed}"
    lines.append("; ".join(f"{name} = {source}" for name, source in table.sources.items()))
    for reason, rows in table.dropped.groupby("reason", sort=False)["row"]:
        shown = ", ".join(str(row) for row in rows[:ROWS_SHOWN]) + (" ..." if len(rows) > ROWS_SHOWN else "")
        lines.append(f"{len(rows)} not used, {reason}: row {shown}")
    for group in fitted.groups:
        name = f"{group.group}: " if group.group else ""
        lines += [name + line for line in ([group.refusal] if group.refusal else []) + _doubts(group.best)]
    return lines


def _doubts(best: Best | None) -> list[str]:
    """Of an optimum."""
    if best is None:
        return []
    lines = []
    if best.beyond:
        lines.append(f"the best {' and '.join(best.beyond)} lie outside what these runs span: extrapolated")
    if min(best.params.low, best.tokens.low) < 1:
        lines.append("the interval of the best size has no end: some resamples would spend all compute on one of both")
    if best.ratio is not None and best.ratio.value in (0, 1):
        lines.append("the best attention is an end of its range, not an optimum within")
    return lines


def show_answer(console: Console, answer: Answer, source: str) -> None:
    """What to train, what else there was, and how far to trust it. source: where the compute is from, or empty."""
    console.print(_answer_table(answer))
    console.print(_losses_table(answer))
    if answer.duel:
        console.print(_duel_table(answer.duel, answer.compute))
    for line in [f"{compute(answer.compute)} FLOPs are {source}."] * bool(source) + _answer_notes(answer):
        console.print(line, markup=False)


def _answer_table(answer: Answer) -> Table:
    table = Table(title=f"with {compute(answer.compute)} FLOPs: train {answer.arch}", title_justify="left")
    for name in ("", "answer", "95% interval", "beyond the runs"):
        table.add_column(name, justify="right" if name == "answer" else "left", no_wrap=True)
    reach, ends = answer.reach, dict.fromkeys(_shape(rung) for rung in answer.rungs[1:])
    off = "" if answer.rungs[0].where == "ladder" else f"{answer.rungs[0].where} the ladder"

    def row(name: str, estimate: compare.Estimate, most: float, decades: float, text: Text = short) -> None:
        table.add_row(name, _capped(estimate.value, most, text), _range(estimate, most, text), _away(decades))

    table.add_row("share of attention", f"{answer.attn_share:.2f}", "", "")
    row("parameters", answer.params, 1e12, reach.params)
    row("training tokens", answer.tokens, 1e15, reach.tokens)
    table.add_row("layers x width", _shape(answer.rungs[0]), " to ".join(ends), off)
    row("peak learning rate", answer.lr, 1.0, reach.params, "{:.2g}".format)
    row("tokens a batch", answer.batch, 1e12, reach.tokens)
    row("loss, nats a token", answer.loss, 100.0, reach.compute, "{:.3f}".format)
    row("perplexity", answer.perplexity, 1e6, reach.compute)
    return table


def _losses_table(answer: Answer) -> Table:
    table = Table(title=f"each at its best size with {compute(answer.compute)} FLOPs", title_justify="left")
    for name in ("architecture", "loss", "95% interval", "lowest in"):
        table.add_column(name, justify="left" if name == "architecture" else "right", no_wrap=True)
    for arch, loss in answer.losses.items():
        cells = _capped(loss.value, 100.0, "{:.3f}".format), _range(loss, 100.0, "{:.3f}".format)
        table.add_row(arch, *cells, f"{answer.wins[arch]:.0%} of resamples")
    return table


def _duel_table(duel: Duel, at: float) -> Table:
    table = Table(title=f"{duel.a} against {duel.b} with {compute(at)} FLOPs", title_justify="left")
    for name in ("", duel.a, duel.b):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)

    def cell(estimate: compare.Estimate, text: Text = "{:.3f}".format) -> str:
        return f"{_capped(estimate.value, 1e3, text)} {_range(estimate, 1e3, text)}".rstrip()

    worth = "does not" if math.isnan(duel.multiplier.value) else cell(duel.multiplier, "{:.2g}".format)
    table.add_row("loss at its best size", *map(cell, duel.losses))
    table.add_row("the lower in", f"{duel.wins:.0%} of resamples", f"{1 - duel.wins:.0%}")
    table.add_row(f"FLOPs to reach the loss of {duel.b}, over its own", worth, "1")
    table.add_row("nats lost when four times too small", *(cell(small) for small, _ in duel.missized))
    table.add_row("nats lost when four times too large", *(cell(large) for _, large in duel.missized))
    meets = duel.crossover
    where = "nowhere seen" if math.isnan(meets.value) else f"{compute(meets.value)} {_range(meets, 1e30, compute)}"
    table.add_row("they change places at, FLOPs", where, f"seen in {meets.share:.0%} of resamples")
    return table


def _answer_notes(answer: Answer) -> list[str]:
    lines, reach, runner_up = [], answer.reach, list(answer.losses)[1:2]
    win = answer.wins[answer.arch]
    for other in runner_up:
        verdict = f"{answer.arch} is lowest in {win:.0%} of resamples; next is {other}, in {answer.wins[other]:.0%}."
        lines.append(verdict if win >= DECIDED else f"Not decided: {verdict}")
    for share in answer.shares:
        law = f"the {share.family} family's law of loss against the share of attention"
        if share.optimum is None:
            lines.append(f"No best share by {law}: {share.refusal or 'the runs show no dependence on it'}.")
            continue
        best, verdict = share.optimum.share, share.optimum.verdict
        where = f"{_capped(best.value, 1.0, '{:.2f}'.format)} {_range(best, 1.0, '{:.2f}'.format)} ({verdict})"
        apart = "" if best.low <= answer.attn_share <= best.high else ", at odds with the choice above"
        lines.append(f"By {law} ({share.law}, p = {share.p_none:.1g} against none) the best is {where}{apart}.")
    side = "beyond" if reach.compute > 0 else "below"
    place = f"{abs(reach.compute):.1f} decades {side}" if reach.compute else "within"
    trained = f"the budgets trained, {compute(answer.budgets[0])} to {compute(answer.budgets[-1])}"
    lines.append(f"{compute(answer.compute)} FLOPs are {place} {trained}. {_tried(answer)}")
    if any(rung.where == "beyond" for rung in answer.rungs):
        lines.append("Shapes beyond the recipes' ladder keep its last rung's width over depth.")
    lines.append(
        "Learning rate and batch continue what these runs were trained with. Intervals take the law for true, and know "
        f"nothing of where it ends. {answer.n_runs} runs, FLOPs by {answer.convention}, tokens of {answer.tokenizer}."
    )
    return lines + [f"{arch} was left out: {refusal}" for arch, refusal in answer.refusals.items()]


def _tried(answer: Answer) -> str:
    reach = answer.reach
    if not reach.n:
        return "No budget above two others could be held out, so nothing tells how wrong the law goes there."
    further = ", and this asks for more" if abs(reach.compute) > 1.5 * reach.audited else ""
    better = f" ({reach.best_law} came closer)" if reach.best_law != "chinchilla" else ""
    return (
        f"Held-out budgets {reach.audited:.1f} decades up were off by {reach.rms:.1%} of their loss (rms of {reach.n} "
        f"runs){better}{further}."
    )


def _capped(value: float, most: float, text: Text) -> str:
    if math.isnan(value):
        return "unknown"
    return f">{text(most)}" if value > most else text(value)


def _range(estimate: compare.Estimate, most: float, text: Text) -> str:
    if math.isnan(estimate.low):
        return "" if math.isnan(estimate.value) else "[unknown]"
    return f"[{_capped(estimate.low, most, text)}, {_capped(estimate.high, most, text)}]"


def _away(decades: float) -> str:
    if decades == 0:
        return "within"
    times = short(10 ** abs(decades))
    return f"{times} times the largest" if decades > 0 else f"1/{times} of the smallest"


def _shape(rung: Rung) -> str:
    return f"{rung.n_layers} x {rung.d_model}" if rung.n_layers else "unknown"


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


def digits(value: float) -> str:
    """12845.6 -> 1.285e4."""
    return f"{value:.4g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def compute(flops: float) -> str:
    return f"{flops:.3g}".replace("e+", "e")


def duration(seconds: float) -> str:
    """75 -> 1:15, 4000 -> 1:06:40."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
