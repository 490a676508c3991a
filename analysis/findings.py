"""All that a campaign comes to, as one value: verdicts, what they rest on, and what its runs have cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from eutectic.analysis.campaign import MAIN, TUNE, compared
from eutectic.analysis.claims import Claim
from eutectic.analysis.conventions import Ranking
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.hours import HOUR, busy_hours
from eutectic.analysis.load import Runs
from eutectic.analysis.noise import Noise, Pooled, pooled
from eutectic.analysis.report import Report, report
from eutectic.analysis.state import Held
from eutectic.analysis.tuned import Tuned, tuned
from eutectic.analysis.unfinished import Unfinished
from eutectic.analysis.verdicts import judge
from eutectic.analysis.worth import Worth
from eutectic.sweeps.left_out import Cell


@dataclass(frozen=True)
class Part:
    """A sweep of the campaign. rows: of all its runs that ended; runs: those that claims compare, whose seeds,
    architectures and budgets are told; dropped: the others, by reason; unfinished: what was planned and has no row, by
    kind and budget; left_out: what was not planned, for it would read the text too often. flops: realized, of all runs
    with a row. run_hours: of training, of every run by itself; hours_of_clock: in which any run was trained
    (hours.busy_hours). devices: their names."""

    name: str
    rows: int
    runs: int
    seeds: int
    archs: int
    budgets: tuple[float, ...]
    dropped: dict[str, int]
    unfinished: dict[str, dict[float, int]]
    left_out: tuple[Cell, ...]
    flops: float
    run_hours: float
    hours_of_clock: float
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """What learning rates and batches rest on. largest_tuned, largest: parameters of the largest model of the tuning's
    cells, and of the main part."""

    tuned: Tuned
    largest_tuned: float
    largest: float


@dataclass(frozen=True)
class Findings:
    """whole: of all parts together. settings: None without a tuning; report: of the main part, None where there is
    none."""

    parts: tuple[Part, ...]
    whole: Part
    claims: tuple[Claim, ...]
    pooled: tuple[Pooled, ...]
    noises: dict[str, Noise]
    rankings: tuple[Ranking, ...]
    worth: tuple[Worth, ...]
    held: tuple[Held, ...]
    settings: Settings | None
    report: Report | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, but for the report, which `eutectic fit` gives."""
        return asdict(replace(self, report=None))


def findings(
    evidence: Evidence,
    frames: Mapping[str, pd.DataFrame],
    missing: Mapping[str, Sequence[Unfinished]],
    left_out: Mapping[str, Sequence[Cell]],
) -> Findings:
    """frames: by part, the rows of all its runs, those that no fit uses included; missing: its runs without a row;
    left_out: cells that it did not plan."""
    main, own = evidence.parts.get(MAIN), compared(evidence.parts)
    every = {one.run_id: one for own in missing.values() for one in own}  # parts may share runs
    return Findings(
        tuple(_part(name, [own[name]], frame, missing[name], left_out[name]) for name, frame in frames.items()),
        _part(
            "all",
            list(own.values()),
            pd.concat(frames.values()).drop_duplicates("run_id"),
            list(every.values()),
            sorted({cell for own in left_out.values() for cell in own}),
        ),
        judge(evidence),
        pooled(evidence.parts),
        evidence.noises,
        evidence.rankings,
        evidence.worth,
        evidence.held,
        settings(evidence.parts),
        report(main, evidence.seed, evidence.optima(MAIN), evidence.optima_by) if main else None,
    )


def settings(parts: Mapping[str, Runs]) -> Settings | None:
    """Of a campaign's parts; None without a tuning or a main part."""
    if not {TUNE, MAIN} <= set(parts):
        return None
    found = tuned(parts[TUNE])
    return Settings(found, max(cell.params for cell in found.optima), float(parts[MAIN].used["params"].max()))


def _part(
    name: str,
    parts: Sequence[Runs],
    frame: pd.DataFrame,
    missing: Sequence[Unfinished],
    left_out: Sequence[Cell],
) -> Part:
    used, dropped = (pd.concat(tables).drop_duplicates("run_id") for tables in _tables(parts))
    dropped = dropped[~dropped["run_id"].isin(used["run_id"])]  # which one part may have and another not compare
    planned = Counter((one.kind, one.budget) for one in missing)
    return Part(
        name,
        rows=len(frame),
        runs=len(used),
        seeds=int(used["seed"].nunique()),
        archs=int(used["arch"].nunique()),
        budgets=tuple(sorted(float(budget) for budget in used["budget"].unique())),
        dropped={str(reason): int(count) for reason, count in dropped["reason"].value_counts().sort_index().items()},
        unfinished={
            kind: {budget: count for (other, budget), count in sorted(planned.items()) if other == kind}
            for kind in sorted({kind for kind, _ in planned})
        },
        left_out=tuple(left_out),
        flops=float(frame["flops"].sum()),
        run_hours=float(frame["seconds"].sum() / HOUR),
        hours_of_clock=busy_hours(frame),
        devices=tuple(sorted(str(device) for device in frame["device"].unique())),
    )


def _tables(parts: Sequence[Runs]) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
    return [runs.used for runs in parts], [runs.dropped for runs in parts]
