"""What a campaign's runs say of the claims that are published on hybrid models: each with a verdict and its numbers."""

from dataclasses import dataclass
from typing import Literal

from eutectic.analysis.compare import Estimate

Verdict = Literal["supported", "contradicted", "undecided", "not tested"]


@dataclass(frozen=True)
class Measure:
    """A number that bears on a claim. of: what it is of, such as `3e14 FLOPs`; unit: empty for shares and ratios."""

    name: str
    of: str
    estimate: Estimate
    unit: str = ""


@dataclass(frozen=True)
class Claim:
    """statement: as published, and source: by whom. finding: what was measured, a sentence or two with its numbers.
    limits: what these runs cannot say of it. runs, seeds: how many stand behind it."""

    key: str
    statement: str
    source: str
    verdict: Verdict
    finding: str
    limits: str
    measures: tuple[Measure, ...]
    runs: int
    seeds: int
