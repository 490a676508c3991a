"""The report of a sweep as tables."""

import math
from collections import Counter

from rich.console import Console
from rich.table import Table

from eutectic.analysis.compare import Estimate
from eutectic.analysis.report import Family, Report
from eutectic.display.tables import table_of
from eutectic.display.words import compute, short

MANY = 10  # runs left out for one reason: more are counted, not listed


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
    counts = Counter(reason for *_, reason in report.dropped)
    for run_id, arch, budget, reason in report.dropped:
        if counts[reason] <= MANY:
            console.print(f"not used: {run_id} ({arch} at {compute(budget)}): {reason}", markup=False)
    for reason, count in counts.items():
        if count > MANY:
            console.print(f"not used: {count} runs: {reason}")


def optima_table(report: Report) -> Table:
    table = table_of(
        "budget",
        "architecture",
        "attention",
        "best params",
        "tokens",
        "loss",
        "perplexity",
        title="isoFLOP optima",
        caption=f"{report.n_runs} runs, {len(report.seeds)} seed(s), FLOPs by {report.convention}; brackets: 95%",
    )
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
    numbers = ("E", "A", "alpha", "B", "beta", "objective", "delta", "runs", "gradient", "starts", "condition")
    table = table_of(
        "architecture",
        *numbers,
        title="laws",
        caption="L(N,D) = E + A/N^alpha + B/D^beta by Huber loss of ln L (delta twice the median error), its sum over "
        "the runs, and its certificate: relative gradient, starts that ended in the best of how many basins, condition",
    )
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
    table = table_of(
        "architecture",
        "N by law",
        "D by law",
        "N by isoFLOP",
        "",
        "N by envelope",
        title="exponents of compute for the best size",
        caption="by the law, with the best tokens; by isoFLOP optima, and whether the two agree on N at the largest "
        "budget; and by the envelope of training curves, which a decaying learning rate misleads. Brackets: 95%",
    )
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
    last = len(report.budgets) - 1
    shown = sorted({0, last // 2, last})
    table = table_of(
        "architecture",
        *(compute(report.budgets[k]) for k in shown),
        "crossing",
        "lost",
        title=f"FLOPs that reach the loss of {reference}, over its own",
        caption="by the laws, at each budget; brackets: 95%. In parentheses how often, over resamples, its loss is the "
        f"lowest of all. Crossing: the compute at which it and {reference} change places. Lost: nats at the largest "
        "budget by models four times too small and too large",
    )
    for row in report.comparisons:
        cells = [f"{_bracketed(row.multipliers[k])} ({report.wins[row.arch][k]:.0%})" for k in shown]
        there = f"{compute(row.crossover.value)} in {row.crossover.share:.0%}"
        there = there if row.crossover.share >= 0.5 else "none seen"
        lost = ", ".join(f"{e.value:.2f}" for e in report.laws[row.arch].missized)
        table.add_row(row.arch, *cells, there, lost)
    return table


def hybrid_table(family: Family) -> Table:
    table = table_of(
        "budget",
        "from isoFLOP optima",
        "best trained",
        "loss",
        "gain over both ends",
        "by the law",
        left=(),
        title=f"best share of attention among {family.name}",
    )
    by_law = {o.compute: o for o in family.law.optima} if family.law else {}
    for hybrid in family.ratios:
        low, high = hybrid.interval or (0.0, 0.0)
        share = hybrid.verdict if hybrid.share is None else f"{hybrid.share:.2f} [{low:.2f}, {high:.2f}]"
        gain = "" if hybrid.gain is None else f"{hybrid.gain:.3f} nats"
        law = by_law.get(hybrid.budget)
        theirs = f"{_bracketed(law.share)} {law.verdict}" if law else ""
        table.add_row(compute(hybrid.budget), share, hybrid.best_arch, f"{hybrid.best_loss:.3f}", gain, theirs)
    if family.law:
        drift = family.law.drift
        table.caption = (
            f"law: {family.law.fit.law.name}, p = {family.law.p_none:.1g} against no dependence on the share; "
            f"the best share moves by {drift.value:+.2f} [{drift.low:+.2f}, {drift.high:+.2f}] a decade of compute"
        )
    return table


def _bracketed(estimate: Estimate) -> str:
    """With how often it exists, where that is not in nearly all resamples."""
    if math.isnan(estimate.value):
        return "beyond"
    often = f" in {estimate.share:.0%}" if estimate.share < 0.95 else ""
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]{often}"
