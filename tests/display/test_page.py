"""The page as HTML: in its order, of nothing but itself, with every verdict in words and every row left out."""

import base64
import json
import re
import sys
from html import unescape
from pathlib import Path

import campaign
import campaign_table
import inside
import pytest

from eutectic.analysis.claims import Claim, Measure, Verdict
from eutectic.analysis.compare import Estimate
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.figures.campaign import CAMPAIGN
from eutectic.analysis.noise import pooled
from eutectic.analysis.page import Part, payload
from eutectic.analysis.statements import UNTESTABLE
from eutectic.display import sections
from eutectic.display.page import ALTERNATIVES, page
from eutectic.display.words import compute, short

pytestmark = pytest.mark.usefixtures("few_starts")
MOST_BYTES = 8_000_000
INF = float("inf")


def claim(key: str, verdict: Verdict, *measures: Measure) -> Claim:
    return Claim(key, f"{key} <b>is</b> so", "Someone 2023", verdict, "It was seen.", "Much.", measures, 12, 1)


CLAIMS = (
    claim("gain", "supported", Measure("gain", "3e14 FLOPs", Estimate(0.0935, 0.071, 0.12), "nats")),
    claim("order", "contradicted", Measure("reach", "all", Estimate(2.0, 1.5, INF))),
    claim("heads", "undecided"),
    claim("robust", "not tested"),
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    return campaign.read(tmp_path_factory.mktemp("results") / "made")


@pytest.fixture(scope="module")
def html(parts: dict[str, Part]) -> str:
    return page("made", parts, CLAIMS)


def text(html: str) -> str:
    """What is read of it: without scripts, styles and tags."""
    bare = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", bare).split())


def script(html: str, name: str) -> str:
    found = re.search(f'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return found[1]


def test_it_holds_the_data_that_was_prepared(html: str, parts: dict[str, Part]) -> None:
    assert json.loads(script(html, "data")) == payload(parts)
    assert json.loads(script(html, "datatables")).startswith("var ")


def test_it_is_small_and_made_of_itself_alone(html: str) -> None:
    assert len(html.encode()) < MOST_BYTES
    tags = re.sub(r"(<(script|style)\b[^>]*>).*?</\2>", r"\1", html, flags=re.DOTALL)
    assert re.findall(r'\b(?:src|href|action)="(?!#|data:)[^"]*"', tags) == []
    assert tags.count("<script") == 4


def test_findings_come_first_each_with_its_verdict_in_words(html: str) -> None:
    said = text(html)
    heads = ["Findings claim verdict", "Figures Point", "Tables main", "All runs Every", "Failures,", "Colophon Runs"]
    places = [said.index(head) for head in heads]
    assert places == sorted(places)
    for verdict in ("Supported", "Contradicted", "Undecided", "Not tested"):
        assert f"{verdict}. It was seen." in said
    told = re.findall(r"so (supported|contradicted|undecided|not tested) 12 1", said)
    assert told == [claim.verdict for claim in CLAIMS]
    assert "gain 3e14 FLOPs 0.0935 [0.071, 0.12] nats" in said and "reach all 2 [1.5, ∞)" in said
    assert said.count("What these runs cannot say: Much. Source: Someone 2023. Behind this: 12 runs, 1 seed.") == 4
    assert "gain &lt;b&gt;is&lt;/b&gt; so" in html  # words of a claim are no markup


def test_what_findings_have_beside_claims_follows_them(parts: dict[str, Part]) -> None:
    evidence = Evidence({"main": parts["main"].own.runs})
    beside = [
        *sections.noise(pooled(evidence.parts), evidence.noises),
        *sections.counts(evidence.rankings),
        *sections.states(evidence.held),
    ]
    said = unescape(text(page("made", parts, CLAIMS, beside)))
    assert "Noise No two runs differ in their seed alone" in said
    assert len(evidence.rankings) == len(beside[1].rows) == 2 * 9
    for row in (*beside[1].rows, *beside[2].rows):
        assert " ".join(" ".join(row).split()) in said
    places = [said.index(words) for words in ("It was seen", "Who wins", "State against", UNTESTABLE[-1], "Figures P")]
    assert places == sorted(places)


def test_the_command_writes_them(tmp_path: Path) -> None:
    campaign.write(tmp_path / "made")
    assert inside.eutectic("report", "--results", ".", "--name", "made", cwd=tmp_path).returncode == 0
    said = text((tmp_path / "made/report.html").read_text())
    assert "Who wins by another count" in said and "State against loss" in said and "Noise" in said


def test_the_command_shows_what_findings_draw(tmp_path: Path) -> None:
    campaign_table.write(campaign_table.campaign(campaign_table.NOTHING, names=("heads",)), tmp_path / "made")
    for name in ("report", "findings"):
        assert inside.eutectic(name, "--results", ".", "--name", "made", cwd=tmp_path).returncode == 0
    html = (tmp_path / "made/report.html").read_text()
    ((svg, told),) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)" alt="([^"]*)"', html)
    assert base64.b64decode(svg) == (tmp_path / "made/figures/heads.svg").read_bytes()
    assert told == ALTERNATIVES["heads"] and set(ALTERNATIVES) == set(CAMPAIGN)


def test_a_page_without_claims_has_no_findings(parts: dict[str, Part]) -> None:
    assert "Findings" not in text(page("made", parts, ()))


def test_the_summary_counts(html: str, parts: dict[str, Part]) -> None:
    said = text(html)
    assert "40 runs (39 done, 1 diverged), of which 39 are compared (of main and ratio), with 2 seeds;" in said
    tokens = sum(int(part.frame["tokens"].sum()) for part in parts.values())
    assert f"{short(tokens)} training tokens in all. On NVIDIA H200" in said
    assert "The text is english.parquet, in tokens of bpe-4096" in said and "the convention exact-causal" in said


def test_every_figure_says_how_many_runs_are_behind_it(html: str) -> None:
    captions = [text(found) for found in re.findall(r"<figcaption>(.*?)</figcaption>", html, re.DOTALL)]
    assert [re.search(r"(\d+) runs, (\d) seeds?", caption)[0] for caption in captions] == [  # type: ignore[index]
        *["29 runs, 1 seed"] * 4,
        "6 runs, 1 seed",
        "10 runs, 1 seed",
    ]
    assert sum("1 more in no fit, listed below" in caption for caption in captions) == 4


def test_tables_are_the_report_s_and_one_stands_for_each_convention(html: str, parts: dict[str, Part]) -> None:
    said = text(html)
    optimum = parts["main"].own.report.optimum("hyena*3+attn", 1e15)
    assert optimum is not None and optimum.params is not None and optimum.params_interval is not None
    low, high = optimum.params_interval
    assert f"1e15 hyena*3+attn 0.25 {short(optimum.params)} [{short(low)}, {short(high)}]" in said
    for convention, one in parts["main"].counted.items():
        (m, *_) = one.report.comparisons[0].multipliers
        grid = re.search(rf'data-convention="{convention}"(?: hidden)?>\s*<h4>FLOPs that.*?</table>', html, re.DOTALL)
        assert grid is not None and f"hyena {m.value:.2f} [{m.low:.2f}, {m.high:.2f}]" in text(grid[0])
        assert (" hidden>" in grid[0].split("\n")[0]) == (convention != "exact-causal")
    law = parts["main"].own.report.laws["attn"]
    assert f"attn {law.fit.values['E']:.4g} [" in said


def test_what_is_left_out_is_listed_with_its_reason(html: str, parts: dict[str, Part]) -> None:
    said = text(html)
    ((run_id, arch, budget, _),) = parts["main"].own.report.dropped
    assert (
        f"1 run: diverged 1 of main run part architecture budget loss {run_id} main {arch} {compute(budget)} 7.5"
        in said
    )
    assert "What could not be fitted" in said and f"ratio {campaign.OPTION} chinchilla has 5 parameters" in said


def test_the_command_writes_it_for_a_sweep_by_itself(tmp_path: Path) -> None:
    campaign.write(tmp_path / "made")
    words = ["report", "--results", "made", "--name", "ratio"]
    done = inside.eutectic(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "made/ratio/report.html\n"), done.stderr
    path = tmp_path / "made/ratio/report.html"
    first = path.read_bytes()
    assert b"10 runs (10 done)" in first
    inside.eutectic(*words, cwd=tmp_path)
    assert path.read_bytes() == first, "a page is the same each time"


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign.write(tmp_path / "results/made")
    monkeypatch.setitem(sys.modules, "plotly", None)
    done = inside.eutectic("report", "--name", "made", cwd=tmp_path)
    assert done.returncode == 1
    assert "a page is made with plotly, not installed here; run `pip install 'eutectic[report]'`" in done.stderr
