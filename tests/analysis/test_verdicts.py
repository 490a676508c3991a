"""Verdicts on planted campaigns: right where something was planted, undecided where nothing was."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import campaign_table
import numpy as np
import pandas as pd
import pytest
from campaign_table import BUDGETS, NOTHING, Truth, campaign, screened

from eutectic.analysis import archs, minima, verdicts
from eutectic.analysis.campaign import load_parts
from eutectic.analysis.claims import Claim
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.verdicts import claims, judge

pytestmark = pytest.mark.usefixtures("few_starts")

KEYS = ("hybrids", "ratio", "ordering", "heads", "robust", "domain")
AT = [f"{budget:.0e} FLOPs".replace("e+", "e") for budget in BUDGETS]


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Fewer resamples, and no law of the share, which decides no verdict."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archs, "RESAMPLES", 100)
        patch.setattr(minima, "RESAMPLES", 300)
        patch.setattr(minima, "POINTS", 65)
        patch.setattr(verdicts, "_mix_law", lambda *_: None)
        yield


def judged(truth: Truth, seed: int = 0, names: tuple[str, ...] | None = None) -> dict[str, Claim]:
    return {one.key: one for one in judge(Evidence(screened(campaign(truth, seed, names))))}


def values(claim: Claim, name: str) -> dict[str, float]:
    return {one.of: one.estimate.value for one in claim.measures if one.name == name}


@pytest.fixture(scope="module")
def found() -> dict[str, Claim]:
    return {one.key: one for one in claims(screened(campaign(Truth())))}


def test_what_was_planted_is_supported(found: dict[str, Claim]) -> None:
    assert tuple(found) == KEYS
    assert {key: one.verdict for key, one in found.items()} == dict.fromkeys(KEYS, "supported") | {
        "domain": "undecided"
    }
    assert [(one.runs, one.seeds) for one in found.values()] == [
        (198, 3),
        (120, 1),
        (150, 3),
        (48, 2),
        (198, 3),
        (144, 1),
    ]
    assert "arXiv" in found["hybrids"].source and all(one.limits for one in found.values())


def test_the_best_hybrid_s_lead_is_the_planted_one(found: dict[str, Claim]) -> None:
    truth, gaps = Truth(), []
    for budget in BUDGETS:
        n = np.sqrt(budget / 6)
        gaps.append(truth.loss("hyena+attn", n, n) - min(truth.loss(arch, n, n) for arch in ("hyena", "attn")))
    for how in ("by runs and seeds' noise", "by the lowest of the sizes trained", "by the laws"):
        by_budget = values(found["hybrids"], f"best hybrid less best of one mixer, {how}")
        assert list(by_budget) == AT
        assert list(by_budget.values()) == pytest.approx(gaps, abs=0.008)
    worst = next(one for one in found["hybrids"].measures if one.of == "the least favourable budget")
    assert worst.estimate.value == max(
        values(found["hybrids"], "best hybrid less best of one mixer, by runs and seeds' noise").values()
    )
    assert "the best hybrid is hyena+attn with" in found["hybrids"].finding
    assert f"below zero at {AT[0]}" in found["hybrids"].finding


def test_the_best_share_is_the_planted_one(found: dict[str, Claim]) -> None:
    at_middle = {one.name: one.estimate for one in found["ratio"].measures if one.of == AT[1]}
    for name in ("by a parabola", "by the law L(N, D, r)"):
        assert at_middle[f"best share, {name}"].value == pytest.approx(0.4, abs=0.05)
    trained = at_middle["best share, of those trained"]
    assert trained.value == pytest.approx(1 / 3) and 0.2 < trained.low <= trained.value <= trained.high <= 0.5
    (drift,) = [one for one in found["ratio"].measures if one.of == "a decade of compute"]
    assert abs(drift.estimate.value) < 0.15


@pytest.mark.usefixtures("quick")
def test_the_contrary_is_contradicted() -> None:
    """Ends are best, placements matter more than shares, heads do harm, and hybrids lose more off the best size."""
    truth = replace(Truth(), bend=-0.6, best=0.5, robust=1.25, head=0.01)
    # what robust takes from the floor changes sides with compute
    middle = {name: table[table["budget"] == BUDGETS[1]] for name, table in campaign(truth).items() if name == "ratio"}
    found = judged(truth) | {one.key: one for one in judge(Evidence(screened(middle))) if one.key == "ratio"}
    assert {key: found[key].verdict for key in ("heads", "robust")} == dict.fromkeys(
        ("heads", "robust"), "contradicted"
    )
    found = judged(replace(NOTHING, bend=-0.6, best=0.5, order=0.2))
    assert {key: found[key].verdict for key in ("hybrids", "ratio", "ordering")} == {
        "hybrids": "contradicted",
        "ratio": "contradicted",
        "ordering": "contradicted",
    }


@pytest.mark.usefixtures("quick")
def test_what_differs_from_budget_to_budget_is_undecided_and_told() -> None:
    """Hybrids win at the smallest budget and lose at the largest, by what `robust` takes from their floor."""
    found = judged(replace(NOTHING, robust=0.6, noise=0.002), names=("main",))["hybrids"]
    assert found.verdict == "undecided"
    assert f"below zero at {AT[0]}" in found.finding and f"above zero at {AT[2]}" in found.finding


def of_shares(tables: dict[str, pd.DataFrame], name: str, above: Callable[[float], float], seed: int = 0) -> None:
    """Plants losses so many nats above those of one mixer, by the share of attention."""
    random, table = np.random.default_rng(seed), tables[name]
    losses = [NOTHING.loss("attn", row.params, row.tokens) + above(row.attn_share) for row in table.itertuples()]
    table["loss"] = losses + Truth().noise * random.normal(size=len(losses))


def bowl(best: float, left: float, right: float) -> Callable[[float], float]:
    """Nats for a squared share, another to either side of the best."""
    return lambda share: (left if share < best else right) * (share - best) ** 2


@pytest.mark.usefixtures("quick")
def test_a_best_share_that_moves_with_the_text_is_told() -> None:
    moved = judged(Truth(domain_best=0.75), names=("ratio", "placement", "domain"))["domain"]
    assert moved.verdict == "supported"
    assert values(moved, "the former less the latter, by a parabola")[AT[1]] == pytest.approx(0.35, abs=0.04)
    trained = next(one for one in moved.measures if one.name == "the former less the latter, of those trained")
    assert trained.estimate.low > 0 and trained.estimate.value == pytest.approx(0.75 - 1 / 3)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("best", [1 / 3, 0.5])
def test_curves_of_another_shape_are_no_other_best_share(best: float) -> None:
    """One side is steep on one text and the other on the other: parabolas are apart, and the best shares are not."""
    tables = campaign(Truth(), names=("ratio", "placement", "domain"))
    of_shares(tables, "ratio", bowl(best, 1.0, 0.15))
    of_shares(tables, "domain", bowl(best, 0.3, 0.4), seed=1)
    found = {one.key: one for one in judge(Evidence(screened(tables)))}["domain"]
    assert found.verdict == "undecided"
    (trained,) = [one for one in found.measures if one.name == "the former less the latter, of those trained"]
    assert trained.estimate.low <= 0 <= trained.estimate.high


@pytest.mark.usefixtures("quick")
def test_a_plateau_has_no_best_share_that_is_measured() -> None:
    tables = campaign(Truth(), names=("ratio", "placement"))
    of_shares(tables, "ratio", lambda share: -0.05 * (0 < share < 1))
    found = {one.key: one for one in judge(Evidence(screened(tables)))}["ratio"]
    assert found.verdict == "undecided" and f"below zero at {AT[0]}" in found.finding
    assert "A mix is best, but of which share is not told" in found.finding


@pytest.mark.usefixtures("quick")
def test_a_curve_that_is_elsewhere_is_not_told() -> None:
    """Steep from none to a sixth and flat beyond: the shares trained have the best, a parabola's is at a half."""
    tables = campaign(Truth(), names=("ratio", "placement"))
    of_shares(tables, "ratio", bowl(1 / 6, 8.0, 0.15))
    measures = {one.key: one for one in judge(Evidence(screened(tables)))}["ratio"].measures
    trained = [one.estimate for one in measures if one.name == "best share, of those trained"]
    assert len(trained) == len(BUDGETS) and all(one.low <= 1 / 6 <= one.high < 0.5 for one in trained)
    assert "best share, by a parabola" not in {one.name for one in measures}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("arch", "verdict"), [("attn", "contradicted"), ("hyena+attn", "supported")])
def test_what_has_no_optimum_counts_with_the_lowest_loss_trained(arch: str, verdict: str) -> None:
    """Losses that fall to the smallest size, far below all others'. Of one budget there are no laws."""
    table = campaign(NOTHING, names=("main",))["main"].query("budget == @BUDGETS[0]")
    own = table["arch"] == arch
    table.loc[own, "loss"] = 2.0 * (table.loc[own, "params"] / 1e6) ** 0.02
    found = {one.key: one for one in judge(Evidence(screened({"main": table})))}["hybrids"]
    lowest = f"{table.loc[own].groupby('params')['loss'].mean().min():.3f}"
    assert found.verdict == verdict
    assert f"{arch} (beyond grid, {lowest} at best)" in found.finding
    assert f" {arch} with {lowest}" in found.finding


@pytest.mark.usefixtures("quick")
def test_nothing_planted_is_undecided_in_nine_campaigns_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign_table, "MAIN", ("hyena", "hyena*3+attn", "hyena+attn", "attn"))
    monkeypatch.setattr(campaign_table, "RATIO", (*campaign_table.RATIO[::2], "attn"))
    monkeypatch.setattr(campaign_table, "BUDGETS", BUDGETS[:2])
    told: dict[str, list[bool]] = {}
    for seed in range(40):
        for key, one in judged(NOTHING, seed).items():
            told.setdefault(key, []).append(one.verdict != "undecided")
    assert {key: np.mean(own) for key, own in told.items() if np.mean(own) >= 0.1} == {}


@pytest.mark.usefixtures("quick")
def test_budgets_that_bear_no_verdict_are_told() -> None:
    """Of the largest budget the two smallest sizes of each are there alone."""
    tables = campaign(Truth(), names=("main", "ratio"))
    for name, table in tables.items():
        few = table.groupby(["arch", "budget"])["params"].rank() < 3
        tables[name] = table[few | (table["budget"] < BUDGETS[2])]
    found = {one.key: one for one in judge(Evidence(screened(tables)))}
    for key in ("hybrids", "ratio"):
        assert found[key].verdict == "supported"
        assert f"Not judged at {AT[2]}: " in found[key].finding and found[key].finding.count("Not judged") == 1


def test_parts_that_are_not_there_are_not_tested() -> None:
    """Nor is what is asked of a part without noise, or with too little in it."""
    main = judged(Truth(), names=("main",))
    assert {key: one.verdict for key, one in main.items()} == {
        "hybrids": "supported",
        "ratio": "supported",
        "ordering": "not tested",
        "heads": "not tested",
        "robust": "supported",
        "domain": "not tested",
    }
    assert main["heads"].finding.startswith("There is no part heads") and main["heads"].measures == ()
    assert {one.verdict for one in judged(Truth(), names=("placement", "domain")).values()} == {"not tested"}


def test_a_committed_sweep_is_a_campaign_of_its_main_part() -> None:
    results = Path(__file__).parents[2] / "results"
    found = {one.key: one for one in claims(load_parts(results / "h200"))}
    assert [found[key].verdict for key in ("ordering", "heads", "domain")] == ["not tested"] * 3
    assert {found[key].runs for key in ("hybrids", "ratio", "robust")} == {50}
    assert "the best hybrid is hyena+attn" in found["hybrids"].finding


def test_a_seed_gives_the_same_numbers_again() -> None:
    tables = campaign(Truth(), names=("main", "placement", "ratio"))
    assert claims(screened(tables), 3) == claims(screened(tables), 3)
