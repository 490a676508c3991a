"""The page's data: every number is the parquet's or the report's."""

import json
import math
from pathlib import Path
from typing import Any

import campaign
import campaign_table
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from eutectic.analysis import campaign as campaigns
from eutectic.analysis.isoflop import IsoflopOptimum
from eutectic.analysis.page import RUN, Part, facts, payload, read_parts
from eutectic.analysis.recount import CONVENTIONS, flops
from eutectic.analysis.report import isoflop_optima

pytestmark = pytest.mark.usefixtures("few_starts")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    return campaign.read(tmp_path_factory.mktemp("results") / "made")


@pytest.fixture(scope="module")
def data(parts: dict[str, Part]) -> dict[str, Any]:
    """As the page's script reads it."""
    found: dict[str, Any] = json.loads(json.dumps(payload(parts), allow_nan=False))
    return found


def test_runs_are_those_of_the_tables(parts: dict[str, Part], data: dict[str, Any]) -> None:
    frame = pd.concat([part.frame for part in parts.values()], ignore_index=True)
    assert data["runs"]["part"] == ["main"] * 30 + ["ratio"] * 10
    for name in RUN:
        assert data["runs"][name] == frame[name].tolist(), name
    for convention in CONVENTIONS:
        assert data["runs"]["flops"][convention] == flops(frame, convention).tolist()
    assert data["runs"]["flops"]["exact-causal"] == pytest.approx(frame["flops"].tolist(), rel=1e-12)
    (place,) = (k for k, reason in enumerate(data["runs"]["reason"]) if reason)
    assert (data["runs"]["reason"][place], data["runs"]["loss"][place]) == ("diverged", campaign.DIVERGED)
    assert [part["used"] for part in data["parts"]] == [[k for k in range(30) if k != place], list(range(30, 40))]


def optimum_values(one: IsoflopOptimum) -> list[Any]:
    return [one.arch, one.budget, one.status, one.params, one.loss, one.loss_interval and one.loss_interval[1]]


def test_optima_and_their_parabolas_are_the_report_s(parts: dict[str, Part], data: dict[str, Any]) -> None:
    for part, told in zip(parts.values(), data["parts"], strict=True):
        report = part.own.report
        for one, drawn in zip(report.optima, told["optima"], strict=True):
            own = [
                drawn["arch"],
                drawn["budget"],
                drawn["status"],
                drawn["params"][0],
                drawn["loss"][0],
                drawn["loss"][2],
            ]
            assert own == optimum_values(one)
            sizes = np.array(drawn["curve"]["params"])
            assert drawn["curve"]["loss"] == one.predict(sizes).tolist()
            assert min(drawn["curve"]["loss"]) == pytest.approx(one.loss, abs=1e-3)
        assert told["budgets"] == list(report.budgets)


@pytest.mark.usefixtures("few_starts")
def test_optima_are_those_that_the_claims_rest_on(tmp_path: Path) -> None:
    """By every convention: curves through the means of sizes, and no parabolas, with the noise of seeds."""
    tables = campaign_table.campaign(campaign_table.Truth(noise=0.02), names=("main", "placement"))
    own = tables["main"]["arch"].isin(("hyena", "hyena*3+attn", "hyena+attn", "attn"))
    tables["main"] = tables["main"][own & (tables["main"]["budget"] <= campaign_table.BUDGETS[1])]
    tables["placement"] = tables["placement"].query("arch.str.endswith('front') or arch.str.endswith('back')")
    evidence, parts = read_parts(campaign_table.write(tables, tmp_path / "made"))
    for name, part in parts.items():
        told = {(one.arch, one.budget): one for one in part.own.report.optima}
        assert len(told) == len(isoflop_optima(part.own.runs))
        for one in evidence.minima[name]:
            for arch, losses in zip(one.archs, one.losses.T, strict=True):
                optimum = told[arch, one.budget]
                assert optimum.loss == losses[0] and optimum.loss_interval is not None
                margin = stats.t.ppf(0.975, one.degrees) * losses[1:].std()
                assert optimum.loss_interval == pytest.approx((losses[0] - margin, losses[0] + margin))
            assert {arch for arch, budget in told if budget == one.budget} == {*one.archs, *one.missing}
        for counted in part.counted.values():
            assert [one.loss for one in counted.report.optima] == [one.loss for one in part.own.report.optima]
    main = parts["main"].own
    parabolas = isoflop_optima(main.runs)
    assert all(abs(one.loss - other.loss) > 1e-4 for one, other in zip(main.report.optima, parabolas, strict=True))  # type: ignore[operator]
    assert [one.losses for one in main.report.families[0].ratios] == [
        tuple(main.report.optimum(arch, one.budget).loss for arch in one.archs)  # type: ignore[union-attr]
        for one in main.report.families[0].ratios
    ]
    json.dumps(payload(parts), allow_nan=False)


def test_each_convention_has_its_own_frontier_and_multipliers(parts: dict[str, Part], data: dict[str, Any]) -> None:
    main, told = parts["main"], data["parts"][0]
    assert (data["convention"], sorted(data["conventions"])) == ("exact-causal", sorted(CONVENTIONS))
    assert list(main.counted) == data["conventions"]
    for convention, one in main.counted.items():
        assert one.report.convention == convention
        rows = told["multipliers"][convention]
        assert [row["arch"] for row in rows] == ["hyena", "hyena*3+attn"]
        for row, comparison in zip(rows, one.report.comparisons, strict=True):
            expected = [
                [v if math.isfinite(v) else None for v in (m.value, m.low, m.high)] for m in comparison.multipliers
            ]
            assert (row["values"], row["compute"]) == (expected, list(one.report.budgets))
        drawn = told["frontier"][convention]
        ends = [drawn[arch]["points"]["compute"] for arch in drawn]
        for arch, law in one.report.laws.items():
            line = drawn[arch]["line"]
            assert line["value"] == pytest.approx(law.candidate.optimum(np.array(line["compute"])).loss[0])
            assert line["compute"][0] <= min(low for low, _ in ends) * (1 + 1e-9)
            assert line["compute"][-1] >= max(high for _, high in ends) * (1 - 1e-9)
            assert drawn[arch]["points"]["value"] == [o.loss for o in main.own.report.optima if o.arch == arch]
    # a model of this kind does more for each parameter than six multiply-adds, at attention's end most of all
    at = {name: told["frontier"][name]["attn"]["points"]["compute"] for name in CONVENTIONS}
    assert at["exact-causal"] == [3e14, 1e15]
    assert all(full > causal for full, causal in zip(at["exact-full"], at["exact-causal"], strict=True))
    optimum = main.own.report.optimum("attn", 1e15)
    assert optimum is not None and optimum.params is not None and optimum.tokens is not None
    assert at["6nd"][1] == pytest.approx(6 * optimum.params * optimum.tokens, rel=0.02)
    assert data["parts"][1]["frontier"] == dict.fromkeys(data["conventions"])  # one budget has none


def test_shares_and_training_curves(parts: dict[str, Part], data: dict[str, Any]) -> None:
    main, told = parts["main"], data["parts"][0]
    (family,) = told["families"]
    for ratio, found in zip(family["ratios"], main.own.report.families[0].ratios, strict=True):
        assert (ratio["losses"], ratio["shares"], ratio["best_loss"]) == (
            list(found.losses),
            [0, 0.25, 1],
            found.best_loss,
        )
        assert all(
            low < loss < high for low, loss, high in zip(ratio["low"], ratio["losses"], ratio["high"], strict=True)
        )
    assert data["parts"][1]["families"] == []  # two shares say nothing of a best
    used = main.own.runs.used
    assert len(told["curves"]) == 6
    for curve in told["curves"]:
        run = used[used["run_id"] == data["runs"]["run_id"][curve["run"]]].iloc[0]
        assert run["loss"] == used[(used["arch"] == run["arch"]) & (used["budget"] == run["budget"])]["loss"].min()
        assert curve["tokens"][0] < curve["tokens"][-1] <= run["tokens"] and curve["loss"][0] > curve["loss"][-1]


def test_an_architecture_looks_the_same_in_every_part(data: dict[str, Any]) -> None:
    assert [arch["name"] for arch in data["archs"]] == ["hyena", campaign.OPTION, "hyena*3+attn", "attn"]
    assert len({(arch["colour"], arch["symbol"]) for arch in data["archs"]}) == 4
    assert [arch["dash"] for arch in data["archs"]] == ["solid", "solid", "dash", "solid"]


def test_what_a_campaign_took(parts: dict[str, Part]) -> None:
    frame = pd.concat([part.frame for part in parts.values()])
    told = facts(parts)
    assert (told.runs, told.compared, told.statuses) == (40, 39, {"done": 39, "diverged": 1})
    assert (told.parts, told.planned) == (("main", "ratio"), 0)
    assert (told.seeds, told.budgets, told.archs) == ((0, 1), (3e14, 1e15), 4)
    assert (told.flops, told.tokens) == (frame["flops"].sum(), frame["tokens"].sum())
    assert told.run_hours == pytest.approx(frame["seconds"].sum() / 3600)


def test_a_sweep_by_itself_is_a_campaign_of_one_part(tmp_path: Path) -> None:
    campaign.write(tmp_path / "made")
    assert list(campaigns.parts(tmp_path / "made")) == ["main", "ratio"]
    assert list(campaigns.parts(tmp_path / "made/ratio")) == ["main"]
