"""A plan's settings are those of the tuning's laws, and it is said how far they are carried."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from tuning_table import best_batch, best_lr, middle, planted, tuning

from eutectic.analysis.load import screen
from eutectic.analysis.predict import predict
from eutectic.analysis.settings import Beyond
from eutectic.analysis.transfer import check_laws, rules, transfers, unlike, version
from eutectic.analysis.tuned import tuned
from eutectic.arch import flops
from eutectic.config import RunConfig
from eutectic.display.tune import transfer_table
from eutectic.errors import UserError
from eutectic.sweeps import plan
from eutectic.sweeps import recipe as recipes
from eutectic.train.shards import Manifest

MANIFEST = Manifest("sotu", "bytes", "c" * 64, "t" * 64, 256, "uint16", 249, 10, 11_000_000, 460_000, 1.0, "")
POWER = 0.3  # of tokens in the best learning rate
RUNS = screen(tuning(planted({"attn": 1.0}, power=POWER), noise=0.0))
ONE = screen(tuning(middle(planted({"attn": 1.0})), noise=0.0))
RECIPE = dataclasses.replace(recipes.find("gpu"), archs=("attn", "hyena"), budgets=(1e16,))


def test_planned_runs_have_the_laws_settings() -> None:
    rows = plan.plan(RECIPE, MANIFEST, 0, rules(tuned(RUNS), RECIPE, "mine@1"))
    for row in rows:
        params = flops.count(row.model, row.data.seq_len, row.conv_algorithm).params
        if row.model.layout == "attn":
            assert row.optim.lr == pytest.approx(best_lr(params, row.tokens, POWER), rel=0.006)  # three digits
            assert row.batch_size * row.data.seq_len == pytest.approx(best_batch(row.tokens), rel=0.05)
            assert row.settings == "mine@1"
        else:
            assert row.optim.lr == pytest.approx(RECIPE.lr(params), rel=0.01)
            assert row.settings == ""
    label = dataclasses.replace(rows[-1], settings="another@2")
    assert label.run_id == rows[-1].run_id


def test_what_was_not_tuned_goes_by_the_law_that_the_recipe_names() -> None:
    recipe, found = dataclasses.replace(RECIPE, tuned_like="attn"), tuned(RUNS)
    rows = plan.plan(recipe, MANIFEST, 0, rules(found, recipe, "mine@1"))
    assert {row.model.layout for row in rows} == {"attn", "hyena"}
    for row in rows:
        params = flops.count(row.model, row.data.seq_len, row.conv_algorithm).params
        assert row.optim.lr == pytest.approx(best_lr(params, row.tokens, POWER), rel=0.006)
        assert row.settings == "mine@1"
    sizes = {arch: [(10**6, 10**9)] for arch in ("attn", "hyena")}
    own, *_, others = transfers(found, sizes, "attn")
    assert (own.arch, own.like, own.tuned) == ("attn", "attn", True)
    assert (others.arch, others.like, others.tuned, others.cells) == ("hyena", "attn", True, own.cells)
    assert [row.like for row in transfers(found, sizes, "mamba2")] == ["attn", "attn", "hyena", "hyena"]
    shown = transfer_table(transfers(found, sizes, "attn"), "mine@1")
    assert list(shown.columns[2].cells) == ["law of the tuning"] * 2 + ["law of attn"] * 2


def test_a_recipe_that_names_whose_laws_to_go_by_is_not_planned_without_those_that_its_runs_need() -> None:
    few = tuning(middle(planted({"hyena": 1.0})), noise=0.0).groupby("budget").head(1)
    undecided = tuned(screen(pd.concat([tuning(planted({"attn": 1.0}, power=POWER), noise=0.0), few])))
    for found, like, archs, lacking in (
        (tuned(RUNS), "hyena", ("attn", "mamba2"), "hyena"),
        (tuned(RUNS), "hyena", ("attn",), ""),  # which has its own
        (undecided, "hyena", ("attn", "mamba2"), "hyena"),
        (
            undecided,
            "attn",
            ("attn", "hyena", "mamba2"),
            "hyena",
        ),  # of what was tuned in vain, attn's laws would hide it
        (undecided, "attn", ("attn", "mamba2"), ""),
        (undecided, "mamba2", ("hyena", "s4d", "gla"), "hyena and mamba2"),
        (undecided, "", ("attn", "hyena"), ""),
    ):
        recipe = dataclasses.replace(RECIPE, tuned_like=like)
        if lacking:
            with pytest.raises(
                UserError, match=f"^mine has not both laws, .* of {lacking}, by which .*; tune with more"
            ):
                check_laws(found, recipe, archs, "mine@1")
        else:
            check_laws(found, recipe, archs, "mine@1")


def test_a_transfer_says_how_far_it_goes_and_what_an_error_costs() -> None:
    found, sizes = tuned(RUNS), [cell.params for cell in tuned(RUNS).optima]
    reach = [(int(min(sizes) / 10), 10**9), (int(max(sizes) * 100), 10**9)]
    lr, batch, *none = transfers(found, {"attn": reach, "hyena": reach})
    assert lr.over == ("params", "tokens")
    assert (lr.below, lr.above) == (Beyond("params", pytest.approx(-1, abs=0.01)), Beyond("params", pytest.approx(2)))
    assert (batch.below, batch.above) == (Beyond("tokens", 0), Beyond("tokens", 0))
    assert lr.twice == pytest.approx(0.02 * math.log(2) ** 2, rel=0.05)
    assert (lr.tuned, lr.cells, [row.tuned for row in none]) == (True, len(sizes), [False, False])
    assert [(row.over, row.below, row.above, row.twice) for row in none] == [
        (over, None, None, None) for over in (("params",), ("tokens",))
    ]


def test_a_law_of_both_is_carried_furthest_in_one() -> None:
    found = tuned(RUNS)
    few, many = min(cell.tokens for cell in found.optima), max(cell.tokens for cell in found.optima)
    # sizes within those tuned, a tenth of the tokens and a thousand times
    lr, _ = transfers(found, {"attn": [(10**7, int(few / 10)), (10**7, int(many * 1000))]})
    assert (lr.below, lr.above) == (Beyond("tokens", pytest.approx(-1)), Beyond("tokens", pytest.approx(3)))
    # runs that are all below the cells reach nowhere above them
    _, batch = transfers(found, {"attn": [(10**7, int(few / 100)), (10**7, int(few / 10))]})
    assert (batch.below, batch.above) == (Beyond("tokens", math.log10(int(few / 100) / few)), Beyond("tokens", 0.0))
    console = Console(width=120, highlight=False)
    with console.capture() as shown:
        console.print(transfer_table([lr], "mine@1"))
    assert "10 times fewer tokens" in shown.get() and "1k times more tokens" in shown.get()


def test_a_law_of_parameters_alone_plans_by_these() -> None:
    found = tuned(ONE)
    assert found.over("attn", "lr") == ("params",)
    rule = rules(found, RECIPE, "mine@1")["attn"]
    assert rule.lr_tokens == plan.CONSTANT and rule.lr_tokens(1e9) == 1.0
    assert rule.lr(1e9) == pytest.approx(best_lr(1e9), rel=1e-6)
    lr, batch = transfers(found, {"attn": [(10**9, 10**12)]})
    largest = max(found.optima, key=lambda cell: cell.params)
    assert lr.above == Beyond("params", pytest.approx(math.log10(1e9 / largest.params)))
    assert batch.above == Beyond("tokens", pytest.approx(math.log10(1e12 / max(c.tokens for c in found.optima))))


def test_a_version_is_of_what_the_runs_came_to() -> None:
    other = RUNS.tried.copy()
    other.loc[0, "loss"] += 1e-9
    assert version(RUNS) == version(dataclasses.replace(RUNS, tried=RUNS.tried.sample(frac=1.0, random_state=0)))
    assert version(RUNS) != version(dataclasses.replace(RUNS, tried=other))


def test_a_tuning_without_a_law_is_refused() -> None:
    with pytest.raises(UserError, match="no architecture of mine has three cells with an optimum"):
        rules(tuned(screen(planted({"attn": 1.0}))), RECIPE, "mine@1")


def test_what_a_tuning_is_of_is_compared_and_mup_is_not_laid_on_it() -> None:
    found, (first, *_) = tuned(RUNS), plan.plan(RECIPE, MANIFEST, 0)
    assert unlike(found, first, dataclasses.replace(first, budget=1e17, seed=3)) == []
    other = dataclasses.replace(
        first, data=dataclasses.replace(first.data, seq_len=64, tokenizer="bpe-512"), match="params"
    )
    said = ["tokenizer was bytes and is bpe-512", "seq_len was 512 and is 64", "match was width and is params"]
    assert unlike(found, first, other) == said
    scaled = dataclasses.replace(first, model=dataclasses.replace(first.model, mup_base=16))
    assert unlike(found, scaled, scaled) == []
    for pair, words in (
        ((first, scaled), "of mup_base 0 and the plan of 16"),
        ((scaled, first), "16 and the plan of 0"),
    ):
        with pytest.raises(UserError, match=words):
            unlike(found, *pair)


def test_further_settings_are_compared_with_those_the_laws_are_at() -> None:
    first, *_ = plan.plan(RECIPE, MANIFEST, 0)

    def with_(**settings: float) -> RunConfig:
        return dataclasses.replace(first, optim=dataclasses.replace(first.optim, **settings))  # type: ignore[arg-type]

    other = with_(weight_decay=0.3, warmup_fraction=0.5, init_scale=2.0)
    assert unlike(tuned(RUNS), first, other) == [
        f"weight_decay was {first.optim.weight_decay:g} and is 0.3",
        f"warmup_fraction was {first.optim.warmup_fraction:g} and is 0.5",
        "init_scale was 1 and is 2",
    ]
    # one that was varied has no value of the tuning's: each of its runs has another
    frame = tuning(planted({"attn": 1.0}, power=POWER), noise=0.0)
    decay = 0.06 * np.exp(np.random.default_rng(0).uniform(-1, 1, len(frame)))
    worse = 0.02 * np.log(decay / (0.06 * (frame["params"] / frame["params"].mean()) ** 0.1)) ** 2
    found = tuned(screen(frame.assign(weight_decay=decay, loss=frame["loss"] + worse)))
    best = [cell.values["weight_decay"] for cell in found.optima if cell.values]
    low, high = min(best), max(best)
    assert len(best) > 3 and 0.03 < low < 0.9 * high < high < 0.1
    inside, outside = with_(weight_decay=(low * high) ** 0.5), with_(weight_decay=0.1)
    for one in (first, inside):
        assert unlike(found, one, inside) == []
        assert unlike(found, one, outside) == [f"weight_decay was {low:.3g} to {high:.3g} and is 0.1"]


def test_an_answers_settings_may_be_anothers() -> None:
    frame = planted({"attn": 1.0}).assign(lr=1.0)
    answer = predict(screen(frame), 1e18, tuning=RUNS)
    best = best_lr(answer.params.value, answer.tokens.value, POWER)
    assert answer.lr.value == pytest.approx(best, rel=1e-6)
