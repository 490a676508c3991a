"""The report of a sweep as tables."""

import math
from collections import Counter

from rich.console import Console
from rich.table import Table

from eutectic.analysis.compare import Estimate
from eutectic.analysis.frontier import Frontier
from eutectic.analysis.isoflop import IsoflopOptimum
from eutectic.analysis.ratio import HybridOptimum
from eutectic.analysis.report import Family, OtherCurve, Report
from eutectic.display.tables import table_of
from eutectic.display.words import capped, compute, interval, short

MANY = 10  # runs left out for one reason: more are counted, not listed
MOST_DISTANCES = 4


def show_report(console: Console, report: Report) -> None:
    console.print(optima_table(report))
    console.print(curves_table(report))
    console.print(laws_table(report))
    console.print(exponents_table(report))
    if report.comparisons:
        console.print(comparison_table(report))
    for family in report.families:
        if family.told:
            console.print(hybrid_table(family))
        if family.refused:
            console.print(f"{family.name}: {family.refused}", markup=False)
    if report.audits.distances:
        console.print(held_table(report))
    if not all(one.refusal for one in report.audits.left_out):
        console.print(left_out_table(report))
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
        caption=f"by {report.optima_by}. {report.n_runs} runs, {len(report.seeds)} seed(s), FLOPs by "
        f"{report.convention}; brackets and ±: 95%",
    )
    for optimum in sorted(report.optima, key=lambda o: o.budget):
        cells = [compute(optimum.budget), optimum.arch, f"{report.shares[optimum.arch]:.2f}"]
        if optimum.params is None or optimum.loss is None or optimum.loss_interval is None:
            cells += [optimum.status, "", f"({optimum.best_loss:.3f} at {short(optimum.best_params)})", ""]
        else:
            margin = optimum.loss_interval[1] - optimum.loss
            cells += [
                _size(optimum),
                short(optimum.tokens or 0.0),
                f"{optimum.loss:.3f} ± {margin:.3f}",
                f"{2.718281828459045**optimum.loss:.2f}",
            ]
        table.add_row(*cells)
    return table


def curves_table(report: Report) -> Table:
    """The best sizes by the parabola, by the cubic and by Akima's interpolation beside each other."""
    table = table_of(
        "budget",
        "architecture",
        "parabola",
        "cubic",
        "Akima",
        title="best size by three curves through the isoFLOP points",
        caption="and, last, its exponents of compute. !: outside the parabola's interval. Brackets: 95%; Akima's curve "
        "passes through every mean and has none",
    )
    first, *curves = report.other_curves
    if first.method != "parabola":  # which the optima are of
        first, curves = OtherCurve("parabola", report.optima, (), report.frontiers), list(report.other_curves)
    rows = zip(first.optima, *(zip(c.optima, c.outside, strict=True) for c in curves), strict=True)
    for parabola, *others in sorted(rows, key=lambda row: row[0].budget):
        cells = [_size(other) + " !" * outside for other, outside in others]
        table.add_row(compute(parabola.budget), parabola.arch, _size(parabola), *cells)
    table.add_section()
    for fronts in zip(first.frontiers, *(c.frontiers for c in curves), strict=True):
        table.add_row("exponent", fronts[0].arch, *map(_exponent, fronts))
    return table


def _size(optimum: IsoflopOptimum) -> str:
    if optimum.params is None:
        return optimum.status
    if optimum.params_interval is None:
        return short(optimum.params)
    low, high = optimum.params_interval
    return f"{short(optimum.params)} [{short(low)}, {short(high)}]"


def _exponent(front: Frontier) -> str:
    """Of the best size."""
    line = front.params
    if line is None:
        return "-"
    return f"{line.exponent:.2f}" + (f" [{line.interval[0]:.2f}, {line.interval[1]:.2f}]" if line.interval else "")


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
    """The three approaches beside each other, and what missing the best size costs."""
    table = table_of(
        "architecture",
        "N by law",
        "D by law",
        "N by isoFLOP",
        "",
        "N by envelope",
        "lost",
        title="exponents of compute for the best size",
        caption="by the law, with the best tokens; by isoFLOP optima, and whether the two agree on N at the largest "
        "budget; and by the envelope of training curves, which a decaying learning rate misleads. Brackets: 95%. Lost: "
        "nats at the largest budget by models four times too small and too large, by the law",
    )
    envelopes = {one.arch: one.frontier.params for one in report.envelopes}
    for front in report.frontiers:
        law, lowest = report.laws.get(front.arch), envelopes.get(front.arch)
        if law is None:
            theirs, verdict, lost = ["none", ""], "", ""
        else:
            theirs = [_bracketed(e) for e in law.exponents]
            verdict = law.agreement.verdict if law.agreement else ""
            lost = ", ".join(f"{e.value:.2f}" for e in law.missized)
        envelope = f"{lowest.exponent:.2f}" if lowest else "-"
        table.add_row(front.arch, *theirs, _exponent(front), verdict, envelope, lost)
    return table


def comparison_table(report: Report) -> Table:
    reference = report.comparisons[0].reference
    last = len(report.budgets) - 1
    shown = sorted({0, last // 2, last})
    table = table_of(
        "architecture",
        *(compute(report.budgets[k]) for k in shown),
        "crossing",
        title=f"FLOPs that reach the loss of {reference}, over its own",
        caption="by the laws, at each budget; brackets: 95%. In parentheses how often, over resamples, its loss is the "
        f"lowest of all. Crossing: the compute at which it and {reference} change places. 0 and ∞: not within four "
        "decades of the budgets",
    )
    for row in report.comparisons:
        cells = [f"{_bracketed(row.multipliers[k])} ({report.wins[row.arch][k]:.0%})" for k in shown]
        meets = row.crossover
        # on two lines, for the table to stay narrow
        where = f"{meets.value:.2g}\n{interval(meets, math.inf, '{:.2g}'.format)}".replace("e+", "e")
        table.add_row(row.arch, *cells, "none seen" if math.isnan(meets.value) else where)
    return table


def hybrid_table(family: Family) -> Table:
    called = any(cubic.share is not None for cubic in family.cubics)
    table = table_of(
        "budget",
        "from isoFLOP optima",
        *["by a cubic"] * called,
        "best trained",
        "loss",
        "gain",
        "by the law",
        left=(),
        title=f"best share of attention among {family.name}",
        caption="gain: nats of the best trained over the better of both ends",
    )
    by_law = {o.compute: o for o in family.law.optima} if family.law else {}
    for hybrid, cubic in zip(family.ratios, family.cubics, strict=True):
        shares = [_share(hybrid), _share(cubic)] if called else [_share(hybrid)]
        gain = "" if hybrid.gain is None else f"{hybrid.gain:.3f}"
        best = by_law.get(hybrid.budget)
        theirs = f"{_bracketed(best.share)} {best.verdict}" if best else ""
        table.add_row(compute(hybrid.budget), *shares, hybrid.best_arch, f"{hybrid.best_loss:.3f}", gain, theirs)
    if family.law:
        law, drift, how = family.law, family.law.drift, family.law.fit.certificate
        against = "no law without the share to test against" if math.isnan(law.p_none) else ""
        against = against or f"p = {law.p_none:.1g} against no dependence on the share"
        table.caption = (
            f"{table.caption}; law: {law.fit.law.name}, {against}; "
            f"the best share moves by {drift.value:+.2f} [{drift.low:+.2f}, {drift.high:+.2f}] a decade of compute. "
            f"{law.fit.loss_fn.text}, {law.fit.objective:.3g} over {law.fit.n} runs; relative gradient "
            f"{how.gradient:.0e}, {how.share_best:.0%} of starts in the best of {how.basins}, condition "
            f"{how.condition:.0e}"
        )
    return table


def _share(hybrid: HybridOptimum) -> str:
    if hybrid.share is None or hybrid.interval is None:
        return hybrid.verdict
    return f"{hybrid.share:.2f} [{hybrid.interval[0]:.2f}, {hybrid.interval[1]:.2f}]"


def held_table(report: Report) -> Table:
    """By law, at distances from the nearest to the farthest."""
    audits = report.audits
    every = sorted({d.decades for d in audits.distances})
    shown = [every[k] for k in sorted({k * (len(every) - 1) // (MOST_DISTANCES - 1) for k in range(MOST_DISTANCES)})]
    table = table_of(
        "law",
        *(f"{decades:.2f} above" for decades in shown),
        left=("law",),
        title="laws fitted to the smaller budgets, held to the larger",
        caption="by decades of compute above the largest fitted: rms of ln(observed / predicted) over the runs held "
        f"out, and in parentheses its mean; frontier-0 is held to isoFLOP optima. {audits.n_runs} runs audited",
    )
    cells = {(d.law, d.family, d.decades): f"{d.rms:.2%} ({d.bias:+.2%})" for d in audits.distances}
    for law, family in dict.fromkeys((d.law, d.family) for d in audits.distances):
        own = [cells.get((law, family, decades), "") for decades in shown]
        table.add_row(f"{law}, families" if family else law, *own)
    return table


def left_out_table(report: Report) -> Table:
    table = table_of(
        "family",
        "left out",
        "law chosen",
        "rms",
        "bias",
        "runs",
        left=("family", "law chosen"),
        title="each share of attention, by the law of the others",
        caption="rms and mean of ln(observed / predicted) over the runs left out; shares outside the others' are "
        "extrapolated to",
    )
    for one in report.audits.left_out:
        errors = ("", "") if one.refusal else (f"{one.rms:.2%}", f"{one.bias:+.2%}")
        table.add_row(one.family, f"{one.share:.2f}", one.law or "none", *errors, str(one.n))
    return table


def _bracketed(estimate: Estimate) -> str:
    """With how often it exists, where that is not in nearly all resamples and no open end says so."""
    if math.isnan(estimate.value):
        return "beyond"
    closed = not math.isinf(estimate.high) and estimate.low != 0
    often = f" in {estimate.share:.0%}" if closed and estimate.share < 0.95 else ""
    return f"{capped(estimate.value, math.inf, _two)} {interval(estimate, math.inf, _two)}{often}"


def _two(value: float) -> str:
    """1.234 -> 1.23, 123.4 -> 123."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
