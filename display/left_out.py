"""What of a campaign is in no comparison, as tables of its page: by reason, and what could not be fitted."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from textwrap import shorten

from eutectic.analysis.campaign import compared
from eutectic.analysis.page import Part
from eutectic.analysis.unfinished import FAILED
from eutectic.display.words import compute, counted

STATUSES = {"diverged": "diverged", "pruned": "given up for what others of its study came to"}
LONGEST_ERROR = 200  # characters
LISTED = 100  # rows for one reason: of more, the first are listed
Row = tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """What one reason is of. of: `run`, or `cell` where none was planned; parts: how many of which, and they may share
    some; rows: of all, or of the first."""

    reason: str
    of: str
    count: int
    parts: tuple[tuple[str, int], ...]
    head: Row
    rows: tuple[Row, ...]


def left_out(parts: Mapping[str, Part]) -> list[LeftOut]:
    """By reason: first those without a row, then what was not even planned, then the most frequent."""
    untrained = {one.run_id for part in parts.values() for one in part.unfinished if one.status != FAILED}
    grouped = _by_reason(_untrained(parts), ("part", "architecture", "budget", "runs"))
    return [
        *_by_reason(_failed(parts), ("run", "part", "architecture", "budget", "error")),
        *(replace(one, count=len(untrained)) for one in grouped),
        *_by_reason(_unplanned(parts), ("cell", "part", "architecture", "budget", "epochs"), "cell"),
        *_by_reason(_dropped(parts), ("run", "part", "architecture", "budget", "loss")),
    ]


def _by_reason(found: Iterable[tuple[str, Row]], head: Row, of: str = "run") -> list[LeftOut]:
    rows: dict[str, list[Row]] = {}
    counts: dict[str, Counter[str]] = {}
    for reason, row in found:
        rows.setdefault(reason, []).append(row)
        own = counts.setdefault(reason, Counter())
        own[row[head.index("part")]] += int(row[-1]) if head[-1] == "runs" else 1
    told = [
        LeftOut(reason, of, own.total(), tuple(own.items()), head, tuple(rows[reason][:LISTED]))
        for reason, own in counts.items()
    ]
    return sorted(told, key=lambda one: -one.count)


def _failed(parts: Mapping[str, Part]) -> Iterable[tuple[str, Row]]:
    for name, part in parts.items():
        for one in part.unfinished:
            if one.status == FAILED:
                error = shorten(one.error, LONGEST_ERROR)
                yield f"planned and {one.status}", (one.run_id, name, one.arch, compute(one.budget), error)


def _untrained(parts: Mapping[str, Part]) -> Iterable[tuple[str, Row]]:
    """By architecture and budget: all there is to tell of them."""
    for name, part in parts.items():
        own = Counter((one.status, one.budget, one.arch) for one in part.unfinished if one.status != FAILED)
        for (status, budget, arch), count in sorted(own.items()):
            yield f"planned and {status}", (name, arch, compute(budget), str(count))


def _unplanned(parts: Mapping[str, Part]) -> Iterable[tuple[str, Row]]:
    for name, part in parts.items():
        for cell in part.left_out:
            size = f"{counted(cell.n_layers, 'layer')} of width {cell.d_model}"
            reason = f"left out of the plan, for over {cell.allowed:g} epochs of the text"
            yield reason, (size, name, cell.arch, compute(cell.budget), f"{cell.epochs:.3g}")


def _dropped(parts: Mapping[str, Part]) -> Iterable[tuple[str, Row]]:
    runs = compared({name: part.own.runs for name, part in parts.items()})
    for name, part in parts.items():
        losses = part.frame.set_index("run_id")["loss"]
        for run_id, arch, budget, reason in runs[name].dropped.itertuples(index=False, name=None):
            yield STATUSES.get(reason, reason), (run_id, name, arch, compute(budget), f"{losses[run_id]:.4g}")


def refusals(parts: Mapping[str, Part]) -> list[tuple[str, str, str]]:
    """What is not fitted: part, of what, and why."""
    found = []
    for name, part in parts.items():
        report = part.own.report
        found += [(name, arch, why) for arch, why in report.refusals.items()]
        found += [(name, f"shares of {f.name}", f.refused) for f in report.families if f.refused]
        found += [(name, f"{o.arch} at {compute(o.budget)}", o.status) for o in report.optima if o.status != "optimum"]
    return found
