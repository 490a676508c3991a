"""The page of a campaign: one HTML file with its libraries, its data and its look, which loads nothing else."""

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import itables
import jinja2
import plotly
from itables.utils import read_package_file
from plotly.offline import get_plotlyjs
from rich.table import Table

import eutectic
from eutectic.analysis.claims import Claim, Measure
from eutectic.analysis.compare import Estimate
from eutectic.analysis.page import Part, facts, payload
from eutectic.analysis.report import Report
from eutectic.analysis.statements import UNTESTABLE
from eutectic.analysis.tablefit import parameters
from eutectic.analysis.wording import listed
from eutectic.display import report as tables
from eutectic.display.left_out import left_out, refusals
from eutectic.display.sections import ILLUSTRATED, Section
from eutectic.display.tables import table_of
from eutectic.display.words import capped, compute, counted, digits, interval, short

TITLES = {
    "isoflop": "Loss against size, by budget",
    "frontier": "Loss at the best size, against compute",
    "multipliers": "What compute is worth, by architecture",
    "shares": "The best share of attention",
    "curves": "Training curves",
}
CAPTIONS = {
    "isoflop": "Small marks are runs; a large white mark is the minimum of the line, with 95% intervals of its loss "
    "and, where there is one, of its size, cut at the sizes trained. A line without one has its minimum beyond them. "
    "Lines:",
    "frontier": "Marks: loss at the isoFLOP optimum with a 95% interval. Lines: the least loss of the law L(N, D) at "
    "each compute with its 95% band of resamples, or, where that law is refused, a power law through the marks. Marks "
    "at one compute are set a little apart; what runs off the axis is cut.",
    "multipliers": "The share of the reference's FLOPs with which an architecture reaches the reference's loss, by the "
    "laws: left of the line it needs fewer. Bars are 95% intervals; from top to bottom, and from small to large marks, "
    "compute rises.",
    "shares": "Each architecture's loss at its best size, above the least of its budget, with a 95% interval. Lines: "
    "the parabola in the share, and a star its minimum with a 95% interval, where five shares or more bear one. A "
    "parabola is of all architectures, also those switched off. Marks at one share are set a little apart; what runs "
    "off the axis is cut.",
    "curves": "Of each architecture and budget the run that ended lowest: training loss, a mean since the point "
    "before, against compute spent. What is above the loss at a tenth of the run is cut.",
}
ALTERNATIVES = {
    "best_share": "Loss against the share of attention at each budget, and the shares that may be the best",
    "ordering": "Losses of placements of attention beside those of its shares, by width",
    "heads": "Loss less that of one head, against the number of heads, by size",
    "worth": "The share of attention's FLOPs that each architecture needs for the same loss, by budget",
    "off_size": "Loss above the best, against size over the best size, by architecture and budget",
    "winners": "The best architecture by each count of compute, and in which share of resamples it wins",
}  # of figures to who does not see them, by name
SCRIPTS = ("axes", "figures", "page")  # one after the other


@dataclass(frozen=True)
class Grid:
    """A table's cells. right: whether a column is of numbers. convention: its own, where others stand beside it."""

    title: str
    caption: str
    heads: tuple[str, ...]
    right: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    convention: str = ""


@dataclass(frozen=True)
class Chart:
    """part: its place among the parts; kind: of TITLES; n: which of several of its kind."""

    part: int
    kind: str
    title: str
    caption: str
    n: int = 0


def page(
    name: str,
    parts: Mapping[str, Part],
    claims: Sequence[Claim],
    sections: Sequence[Section] = (),
    illustrations: Mapping[str, bytes] | None = None,
) -> str:
    """The HTML. sections: of the findings, beside the claims; illustrations: SVGs of these, by the figure's name."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eutectic.display", "template"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"compute": compute, "short": short, "digits": digits, "listed": listed}
    data = payload(parts)
    template = files("eutectic.display") / "template"
    return environment.get_template("page.html").render(
        name=name,
        facts=facts(parts),
        claims=[(claim, [measure_cells(m) for m in claim.measures]) for claim in claims],
        sections=sections,
        illustrated=ILLUSTRATED,
        illustrations={name: _embedded(svg) for name, svg in (illustrations or {}).items()},
        alternatives=ALTERNATIVES,
        untestable=UNTESTABLE,
        data=data,
        parts=list(parts),
        charts=[chart for k, part in enumerate(data["parts"]) for chart in charts(k, part, list(parts.values())[k])],
        tables={one: grids(part) for one, part in parts.items()},
        left_out=left_out(parts),
        refused=refusals(parts),
        optima_by=next(iter(parts.values())).own.report.optima_by,
        version=eutectic.__version__,
        json=_json(data),
        style=(template / "page.css").read_text(),
        script="\n".join((template / f"{name}.js").read_text() for name in SCRIPTS),
        plotly=get_plotlyjs(),
        datatables=_json(read_package_file("html", "dt_bundle.js")),
        datatables_style=read_package_file("html", "dt_bundle.css"),
        versions={"plotly": plotly.__version__, "itables": itables.__version__, "jinja2": jinja2.__version__},
    )


def _embedded(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _json(value: Any) -> str:
    """JSON that may stand in a script element, whatever is in it."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def measure_cells(measure: Measure) -> tuple[str, str, str, str]:
    """What, of what, the number with its interval, and its unit."""
    return measure.name, measure.of, bracketed(measure.estimate, "{:.3g}".format), measure.unit


def bracketed(estimate: Estimate, text: Callable[[float], str]) -> str:
    return f"{capped(estimate.value, math.inf, text)} {interval(estimate, math.inf, text)}".strip()


def charts(k: int, data: Mapping[str, Any], part: Part) -> list[Chart]:
    """The figures that a part's runs bear."""
    report = part.own.report
    behind = _behind(report)
    own = report.convention

    def one(kind: str, caption: str = "", n: int = 0, title: str = "") -> Chart:
        return Chart(k, kind, title or TITLES[kind], f"{CAPTIONS[kind]} {caption or behind}", n)

    found = [one("isoflop", f"{report.optima_by}. {behind}")]
    if data["frontier"][own]:
        found.append(one("frontier"))
    if data["multipliers"][own]:
        found.append(one("multipliers"))
    for n, family in enumerate(data["families"]):
        found.append(one("shares", n=n, title=f"The best share of attention among {family['name']}"))
    if data["curves"]:
        ids = [data["used"].index(curve["run"]) for curve in data["curves"]]
        seeds = part.own.runs.used["seed"].iloc[ids].nunique()
        found.append(one("curves", f"{counted(len(ids), 'run')}, {counted(seeds, 'seed')}."))
    return found


def _behind(report: Report) -> str:
    dropped = f"; {len(report.dropped)} more in no fit, listed below" if report.dropped else ""
    return f"{counted(report.n_runs, 'run')}, {counted(len(report.seeds), 'seed')}{dropped}."


def grids(part: Part) -> list[Grid]:
    """A part's tables, as `eutectic fit` prints them, those of compute by every convention."""
    report = part.own.report
    found = [grid(tables.optima_table(report))]
    for convention, counts in part.counted.items():
        other = counts.report
        if other.comparisons:
            found.append(grid(tables.comparison_table(other), convention))
    if report.laws:
        found += [grid(parameters_table(report)), grid(tables.laws_table(report))]
    for convention, counts in part.counted.items():
        found.append(grid(tables.exponents_table(counts.report), convention))
        told = [family for family in counts.report.families if family.told]
        found += [grid(tables.hybrid_table(family), convention) for family in told]
    found.append(grid(tables.curves_table(report)))
    if report.audits.distances:
        found.append(grid(tables.held_table(report)))
    if not all(one.refusal for one in report.audits.left_out):
        found.append(grid(tables.left_out_table(report)))
    return [one for one in found if one.rows]


def grid(table: Table, convention: str = "") -> Grid:
    """Of a table as it is printed. convention: of FLOPs."""
    cells = [tuple(str(cell) for cell in column.cells) for column in table.columns]
    return Grid(
        str(table.title or ""),
        str(table.caption or ""),
        tuple(str(column.header) for column in table.columns),
        tuple(column.justify == "right" for column in table.columns),
        tuple(zip(*cells, strict=True)),
        convention,
    )


def parameters_table(report: Report) -> Table:
    """The laws' parameters with intervals, of the resamples that all that follows from the laws is read from."""
    names = next(iter(report.laws.values())).fit.law.names
    table = table_of(
        "architecture",
        *names,
        title="parameters of the laws",
        caption="L(N,D) = E + A/N^alpha + B/D^beta; brackets: 95% of resamples. A and B trade off against exponents",
    )
    for arch, law in report.laws.items():
        found = parameters(law.fit.law, law.candidate.theta, law.fit.degrees)
        table.add_row(arch, *(bracketed(found[name], digits) for name in names))
    return table
