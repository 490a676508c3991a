"""How verdicts are put: claims, their measures by budget, and what could not be judged."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from eutectic.analysis.claims import Claim, Measure, Verdict
from eutectic.analysis.compare import Estimate
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.statements import STATEMENTS
from eutectic.analysis.wording import flops, listed, signed

NATS = "nats per token"


def against_zero(what: str, found: Mapping[float, Estimate]) -> str:
    """At which budgets an interval is on which side of zero."""
    groups: dict[str, list[str]] = {}
    for budget, one in found.items():
        where = "below zero" if one.high < 0 else "above zero" if one.low > 0 else "not told from zero"
        groups.setdefault(where, []).append(f"at {flops(budget)} ({signed(one)})")
    return f"{what} is {listed([f'{where} {listed(own)}' for where, own in groups.items()])}."


def by_budget(name: str, found: Mapping[float, Estimate], unit: str) -> list[Measure]:
    return [Measure(name, flops(budget), one, unit) for budget, one in found.items()]


def claim(
    e: Evidence, key: str, parts: Sequence[str], verdict: Verdict, finding: str, measures: Sequence[Measure]
) -> Claim:
    used = pd.concat([e.parts[part].used for part in parts])
    count, seeds = used["run_id"].nunique(), used["seed"].nunique()
    return Claim(
        **STATEMENTS[key], verdict=verdict, finding=finding, measures=tuple(measures), runs=int(count), seeds=int(seeds)
    )


def untested(key: str, why: str) -> Claim:
    return Claim(**STATEMENTS[key], verdict="not tested", finding=why, measures=(), runs=0, seeds=0)


def absent(e: Evidence, part: str, what: str = "runs") -> str:
    return f"The part {part} has no {what}" if part in e.parts else f"There is no part {part}, which would have {what}"


def unjudged(e: Evidence, part: str, judged: Iterable[float], why: str) -> str:
    """The part's budgets that a claim was not judged at, as a sentence to stand after others; empty for none."""
    left = [flops(one.budget) for one in e.minima[part] if one.budget not in judged]
    return f" Not judged at {listed(left)}: {why}." if left else ""
