"""The findings of a campaign as a page in Markdown."""

import math
from collections.abc import Iterable, Sequence

from eutectic.analysis.archs import FEWEST_SHARES
from eutectic.analysis.claims import Claim, Measure
from eutectic.analysis.compare import Estimate
from eutectic.analysis.conventions import Ranking
from eutectic.analysis.findings import Findings, Part
from eutectic.analysis.laws import CHINCHILLA
from eutectic.analysis.noise import Noise
from eutectic.analysis.report import Report
from eutectic.analysis.state import Held
from eutectic.analysis.statements import UNTESTABLE
from eutectic.display.words import compute, interval, short

ILLUSTRATED = {"ratio": "best_share", "ordering": "ordering", "heads": "heads", "robust": "off_size"}  # by claim


def markdown(name: str, found: Findings, figures: Sequence[str]) -> str:
    """figures: names of those that lie in figures/ as PNG."""
    whole = found.whole
    sections = [
        f"# What {name} finds",
        f"Generated from the parquet of its runs by `eutectic findings --name {name}`: {whole.runs} runs of "
        f"{whole.archs} architectures, {whole.seeds} seed(s), at {', '.join(map(compute, whole.budgets))} FLOPs. "
        "Brackets are 95% intervals. A claim is *supported* or *contradicted* where every interval that decides it "
        "leaves out zero on that side at each budget; else it is *undecided*, whatever the middle of an interval is.",
        _table(("claim", "verdict", "runs", "seeds"), [_verdict(claim) for claim in found.claims]),
        *(section for claim in found.claims for section in _claim(claim, figures)),
        *_noise(found.noises),
        *(_worth(found.report) + _held_out(found.report) if found.report else []),
        *_rankings(found.rankings, figures),
        *_states(found.held),
        *_runs(found),
        *(_refused(found.report) if found.report else []),
        "## What runs of this scale cannot say",
        "\n".join(f"- {line}" for line in UNTESTABLE),
    ]
    return "\n\n".join(sections) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _verdict(claim: Claim) -> tuple[str, ...]:
    return claim.statement, f"**{claim.verdict}**", str(claim.runs or ""), str(claim.seeds or "")


def _claim(claim: Claim, figures: Sequence[str]) -> list[str]:
    parts = [f"## {claim.statement}", f"*{claim.source}.* **{claim.verdict.capitalize()}.** {claim.finding}"]
    figure = ILLUSTRATED.get(claim.key)
    if figure in figures:
        parts.append(f"![{claim.key}](figures/{figure}.png)")
    return [*parts, *_measures(claim.measures), f"Limits: {claim.limits}"]


def _measures(measures: Sequence[Measure]) -> list[str]:
    """Those of budgets in a table with a column for each; the others in a list."""
    budgets = list(dict.fromkeys(one.of for one in measures if one.of.endswith(" FLOPs")))
    if not budgets:
        return []
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for one in measures:
        rows.setdefault((one.name, one.unit), {})[one.of] = _estimate(one.estimate)
    table = [(*row, *(cells.get(b, "") for b in budgets)) for row, cells in rows.items() if set(cells) & set(budgets)]
    others = [
        f"- {one.name}, {one.of}: {_estimate(one.estimate)} {one.unit}".strip()
        for one in measures
        if one.of not in budgets
    ]
    return [_table(("measured", "unit", *budgets), table), *(["\n".join(others)] if others else [])]


def _estimate(one: Estimate) -> str:
    return f"{_number(one.value)} {interval(one, math.inf, _number)}".strip()


def _number(value: float) -> str:
    """1.234 -> 1.234, 0.01234 -> 0.0123."""
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"


def _noise(noises: Sequence[Noise]) -> list[str]:
    if not noises:
        return ["## Noise", "No two runs differ in their seed alone, so that noise is not known from seeds."]
    rows = [
        (
            "all" if one.budget is None else compute(one.budget),
            _estimate(one.deviation),
            str(one.degrees),
            str(one.cells),
        )
        for one in noises
    ]
    return [
        "## Noise",
        "The standard deviation of a loss over seeds, which every difference above is to be held beside, pooled over "
        "the cells (architecture, size, budget) of two seeds and more.",
        _table(("budget (FLOPs)", "nats per token", "degrees of freedom", "cells"), rows),
    ]


def _worth(report: Report) -> list[str]:
    """Compute multipliers, at budgets that an architecture was trained at."""
    if not report.comparisons:
        return []
    trained = {(one.arch, one.budget) for one in report.optima}
    rows = [
        (one.arch, *(_estimate(m) if (one.arch, budget) in trained else "" for budget, m in own))
        for one in report.comparisons
        for own in (zip(report.budgets, one.multipliers, strict=True),)
    ]
    reference = report.comparisons[0].reference
    return [
        "## What compute is worth",
        f"The share of {reference}'s FLOPs with which an architecture reaches its compute-optimal loss, by the laws "
        "L(N, D): below 1 it is better.",
        _table(("architecture", *(f"{compute(budget)} FLOPs" for budget in report.budgets)), rows),
    ]


def _held_out(report: Report) -> list[str]:
    """Of each architecture, the law of all budgets but its largest, on that."""
    own = [h for h in report.audits.held if h.law == CHINCHILLA.name and not h.arch.endswith(" family")]
    last = {arch: max(h.held for h in own if h.arch == arch) for arch in dict.fromkeys(h.arch for h in own)}
    chosen = {h.arch: h for h in own if h.held == last[h.arch]}  # of these the last is of the most budgets
    title = "## Extrapolation, held out"
    if not chosen:
        return [title, "No architecture has the three budgets that this needs: two to fit and one to predict."]
    rows = [
        (
            h.arch,
            ", ".join(map(compute, h.trained)),
            compute(h.held),
            str(h.n or ""),
            *_errors(h.rms, h.bias),
            h.refusal,
        )
        for h in chosen.values()
    ]
    return [
        title,
        "Each architecture's law L(N, D), fitted without its largest budget, and how far the losses of the runs there "
        "are from what it says: ln(observed / predicted).",
        _table(("architecture", "fitted to", "held out", "runs", "rms", "mean", "refused"), rows),
    ]


def _errors(rms: float, bias: float) -> tuple[str, str]:
    return ("", "") if math.isnan(rms) else (f"{rms:.2%}", f"{bias:+.2%}")


def _rankings(rankings: Sequence[Ranking], figures: Sequence[str]) -> list[str]:
    if not rankings:
        return []
    rows = [
        (one.measure, compute(one.budget), "not tested", "", "", "", one.refusal)
        if one.refusal
        else (
            one.measure,
            compute(one.budget),
            one.winner,
            f"{one.wins:.0%}",
            one.runner_up,
            f"{one.lead:.3f}",
            f"{one.hybrids:.0%}",
        )
        for one in rankings
    ]
    return [
        "## Who wins by another count",
        f"{_changes(rankings)} Conventions count the same budget of FLOPs in other ways; the wall clock gives each "
        "architecture the time of attention's compute-optimal run, by ratios of throughputs as logged, with "
        "compilation, of runs that shared a GPU and slowed each other down: take it for what this code did then, not "
        "for what a GPU can do. An equal state limits a model's size by what decoding holds of a sequence. Wins: in "
        "which share of resamples of the laws, refitted together.",
        *(["![winners](figures/winners.png)"] if "winners" in figures else []),
        _table(("count", "budget (FLOPs)", "best", "wins", "next", "by nats", "a hybrid is best"), rows),
    ]


def _changes(rankings: Sequence[Ranking]) -> str:
    """At which budgets the winner is not that of the first count."""
    first = {one.budget: one for one in reversed(rankings) if one.measure == rankings[0].measure}
    others = [one for one in rankings if not one.refusal and one.winner != first[one.budget].winner]
    if not others:
        return f"No count changes which is best by {rankings[0].measure}."
    told = [f"{one.winner} at {compute(one.budget)} by {one.measure}" for one in others]
    return f"Another is best than by {rankings[0].measure} in {len(others)} of {len(rankings)} rows: {'; '.join(told)}."


def _states(held: Sequence[Held]) -> list[str]:
    if not held:
        return []
    rows = [
        (
            compute(one.budget),
            one.arch,
            f"{short(one.state.value)} {interval(one.state, math.inf, short)}",
            _estimate(one.loss),
            f"{one.unbeaten:.0%}",
        )
        for one in held
    ]
    return [
        "## State against loss",
        "At its compute-optimal size by its law: what decoding holds of a sequence as long as those trained on, the "
        "loss, and in which share of resamples no other architecture has less of both.",
        _table(("budget (FLOPs)", "architecture", "state (bytes)", "loss (nats per token)", "unbeaten"), rows),
    ]


def _runs(found: Findings) -> list[str]:
    parts = [*found.parts, found.whole] if len(found.parts) > 1 else [found.whole]
    rows = [
        (
            one.name,
            str(one.runs),
            str(one.archs),
            str(one.seeds),
            f"{one.flops:.3g}".replace("e+", "e"),
            f"{one.run_hours:.2f}",
            f"{one.hours_of_clock:.2f}",
            f"{one.flops / one.hours_of_clock:.3g}".replace("e+", "e"),
        )
        for one in parts
    ]
    header = ("part", "runs", "architectures", "seeds", "FLOPs", "hours of runs", "hours", "FLOPs an hour")
    return [
        "## Runs",
        f"On {', '.join(found.whole.devices)}. FLOPs are those realized, of runs that no fit uses as well. Hours are "
        "of the clock, in which any run was in its training loop: of one GPU, the GPU's, though runs shared it; where "
        "several trained at once there were as many times more. Starting before the first step is in none.",
        _table(header, rows),
        f"Left out of the fits: {_dropped(parts)}. Runs that failed have no row; `eutectic status` tells of them.",
    ]


def _dropped(parts: Sequence[Part]) -> str:
    told = [f"{n} of {one.name} ({reason})" for one in parts[:-1] or parts for reason, n in one.dropped.items()]
    return ", ".join(told) or "none"


def _refused(report: Report) -> list[str]:
    """Laws that there are not, of families but those too small to have one."""
    families = {
        f"shares of {f.name}": f.refusal for f in report.families if f.refusal and len(f.archs) >= FEWEST_SHARES
    }
    refusals = report.refusals | families
    if not refusals:
        return []
    return ["## Laws that these runs do not bear", "\n".join(f"- {name}: {why}" for name, why in refusals.items())]
