"""The page of findings has every claim, its numbers, and what was left out."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from campaign_table import Truth, campaign, screened

from eutectic.analysis.campaign import load_parts
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.findings import Findings, findings, settings
from eutectic.analysis.statements import STATEMENTS, UNTESTABLE
from eutectic.display import sections
from eutectic.display.findings import markdown

pytestmark = pytest.mark.usefixtures("few_starts")


@pytest.fixture(scope="module")
def found() -> Findings:
    tables = campaign(Truth(), names=("main", "heads"))
    tables["main"].loc[0, "status"] = "diverged"
    return findings(Evidence(screened(tables)), tables, dict.fromkeys(tables, ()), dict.fromkeys(tables, ()))


@pytest.fixture(scope="module")
def page(found: Findings) -> str:
    return markdown("campaign", found, ["heads", "winners"])


def tables(text: str) -> list[list[list[str]]]:
    """Cells of every table, header first."""
    blocks = re.findall(r"(?:^\|.*\n)+", text + "\n", re.M)
    return [[[c.strip() for c in line.strip("|\n").split(" | ")] for line in block.splitlines()] for block in blocks]


def test_every_claim_has_its_verdict_source_and_limits(page: str, found: Findings) -> None:
    first = tables(page)[0]
    assert [row[0] for row in first[2:]] == [one["statement"] for one in STATEMENTS.values()]
    assert [row[1] for row in first[2:]] == [f"**{one.verdict}**" for one in found.claims]
    for one in found.claims:
        assert f"*{one.source}.* **{one.verdict.capitalize()}.** {one.finding}" in page
        assert f"Limits: {one.limits}" in page
    assert "**Not tested.** There is no part placement" in page
    assert "![heads](figures/heads.png)" in page and "winners.png" in page and "ordering.png" not in page


def test_tables_are_whole(page: str) -> None:
    for table in tables(page):
        assert len({len(row) for row in table}) == 1, table[0]
        assert set(table[1]) == {"---"}


def test_the_numbers_are_the_findings(page: str, found: Findings) -> None:
    assert found.report is not None
    for one in found.claims:
        for measure in one.measures:
            assert f"{measure.estimate.value:.3g}"[:5] in page
    first, *_, heads = found.pooled
    deviation = found.noises["main"].of(np.array(first.sizes[0]), first.budget)
    assert f"| main | 3e14 | {first.deviation.value:.3g} [" in page and f"| {deviation:.3g} at " in page
    assert f"| {heads.degrees} | {found.noises['heads'].degrees} | {heads.cells} |" in page
    held = next(h for h in found.report.audits.held if h.arch == "attn" and h.law == "chinchilla")
    assert f"| attn | 3e14, 1e15 | 3e15 | {held.n} | {held.rms:.2%} | {held.bias:+.2%} |" in page
    by_law = found.report.comparisons[-1]
    by_minima = next(one for one in found.worth if one.arch == by_law.arch).multipliers[3e14]
    (row,) = [row for table in tables(page) for row in table if row[0] == by_law.arch and len(row) == 8]
    assert row[1].startswith(f"{by_minima.value:.3g} [") and row[4].startswith(f"{by_law.multipliers[0].value:.3g} [")
    (starred,) = (one for one in found.worth if one.arch == "hyena*3+attn")
    (row_starred,) = [row for table in tables(page) for row in table if row[0] == starred.arch and len(row) == 8]
    assert [cell.endswith("*") for cell in row_starred[1:4]] == [starred.extrapolated(b) for b in (3e14, 1e15, 3e15)]
    residuals = found.report.laws[by_law.arch].candidate.fit.residuals
    assert row[7] == f"{np.sqrt((residuals**2).mean()):.1%}"
    assert f"| wall clock | 3e14 | {next(r for r in found.rankings if r.measure == 'wall clock').winner} |" in page
    assert "Not compared: 1 of main (diverged).\n\nPlanned and without a row: none that is known of." in page
    assert (
        f"{found.whole.rows} runs, of which {found.whole.rows - 1} are compared (of main and heads): 11 architectures"
        in page
    )
    assert all(line in page for line in UNTESTABLE)
    per_hour = f"{found.whole.flops / found.whole.hours_of_clock:.3g}".replace("e+", "e")
    assert f"| all | {found.whole.rows} | {found.whole.runs} |" in page and f"| {per_hour} |" in page


def test_who_takes_part_in_a_count_is_told(page: str, found: Findings) -> None:
    """Of the first, without those that have no law."""
    assert (
        "and a law: at 3e14, 1e15 and 3e15 hyena, mamba2, hyena*3+attn, hyena+attn, hyena+attn*3 and attn. Conv" in page
    )
    pure = [replace(one, among=("attn", "hyena"), winner="attn", hybrids=np.nan) for one in found.rankings[:1]]
    (section,) = sections.counts(pure)
    assert "at 3e14 attn and hyena." in section.text and section.rows[0][-2:] == ("", "2")


def test_a_multiplier_is_given_where_the_architecture_was_trained(found: Findings) -> None:
    assert found.report is not None
    first = found.report.comparisons[0]
    optima = tuple(o for o in found.report.optima if (o.arch, o.budget) != (first.arch, 3e15))
    page = markdown("campaign", replace(found, report=replace(found.report, optima=optima)), [])
    (row,) = [row for table in tables(page) for row in table if row[0] == first.arch and table[0][-1] == "law off by"]
    assert row[6].strip() == "" and row[5] != "" and row[3] != ""


def test_laws_against_another_than_the_runs_are_not_beside_them(found: Findings) -> None:
    assert found.report is not None
    swapped = {"hyena": "attn"}  # attention itself, then, is one of those compared
    others = tuple(
        replace(one, arch=swapped.get(one.arch, one.arch), reference="hyena") for one in found.report.comparisons
    )
    (section,) = sections.worth(found.worth, replace(found.report, comparisons=others))
    assert not any("laws" in name for name in section.head) and len(section.head) == 4
    assert [row[0] for row in section.rows] == [one.arch for one in found.worth] and all(
        "".join(row[1:]) for row in section.rows
    )
    law = {arch: law for arch, law in found.report.laws.items() if arch != "attn"}
    (section,) = sections.worth(found.worth, replace(found.report, laws=law))
    assert "attn's by" not in section.text and len(section.head) == 8


def test_families_too_small_for_a_law_are_not_refused_one(page: str) -> None:
    assert "a law in the share needs" not in page


def test_what_is_not_known_is_said() -> None:
    table = {"main": campaign(Truth(), names=("main",))["main"].query("seed == 0 and budget < 2e15")}
    page = markdown("small", findings(Evidence(screened(table)), table, {"main": ()}, {"main": ()}), [])
    assert "No two runs differ in their seed alone" in page
    assert "No architecture has the three budgets that this needs" in page
    assert "Not compared: none." in page and "nan" not in page


def test_settings_are_given_with_what_their_laws_are_carried_to() -> None:
    """Of the committed campaign, whose tuning found laws of three architectures."""
    parts = load_parts(Path(__file__).parents[2] / "results/campaign")
    found = settings(parts)
    assert found is not None
    (section,) = sections.settings(found)
    assert [row[:3] for row in section.rows] == [
        (arch, target, "3") for arch in ("hyena", "hyena*3+attn", "attn") for target in ("lr", "batch")
    ]
    law = found.tuned.law("attn", "lr")
    assert law is not None and section.rows[4][4].startswith(f"{law.exponents['params']:.3g} [")
    assert section.rows[4][5] == "" and section.rows[5][4] == ""
    largest = parts["main"].used["params"].max()
    assert f"{found.largest_tuned / 1e6:.3g}M parameters, that of the main part {largest / 1e6:.3g}M." in section.text
    assert settings({"main": parts["main"]}) is None and sections.settings(None) == []
