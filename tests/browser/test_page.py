"""The page in Chromium: no error and no request, and what every switch changes in the figures' own data."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import campaign
import pandas as pd
import pytest
from browser import Shown
from debian import Unavailable
from playwright.sync_api import Browser

from eutectic.analysis.claims import Claim
from eutectic.analysis.page import Part, read_parts
from eutectic.analysis.recount import CONVENTIONS, flops
from eutectic.display.page import page as made_page

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("few_starts")]
WIDE, PHONE = 1200, 390  # pixels


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    try:
        with browser.chromium() as started:
            yield started
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("results") / "made"
    campaign.write(made)
    return made


@pytest.fixture(scope="module")
def parts(folder: Path) -> dict[str, Part]:
    return read_parts(folder)[1]


@pytest.fixture(scope="module")
def path(folder: Path, parts: dict[str, Part]) -> Path:
    written = folder / "report.html"
    claim = Claim("heads", "Heads help", "Someone 2023", "undecided", "It was seen.", "Much.", (), 12, 1)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"/>'
    written.write_text(made_page("made", parts, (claim,), illustrations={"heads": svg}))
    return written


@pytest.fixture
def wide(window: Browser, path: Path) -> Iterator[Shown]:
    """Nothing that a test does makes the console speak."""
    with browser.shown(window, path, WIDE) as opened:
        yield opened
        assert opened.wrong == []


def traces(opened: Shown, kind: str, part: int = 0) -> list[dict[str, Any]]:
    """What plotly has drawn in a figure."""
    node = f"figure[data-kind={kind}][data-part='{part}'] .plot"
    wanted = "({name, meta, mode, visible, showlegend, x, y, customdata, text})"
    found: list[dict[str, Any]] = opened.page.evaluate(
        f"document.querySelector({node!r}).data.map(({wanted[1:-1]}) => {wanted})"
    )
    return found


def layout(opened: Shown, kind: str) -> dict[str, Any]:
    wanted = "({xaxis, yaxis, annotations})"
    found: dict[str, Any] = opened.page.evaluate(
        f"({wanted} => {wanted})(document.querySelector('figure[data-kind={kind}] .plot').layout)"
    )
    return found


def marks(opened: Shown, arch: str, budget: float) -> dict[str, Any]:
    """The runs of an architecture at a budget, of the main part's isoFLOP figure."""
    first, *_ = (t for t in traces(opened, "isoflop") if t["meta"] == {"arch": arch, "budget": budget})
    return first


def shows(opened: Shown, kind: str) -> set[str]:
    """Architectures to be seen in a figure."""
    drawn = traces(opened, kind)
    return (
        {t["meta"]["arch"] for t in drawn if t["mode"] != "lines" and t["visible"] in (True, None)} if drawn else set()
    )


def rows_shown(opened: Shown) -> list[list[str]]:
    cells: list[list[str]] = opened.page.evaluate(
        "[...document.querySelectorAll('#runs tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return cells


def heads(opened: Shown, visible: bool = False) -> list[str]:
    """Of the columns of the table of runs, all or those to be seen."""
    cells = opened.page.locator("#runs thead th").all()
    return [cell.text_content() or "" for cell in cells if not visible or cell.is_visible()]


def test_figures_draw_the_runs_and_their_fits(wide: Shown, parts: dict[str, Part]) -> None:
    main = parts["main"].own
    for arch in campaign.ARCHS:
        for budget in main.runs.budgets:
            own, drawn = main.runs.select(arch, budget), marks(wide, arch, budget)
            assert (drawn["x"], drawn["y"]) == (own["params"].tolist(), own["loss"].tolist())
            told = [run for text in drawn["text"] for run in own["run_id"] if run in text]
            assert told == own["run_id"].tolist()
    line, optimum = traces(wide, "isoflop")[1:3]
    report = main.report.optimum("hyena", 3e14)
    assert report is not None and report.loss is not None
    assert (optimum["x"], optimum["y"], line["mode"]) == ([report.params], [report.loss], "lines")
    assert "2 seeds" in wide.page.inner_text("#summary")


def test_one_control_switches_an_architecture_in_every_figure(wide: Shown) -> None:
    kinds = ("isoflop", "frontier", "curves")
    assert all(shows(wide, kind) == set(campaign.ARCHS) for kind in ("isoflop", "frontier"))
    assert shows(wide, "multipliers") == {"hyena", "hyena*3+attn"}
    wide.page.click("#switches summary")
    wide.page.uncheck("input[data-arch='hyena']")
    assert shows(wide, "isoflop") == shows(wide, "frontier") == {"hyena*3+attn", "attn"}
    assert shows(wide, "multipliers") == {"hyena*3+attn"}
    for kind in kinds:
        assert {t["visible"] for t in traces(wide, kind) if t["meta"]["arch"] == "hyena"} == {"legendonly"}
    points = next(t for t in traces(wide, "shares") if t["customdata"])
    assert points["customdata"] == [0.25, 1.0]
    wide.page.click("#all")
    assert shows(wide, "isoflop") == set(campaign.ARCHS) and wide.page.is_checked("input[data-arch='hyena']")
    wide.page.click("#none")
    assert shows(wide, "frontier") == shows(wide, "multipliers") == set()


def test_a_legend_s_entry_switches_it_in_one_figure(wide: Shown) -> None:
    # from no attention to all, those of this part alone
    wide.page.locator("figure[data-kind=isoflop][data-part='0'] .legendtoggle").nth(2).click()
    wide.page.wait_for_function("document.querySelector('.plot').data.some((trace) => trace.visible === 'legendonly')")
    assert shows(wide, "isoflop") == {"hyena", "hyena*3+attn"} and shows(wide, "frontier") == set(campaign.ARCHS)


@pytest.mark.parametrize("convention", CONVENTIONS[1::2])
def test_a_convention_moves_what_is_against_compute(convention: str, wide: Shown, parts: dict[str, Part]) -> None:
    before = {kind: traces(wide, kind) for kind in ("isoflop", "frontier", "multipliers", "curves")}
    assert [note["text"] for note in layout(wide, "isoflop")["annotations"]] == [
        "<b>3e14 FLOPs</b>",
        "<b>1e15 FLOPs</b>",
    ]
    wide.page.select_option("#convention", convention)
    counted = parts["main"].counted[convention]
    assert [t["x"] for t in traces(wide, "isoflop")] == [t["x"] for t in before["isoflop"]]  # these are sizes
    assert all("asked: " in note["text"] for note in layout(wide, "isoflop")["annotations"])
    assert convention in layout(wide, "frontier")["xaxis"]["title"]["text"]
    values = [m.value for m in counted.report.comparisons[0].multipliers]
    assert traces(wide, "multipliers")[0]["x"] == values != before["multipliers"][0]["x"]
    costs = next(t["customdata"] for t in traces(wide, "frontier") if t["name"] == "attn")
    assert costs != [3e14, 1e15] and len(costs) == 2
    longest = next(t for t in traces(wide, "curves") if t["meta"] == {"arch": "attn", "budget": 1e15})
    assert longest["y"] == next(t["y"] for t in before["curves"] if t["meta"] == longest["meta"])
    rows = counted.runs.used
    best = rows[(rows["arch"] == "attn")].sort_values(["budget", "loss"]).groupby("budget").head(1).iloc[-1]
    assert 0.9 < longest["x"][-1] / best["flops"] <= 1
    shown = [grid.get_attribute("data-convention") for grid in wide.page.locator("[data-convention]:visible").all()]
    assert set(shown) == {convention}
    assert f"By {convention} those at 1e15 cost" in wide.page.inner_text("#convention-note")
    table = dict(zip(parts["main"].frame["run_id"], flops(parts["main"].frame, convention), strict=True))
    flop, run = (heads(wide).index(name) for name in ("FLOPs", "run"))
    told = [(float(row[flop]), table[row[run]]) for row in rows_shown(wide) if row[0] == "main"]
    assert len(told) == 25 and all(value == pytest.approx(own, rel=5e-3) for value, own in told)


@pytest.mark.parametrize("unit", ["perplexity", "bits"])
def test_the_loss_s_unit_changes_every_height(unit: str, wide: Shown, parts: dict[str, Part]) -> None:
    bytes_per_token = parts["main"].own.report.bytes_per_token
    turn = {"perplexity": math.exp, "bits": lambda nats: nats / math.log(2) / bytes_per_token}[unit]
    before = {kind: traces(wide, kind) for kind in ("isoflop", "frontier", "curves")}
    wide.page.select_option("#loss", unit)
    for kind, drawn in before.items():
        for old, new in zip(drawn, traces(wide, kind), strict=True):
            assert new["x"] == old["x"]
            assert new["y"] == pytest.approx([turn(nats) for nats in old["y"]])
    title = {"perplexity": "perplexity (per token)", "bits": "loss (bits per byte)"}[unit]
    assert layout(wide, "isoflop")["yaxis"]["title"]["text"] == f"validation {title}"


def test_runs_are_searched_and_sorted(wide: Shown, parts: dict[str, Part]) -> None:
    frame = pd.concat([part.frame for part in parts.values()])
    loss, run = (heads(wide).index(name) for name in ("nats/token", "run"))
    search = wide.page.get_by_label("Search runs:")
    search.fill("diverged")
    (cells,) = rows_shown(wide)
    assert (cells[loss], cells[run]) == ("7.5000", frame[frame["status"] == "diverged"]["run_id"].item())
    search.fill(campaign.OPTION)
    assert {row[1] for row in rows_shown(wide)} == {campaign.OPTION} and len(rows_shown(wide)) == 5
    search.fill("no such run")
    assert "No matching" in rows_shown(wide)[0][0]
    search.fill("")
    assert len(rows_shown(wide)) == 25
    wide.page.locator("#runs thead th").nth(loss).click()
    wide.page.wait_for_selector("#runs thead th[aria-sort=ascending]")
    told = [float(row[loss]) for row in rows_shown(wide)]
    assert told == sorted(told) and told[0] == pytest.approx(frame["loss"].min(), abs=1e-4)


def test_runs_are_ordered_by_what_they_are(wide: Shown, parts: dict[str, Part]) -> None:
    """By part, budget, share of attention, size and seed."""
    wide.page.locator(".dt-length select").select_option("-1")
    frame = pd.concat([part.frame.assign(place=k) for k, part in enumerate(parts.values())])
    wanted = frame.sort_values(["place", "budget", "attn_share", "params", "seed"])["run_id"].tolist()
    run = heads(wide).index("run")
    assert [row[run] for row in rows_shown(wide)] == wanted


@pytest.mark.parametrize(("width", "more"), [(PHONE, []), (900, ["run"]), (WIDE, ["lr"]), (1600, ["seconds"])])
def test_runs_are_told_apart_at_any_width(width: int, more: list[str], window: Browser, path: Path) -> None:
    """No column that is shown needs the table to be scrolled sideways."""
    with browser.shown(window, path, width) as opened:
        first = ["part", "architecture", "budget", "params", "seed", "nats/token"]
        told = heads(opened, visible=True)
        assert told[:6] == first and told[6:] == heads(opened)[6 : len(told)] and set(more) <= set(told)
        assert (told == first) == (width == PHONE)
        room = "document.querySelector('#runs').closest('.scroll')"
        assert opened.page.evaluate(f"{room}.scrollWidth - {room}.clientWidth") <= 0


def test_figures_of_findings_are_seen_and_told(window: Browser, path: Path) -> None:
    with browser.shown(window, path, WIDE) as opened:
        (image,) = opened.page.locator("#claim-heads img").all()
        assert image.evaluate("one => one.decode().then(() => [one.naturalWidth, one.naturalHeight])") == [40, 30]
        assert "number of heads" in (image.get_attribute("alt") or "") and opened.wrong == []


def test_a_phone_scrolls_down_only(window: Browser, path: Path) -> None:
    with browser.shown(window, path, PHONE) as phone:
        assert phone.page.evaluate("document.documentElement.scrollWidth") == PHONE
        panels = layout(phone, "isoflop")
        assert panels["xaxis"]["domain"] == [0, 1]  # one below the other
        widths = phone.page.evaluate(
            "[...document.querySelectorAll('.plot')].map((plot) => plot.layout.width - plot.clientWidth)"
        )
        assert set(widths) == {0} and phone.wrong == []


def test_paper_has_every_run_and_no_switches(wide: Shown) -> None:
    assert wide.page.is_visible("#switches") and len(rows_shown(wide)) == 25
    wide.page.emulate_media(media="print")
    assert not wide.page.is_visible("#switches") and not wide.page.is_visible(".dt-search")
    wide.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(rows_shown(wide)) == 40
    assert wide.page.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    assert (
        wide.page.evaluate("Math.max(...[...document.querySelectorAll('.plot')].map((plot) => plot.layout.width))")
        == 680
    )
    wide.page.evaluate("dispatchEvent(new Event('afterprint'))")
    wide.page.emulate_media(media="screen")
    assert len(rows_shown(wide)) == 25 and wide.page.pdf()[:5] == b"%PDF-"
