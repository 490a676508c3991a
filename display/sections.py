"""What a campaign's findings have beside its claims: sections of a few sentences and a table each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eutectic.analysis.compare import Estimate
from eutectic.analysis.conventions import BY_RUNS, Ranking
from eutectic.analysis.findings import Settings
from eutectic.analysis.hyper_law import HyperLaw
from eutectic.analysis.laws import CHINCHILLA
from eutectic.analysis.noise import Noise, Pooled
from eutectic.analysis.report import Report
from eutectic.analysis.state import Held
from eutectic.analysis.wording import listed
from eutectic.analysis.worth import Worth
from eutectic.display.words import compute, interval, short

ILLUSTRATED = {"ratio": "best_share", "ordering": "ordering", "heads": "heads", "robust": "off_size"}  # by claim
MISSED = "law off by"


@dataclass(frozen=True)
class Section:
    """figure: name of one of the campaign's that shows the same; rows: none where there is nothing to tell but text."""

    title: str
    text: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    figure: str = ""


def noise(found: Sequence[Pooled], laws: Mapping[str, Noise]) -> list[Section]:
    if not found:
        return [Section("Noise", "No two runs differ in their seed alone, so that noise is not known from seeds.")]
    rows = [
        (
            one.part,
            compute(one.budget),
            bracketed(one.deviation),
            *(f"{laws[one.part].of(np.array(size), one.budget):.3g} at {short(size)}" for size in one.sizes),
            str(one.degrees),
            str(laws[one.part].degrees),
            str(one.cells),
        )
        for one in found
    ]
    text = (
        "The standard deviation of a loss over seeds, which every difference above is held beside: pooled over the "
        "cells (architecture, size, budget) of two seeds and more; and at the smallest and the largest model that had "
        "seeds by its law, a power of parameters over the root of compute. A part without seeds of its own, or with "
        "few, goes by the main part's. Architectures differ in it, for which the law has fewer degrees of freedom."
    )
    head = (
        "part",
        "budget (FLOPs)",
        "nats per token",
        "smallest",
        "largest",
        "degrees of freedom",
        "of the law",
        "cells",
    )
    return [Section("Noise", text, head, tuple(rows))]


def settings(found: Settings | None) -> list[Section]:
    """Laws of the learning rate and the batch, with what they are carried to."""
    if found is None:
        return []
    rows = []
    for law in found.tuned.laws:
        fitted = law.fitted
        powers = {name: _power(fitted, name) if fitted else "no law" for name in ("params", "tokens")}
        value = bracketed(Estimate(fitted.coefficient, *fitted.intervals["coefficient"])) if fitted else ""
        rows.append((law.arch, law.target, str(law.cells), value, *powers.values()))
    text = (
        "Learning rate and batch (tokens) of the architectures tuned, as powers of parameters and tokens through the "
        "best of each cell; all others go by one of these laws, which may suit some better than others. Where an "
        "exponent's interval is wide, settings are as good as the cells near by: the largest model of the tuning has "
        f"{short(found.largest_tuned)} parameters, that of the main part {short(found.largest)}."
    )
    head = ("architecture", "setting", "cells", "at the cells' mean", "power of parameters", "power of tokens")
    return [Section("What settings rest on", text, head, tuple(rows))]


def _power(law: HyperLaw, name: str) -> str:
    return bracketed(Estimate(law.exponents[name], *law.intervals[name])) if name in law.exponents else ""


def worth(found: Sequence[Worth], report: Report | None) -> list[Section]:
    """Compute multipliers by the lowest sizes of runs, and by the report's laws against the same reference."""
    laws = report.comparisons if report else ()
    if not found and not laws:
        return []
    reference = found[0].reference if found else laws[0].reference
    texts = [
        f"The share of {reference}'s FLOPs with which an architecture reaches the loss of {reference}'s best size at a "
        "budget: below 1 it is better. Blank: not trained there."
    ]
    columns: dict[str, dict[str, str]] = {}  # cells by architecture
    if found:
        columns |= _by_lowest(found)
        texts.append(
            "By the lowest mean loss of a size at each budget, in straight lines between budgets in logarithms, with "
            f"seeds' noise, which goes by its law where no seeds were trained; the noise of {reference}'s losses is in "
            "all of a column, so that two of its architectures may be told apart whose brackets overlap. *: the "
            "FLOPs that an architecture takes lie outside of its budgets, where the nearest line is carried on by at "
            "most its own length, and ∞ is farther; how it bends there is in no bracket."
        )
    if report and laws and laws[0].reference == reference:
        columns |= _by_laws(report)
        own = f"{reference}'s by {columns[MISSED][reference]}; " if reference in report.laws else ""
        texts.append(
            "By the laws L(N, D), fitted to runs of all sizes, also where the FLOPs lie outside of the budgets; the "
            f"last column is how far ln L of the runs is from the law ({own}root mean square). A law that is off by "
            "as much as best losses differ tells less than the lowest sizes."
        )
    archs = dict.fromkeys(arch for column in columns.values() for arch in column if arch != reference)
    rows = [(arch, *(column.get(arch, "") for column in columns.values())) for arch in archs]
    return [Section("What compute is worth", " ".join(texts), ("architecture", *columns), tuple(rows), "worth")]


def _by_lowest(found: Sequence[Worth]) -> dict[str, dict[str, str]]:
    return {
        f"{compute(budget)} FLOPs": {one.arch: _multiplier(one, budget) for one in found if budget in one.multipliers}
        for budget in sorted({budget for one in found for budget in one.multipliers})
    }


def _by_laws(report: Report) -> dict[str, dict[str, str]]:
    trained = {(one.arch, one.budget) for one in report.optima}
    columns = {
        f"{compute(budget)}, by laws": {
            one.arch: bracketed(one.multipliers[k]) for one in report.comparisons if (one.arch, budget) in trained
        }
        for k, budget in enumerate(report.budgets)
    }
    return columns | {MISSED: {arch: f"{law.candidate.fit.rms:.1%}" for arch, law in report.laws.items()}}


def _multiplier(one: Worth, budget: float) -> str:
    return bracketed(one.multipliers[budget]) + "*" * one.extrapolated(budget)


def held_out(report: Report) -> list[Section]:
    """Of each architecture, the law of all budgets but its largest, on that."""
    own = [h for h in report.audits.held if h.law == CHINCHILLA.name and not h.arch.endswith(" family")]
    last = {arch: max(h.held for h in own if h.arch == arch) for arch in dict.fromkeys(h.arch for h in own)}
    chosen = {h.arch: h for h in own if h.held == last[h.arch]}  # of these the last is of the most budgets
    title = "Extrapolation, held out"
    if not chosen:
        return [Section(title, "No architecture has the three budgets that this needs: two to fit and one to predict.")]
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
    text = (
        "Each architecture's law L(N, D), fitted without its largest budget, and how far the losses of the runs there "
        "are from what it says: ln(observed / predicted)."
    )
    head = ("architecture", "fitted to", "held out", "runs", "rms", "mean", "refused")
    return [Section(title, text, head, tuple(rows))]


def _errors(rms: float, bias: float) -> tuple[str, str]:
    return ("", "") if math.isnan(rms) else (f"{rms:.2%}", f"{bias:+.2%}")


def counts(rankings: Sequence[Ranking]) -> list[Section]:
    if not rankings:
        return []
    rows = [
        (one.measure, compute(one.budget), "not tested", "", "", "", one.refusal, "")
        if one.refusal
        else (
            one.measure,
            compute(one.budget),
            one.winner,
            f"{one.wins:.0%}",
            one.runner_up,
            f"{one.lead:.3f}",
            "" if math.isnan(one.hybrids) else f"{one.hybrids:.0%}",
            str(len(one.among)),
        )
        for one in rankings
    ]
    text = (
        f"{_changes(rankings)} {_compared(rankings)} "
        "Conventions count the same budget of FLOPs in other ways; the wall clock gives each "
        "architecture the time of attention's compute-optimal run, by ratios of throughputs as logged, with "
        "compilation, of runs that shared a GPU and slowed each other down: take it for what this code did then, not "
        "for what a GPU can do. An equal state limits a model's size by what decoding holds of a sequence. Wins: in "
        f"which share of resamples of the laws, refitted together. The rows '{BY_RUNS}' are no other count "
        "but check the laws: of the budget as runs were planned by it, each architecture's lowest mean loss of a size, "
        "also of those without a law, and draws of its noise."
    )
    head = ("count", "budget (FLOPs)", "best", "wins", "next", "by nats", "a hybrid is best", "of")
    return [Section("Who wins by another count", text, head, tuple(rows), "winners")]


def _compared(rankings: Sequence[Ranking]) -> str:
    """Of the first count, which others may leave some of out: who takes part, at which budgets."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for one in rankings:
        if one.measure == rankings[0].measure:
            groups.setdefault(one.among, []).append(compute(one.budget))
    told = "; ".join(f"at {listed(budgets)} {listed(archs)}" for archs, budgets in groups.items())
    return f"Compared are those that have runs at a budget and a law: {told}."


def _changes(rankings: Sequence[Ranking]) -> str:
    """At which budgets the winner is not that of the first count."""
    first = {one.budget: one for one in reversed(rankings) if one.measure == rankings[0].measure}
    counted = [one for one in rankings if one.measure != BY_RUNS]
    others = [one for one in counted if not one.refusal and one.winner != first[one.budget].winner]
    if not others:
        return f"No count changes which is best by {rankings[0].measure}."
    told = [f"{one.winner} at {compute(one.budget)} by {one.measure}" for one in others]
    return f"Another is best than by {rankings[0].measure} in {len(others)} of {len(counted)} rows: {'; '.join(told)}."


def states(held: Sequence[Held]) -> list[Section]:
    if not held:
        return []
    rows = [
        (
            compute(one.budget),
            one.arch,
            f"{short(one.state.value)} {interval(one.state, math.inf, short)}",
            bracketed(one.loss),
            f"{one.unbeaten:.0%}",
        )
        for one in held
    ]
    text = (
        "At its compute-optimal size by its law: what decoding holds of a sequence as long as those trained on, the "
        "loss, and in which share of resamples no other architecture has less of both."
    )
    head = ("budget (FLOPs)", "architecture", "state (bytes)", "loss (nats per token)", "unbeaten")
    return [Section("State against loss", text, head, tuple(rows))]


def bracketed(one: Estimate) -> str:
    """1.234 [1.12, 1.35]; 0.0123 [0.01, 0.02]."""
    return f"{_number(one.value)} {interval(one, math.inf, _number)}".strip()


def _number(value: float) -> str:
    """1.234 -> 1.234, 0.01234 -> 0.0123."""
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"
