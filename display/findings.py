"""The findings of a campaign as a page in Markdown."""

from collections.abc import Iterable, Sequence

from eutectic.analysis.claims import Claim, Measure
from eutectic.analysis.findings import Findings, Part
from eutectic.analysis.report import Report
from eutectic.analysis.statements import UNTESTABLE
from eutectic.analysis.wording import listed
from eutectic.display import sections
from eutectic.display.sections import ILLUSTRATED, Section, bracketed
from eutectic.display.words import compute


def markdown(name: str, found: Findings, figures: Sequence[str]) -> str:
    """figures: names of those that lie in figures/ as PNG."""
    whole = found.whole
    parts = [
        f"# What {name} finds",
        f"Generated from the parquet of its runs by `eutectic findings --name {name}`: {whole.rows} runs, of which "
        f"{whole.runs} are compared{_compared(found.parts)}: {whole.archs} architectures and {whole.seeds} seed(s), at "
        f"{', '.join(map(compute, whole.budgets))} FLOPs. {_planned(whole)}"
        "Brackets are 95% intervals. A claim is *supported* or *contradicted* where every interval that decides it "
        "leaves out zero on that side at each budget; else it is *undecided*, whatever the middle of an interval is.",
        _table(("claim", "verdict", "runs", "seeds"), [_verdict(claim) for claim in found.claims]),
        *(part for claim in found.claims for part in _claim(claim, figures)),
        *(part for section in _sections(found) for part in _section(section, figures)),
        *_runs(found),
        *(_refused(found.report) if found.report else []),
        "## What runs of this scale cannot say",
        "\n".join(f"- {line}" for line in UNTESTABLE),
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _sections(found: Findings) -> list[Section]:
    return [
        *sections.noise(found.pooled, found.noises),
        *sections.settings(found.settings),
        *sections.worth(found.worth, found.report),
        *(sections.held_out(found.report) if found.report else []),
        *sections.counts(found.rankings),
        *sections.states(found.held),
    ]


def _section(section: Section, figures: Sequence[str]) -> list[str]:
    parts = [f"## {section.title}", section.text]
    if section.figure in figures:
        parts.append(f"![{section.figure}](figures/{section.figure}.png)")
    return [*parts, _table(section.head, section.rows)] if section.rows else parts


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
        rows.setdefault((one.name, one.unit), {})[one.of] = bracketed(one.estimate)
    table = [(*row, *(cells.get(b, "") for b in budgets)) for row, cells in rows.items() if set(cells) & set(budgets)]
    others = [
        f"- {one.name}, {one.of}: {bracketed(one.estimate)} {one.unit}".strip()
        for one in measures
        if one.of not in budgets
    ]
    return [_table(("measured", "unit", *budgets), table), *(["\n".join(others)] if others else [])]


def _runs(found: Findings) -> list[str]:
    parts = [*found.parts, found.whole] if len(found.parts) > 1 else found.parts
    rows = [
        (
            one.name,
            str(one.rows),
            *(str(count or "") for count in (one.runs, one.archs, one.seeds)),
            f"{one.flops:.3g}".replace("e+", "e"),
            f"{one.run_hours:.2f}",
            f"{one.hours_of_clock:.2f}",
            f"{one.flops / one.hours_of_clock:.3g}".replace("e+", "e"),
        )
        for one in parts
    ]
    header = ("part", "runs", "compared", "architectures", "seeds", "FLOPs", "hours of runs", "hours", "FLOPs an hour")
    return [
        "## Runs",
        f"On {', '.join(found.whole.devices)}. FLOPs are those realized, of runs that no fit uses as well. Hours are "
        "of the clock, in which any run was in its training loop: of one GPU, the GPU's, though runs shared it; where "
        "several trained at once there were as many times more. Starting before the first step is in none.",
        _table(header, rows),
        f"Not compared: {_dropped(found.parts)}.",
        *_unfinished(found.parts, found.whole),
        *_left_out(found.parts),
    ]


def _dropped(parts: Sequence[Part]) -> str:
    told = [f"{n} of {one.name} ({reason})" for one in parts for reason, n in one.dropped.items()]
    return ", ".join(told) or "none"


def _compared(parts: Sequence[Part]) -> str:
    """In which parts, where there are several."""
    return f" (of {listed([one.name for one in parts if one.runs])})" if len(parts) > 1 else ""


def _planned(whole: Part) -> str:
    return f"{count} more were planned and have no row. " if (count := _count([whole])) else ""


def _count(parts: Sequence[Part]) -> int:
    return sum(sum(counts.values()) for part in parts for counts in part.unfinished.values())


def _unfinished(parts: Sequence[Part], whole: Part) -> list[str]:
    """A sentence for each kind of what was planned and has no row."""
    kinds = sorted({kind for one in parts for kind in one.unfinished})
    if not kinds:
        return ["Planned and without a row: none that is known of."]
    told = {kind: [_missing(one, kind) for one in parts if kind in one.unfinished] for kind in kinds}
    shared = _count(parts) != _count([whole])
    shown = [f"Planned and {kind}: {', '.join(own)}." for kind, own in told.items()]
    return [*shown, "Of these some are of two parts."] if shared else shown


def _missing(part: Part, kind: str) -> str:
    """205 of main (16 at 3e14 and 189 at 1e15)."""
    counts = part.unfinished[kind]
    at = listed([f"{count} at {compute(budget)}" for budget, count in counts.items()])
    return f"{sum(counts.values())} of {part.name} ({at})"


def _left_out(parts: Sequence[Part]) -> list[str]:
    """Cells that were not planned, for runs of theirs would read the text too often."""
    rows = [
        (
            one.name,
            cell.arch,
            str(cell.n_layers),
            str(cell.d_model),
            compute(cell.budget),
            f"{cell.epochs:.3g}",
            f"{cell.allowed:g}",
        )
        for one in parts
        for cell in one.left_out
    ]
    if not rows:
        return []
    header = ("part", "architecture", "layers", "width", "budget", "epochs", "allowed")
    return ["Left out of the plans, for a run would read the text oftener than is allowed:", _table(header, rows)]


def _refused(report: Report) -> list[str]:
    """Laws that there are not, of families but those too small to have one."""
    families = {f"shares of {f.name}": f.refused for f in report.families if f.refused}
    refusals = report.refusals | families
    if not refusals:
        return []
    return ["## Laws that these runs do not bear", "\n".join(f"- {name}: {why}" for name, why in refusals.items())]
