"""The printed report: tables that fit a page of 120 columns, and what is open, refused or beyond is said."""

import io
from dataclasses import replace

import drawing
import pytest
import sweep_table
from rich.console import Console

from eutectic.analysis.compare import Estimate
from eutectic.analysis.load import screen
from eutectic.analysis.report import Report, report
from eutectic.display.report import show_report

pytestmark = pytest.mark.usefixtures("few_starts")

SEVEN = {"hyena": 0.0, "hyena*5+attn": 1 / 6, "hyena*2+attn": 1 / 3, "hyena+attn": 0.5, "hyena+attn*2": 2 / 3}
SEVEN |= {"hyena+attn*5": 5 / 6, "attn": 1.0}


@pytest.fixture(scope="module")
def found() -> Report:
    return report(screen(drawing.table()))


def printed(found: Report) -> str:
    out = io.StringIO()
    show_report(Console(file=out, width=120, highlight=False, markup=False), found)
    return out.getvalue()


def table(text: str, title: str) -> dict[tuple[str, str], list[str]]:
    """The rows below a title, by their first two cells."""
    lines = text[text.index(title) :].splitlines()
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines[: _end(lines)] if line[0] == "│"]
    return {(row[0], row[1]): row[2:] for row in rows}


def _end(lines: list[str]) -> int:
    return next(k for k, line in enumerate(lines) if line.startswith("└"))


def test_nothing_is_cut(found: Report) -> None:
    text = printed(found)
    assert "…" not in text and max(map(len, text.splitlines())) <= 120


def test_best_sizes_stand_beside_each_other(found: Report) -> None:
    cubic, akima = found.other_curves
    odd = replace(akima.optima[0], params=1.234e9)
    edge = replace(cubic.optima[0], params=None, params_interval=None, status="beyond grid")
    others = (
        replace(cubic, optima=(edge, *cubic.optima[1:])),
        replace(akima, optima=(odd, *akima.optima[1:]), outside=(True, *akima.outside[1:])),
    )
    rows = table(printed(replace(found, other_curves=others)), "best size by three curves")
    parabola, by_cubic, by_akima = rows["1e+15".replace("+", ""), "hyena"]
    assert parabola.endswith("]") and (by_cubic, by_akima) == ("beyond grid", "1.23B !")
    front = found.frontiers[0].params
    assert front is not None and rows["exponent", "hyena"][0].startswith(f"{front.exponent:.2f} [")
    assert len(rows) == 20


def test_audits_are_printed(found: Report) -> None:
    text = printed(found)
    held = table(text, "laws fitted to the smaller budgets")
    for d in found.audits.distances:
        name = f"{d.law}, families" if d.family else d.law
        assert (name, f"{d.rms:.2%} ({d.bias:+.2%})") in held
    left = table(text, "each share of attention, by the law of the others")
    for one in found.audits.left_out:
        assert left["hyena", f"{one.share:.2f}"] == [one.law, f"{one.rms:.2%}", f"{one.bias:+.2%}", str(one.n)]
    bare = printed(replace(found, audits=replace(found.audits, distances=(), left_out=())))
    assert "held to the larger" not in bare and "by the law of the others" not in bare


def test_an_open_end_is_shown(found: Report) -> None:
    first = found.comparisons[0]
    multipliers = (
        Estimate(12.3, 0.5, float("inf"), 0.9),
        Estimate(float("inf"), 3.0, float("inf"), 0.2),
        Estimate(0.5, 0.0, 0.6, 0.9),
    )
    crossing = Estimate(3e15, 1e15, float("inf"), 0.7)
    changed = replace(first, multipliers=multipliers, crossover=crossing)
    text = printed(replace(found, comparisons=(changed, *found.comparisons[1:])))
    rows = table(text, "FLOPs that reach")
    (key,) = [key for key in rows if key[0] == first.arch]
    assert key[1].startswith("12 [0.50, ∞) (")
    assert rows[key][0].startswith("∞ [3.00, ∞) (") and rows[key][1].startswith("0.50 [0.00, 0.60] (")
    assert rows[key][2] == "3e15" and "[1e15, ∞) │" in text


def test_a_cubic_in_the_share_is_shown_where_it_is_called(found: Report) -> None:
    assert "by a cubic" not in printed(found)
    runs = screen(sweep_table.table(drawing.loss, SEVEN, drawing.BUDGETS[:2], noise=0.0005))
    seven = report(runs)
    rows = table(printed(seven), "best share of attention among hyena")
    assert "…" not in printed(seven)
    for cubic, row in zip(seven.families[0].cubics, rows.values(), strict=True):
        assert cubic.share is not None and cubic.interval is not None
        low, high = cubic.interval
        assert row[0] == f"{cubic.share:.2f} [{low:.2f}, {high:.2f}]" and cubic.share == pytest.approx(0.4, abs=0.05)


def test_a_family_without_a_mix_has_no_table_of_shares() -> None:
    """Its two ends alone, neither a table nor why there is no law of it."""
    archs = {"hyena": 0.0, "mamba2": 0.0, "hyena+attn": 0.5, "attn": 1.0}
    text = printed(report(screen(sweep_table.table(drawing.loss, archs, drawing.BUDGETS[:2], noise=0.0005))))
    assert "best share of attention among hyena" in text
    assert "among mamba2" not in text and "mamba2: a law in the share" not in text
