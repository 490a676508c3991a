"""Runs of a sweep are planned again to the letter, or it is said what is no longer as it was."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import plan as planning
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps import replan
from eutectic.sweeps.recipe import PowerRule, Recipe
from eutectic.train.shards import Manifest

MANIFEST = Manifest("sotu", "bytes", "c" * 64, "t" * 64, 256, "uint16", 249, 10, 11_000_000, 460_000, 1.0, "")
QUICK = recipes.find("quick")
recipe_of = partial(replan.recipe_of, folder=Path("nowhere"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"archs": ("[mamba2|attn]", "swa(window=16)+attn@middle"), "seeds": (4, 7), "budgets": (1e13,)},
        {"match": "flops", "channel": "moe(experts=4)", "archs": ("gla", "attn")},
    ],
)
def test_every_run_of_a_plan_is_planned_again(changes: dict[str, object]) -> None:
    configs = planning.plan(dataclasses.replace(QUICK, **changes), MANIFEST, 1)  # type: ignore[arg-type]
    rules = replan.rules_of(recipe_of(configs), configs, {})
    for run in configs:
        assert rules.runs(run.model.layout, run.budget, replan.shape_of(run.model), [run.seed]) == [run]


def test_so_is_a_run_by_a_tunings_laws() -> None:
    tuned = {"attn": planning.Tuned(PowerRule(0.02, 1e4, -0.3), PowerRule(500, 1e5, 0.4), "t@12345678")}
    configs = planning.plan(dataclasses.replace(QUICK, archs=("attn", "hyena")), MANIFEST, 1, tuned)
    assert replan.settings_of(configs) == "t@12345678"
    rules = replan.rules_of(recipe_of(configs), configs, tuned)
    assert {run.settings for run in rules.runs("attn", 2e10, QUICK.ladder[4], [0, 1])} == {"t@12345678"}
    with pytest.raises(UserError, match=r"plans run .* otherwise now .*batch_size was .* and is .*lr was "):
        replan.rules_of(recipe_of(configs), configs, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda recipe: dataclasses.replace(recipe, lr=PowerRule(1e-3, 1.0, 0.0)), r"lr was 0\.0\d+ and is 0\.001\)"),
        (lambda recipe: dataclasses.replace(recipe, evals=9), r"\(evals was 5 and is 9\); put it back as it was"),
        (
            lambda recipe: dataclasses.replace(recipe, ladder=recipe.ladder[9:]),
            "is no rung of recipe 'quick' now",
        ),
    ],
)
def test_a_recipe_that_has_changed_is_refused(change: Callable[[Recipe], Recipe], words: str) -> None:
    configs = planning.plan(QUICK, MANIFEST, 1)
    with pytest.raises(UserError, match=words):
        replan.rules_of(change(QUICK), configs, {})


@pytest.mark.parametrize(
    ("changes", "read", "words"),
    [
        ({"recipe": "gone"}, recipe_of, "no recipe 'gone'; there are campaign, .*gpu, quick"),
        ({"recipe": "gpu"}, recipe_of, r"of several recipes \(gpu, quick\)"),
        ({"settings": "u@1"}, replan.settings_of, r"by several tunings \(t@1, u@1\)"),
    ],
)
def test_a_sweep_of_several_plans_is_refused(
    changes: dict[str, str], read: Callable[[list[RunConfig]], object], words: str
) -> None:
    first = dataclasses.replace(planning.plan(QUICK, MANIFEST, 1)[0], settings="t@1")
    other = dataclasses.replace(first, **changes)
    with pytest.raises(UserError, match=words):
        read([other] if changes.get("recipe") == "gone" else [first, other])
