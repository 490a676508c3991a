"""A sweep of planted losses is extended where its minima are not reached or not known, by its own rules, no further."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import planned_table
import pytest
import tuning_table

from eutectic.analysis import isoflop
from eutectic.analysis.archs import columns
from eutectic.analysis.extend import TARGET, Extension, extend, of_sweep
from eutectic.analysis.load import Runs, screen
from eutectic.analysis.transfer import rules, version
from eutectic.analysis.tuned import tuned
from eutectic.arch import flops, layout
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import plan as planning
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps import replan
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.plan import Rules
from eutectic.sweeps.recipe import LADDER, PowerRule, Recipe
from eutectic.train.shards import Manifest

MANIFEST = Manifest("sotu", "bytes", "c" * 64, "t" * 64, 256, "uint16", 249, 10, 11_000_000, 460_000, 1.0, "")
QUICK = recipes.find("quick")
ONE = dataclasses.replace(QUICK, archs=("attn",), budgets=(1e11,))
DEEP = dataclasses.replace(
    QUICK, budgets=(1e11,), ladder=tuple(dataclasses.replace(shape, n_layers=8) for shape in LADDER[:13])
)
Loss = Callable[[RunConfig, int], float]


def planned(recipe: Recipe) -> list[RunConfig]:
    return planning.plan(recipe, MANIFEST, 1)


def extended(recipe: Recipe, configs: Sequence[RunConfig], loss: Loss) -> Extension:
    runs, rules = seen(configs, loss), replan.rules_of(recipe, configs, {})
    return extend(runs, rules, {run.run_id for run in configs})


def seen(configs: Sequence[RunConfig], loss: Loss) -> Runs:
    return screen(planned_table.table(configs, loss))


def added(extension: Extension) -> list[RunConfig]:
    return [run for proposal in extension.proposals for run in proposal.runs]


def params(run: RunConfig) -> int:
    return flops.count(run.model, run.data.seq_len, run.conv_algorithm).params


def optimum(configs: Sequence[RunConfig], loss: Loss, arch: str, budget: float) -> isoflop.IsoflopOptimum:
    rows = seen(configs, loss).select(arch, budget)
    return isoflop.fit(arch, budget, *columns(rows, "params", "tokens", "loss"))


def bowl(best: Callable[[RunConfig], float], share: float = 0.45, noise: float = 0.0) -> Loss:
    """Losses lowest at a size and a share of attention, with noise of each run's own."""

    def loss(run: RunConfig, n: int) -> float:
        mix = layout.parse(run.model.layout).share("attn")
        own = np.random.default_rng(int(run.run_id, 16)).normal()
        return float(2 + 0.05 * math.log(n / best(run)) ** 2 + 0.3 * (mix - share) ** 2 + noise * own)

    return loss


def rung(arch: str, index: int, like: RunConfig, recipe: Recipe = QUICK) -> RunConfig:
    """A run on a rung of the ladder, otherwise like another."""
    (run,) = Rules(recipe, like.data, like.threads, {}).runs(arch, like.budget, recipe.ladder[index], [like.seed])
    return run


def index(run: RunConfig, recipe: Recipe = QUICK) -> int:
    return recipe.ladder.index(replan.shape_of(run.model))


@pytest.mark.parametrize("side", [-1, 1])
def test_beyond_the_edge_lies_the_next_rung(side: int) -> None:
    configs = planned(ONE)
    edge = configs[0 if side < 0 else -1]
    beyond = rung("attn", index(edge) + side, edge)
    loss = bowl(lambda _: params(edge) ** 0.4 * params(beyond) ** 0.6)
    assert optimum(configs, loss, "attn", 1e11).status == "beyond grid"
    extension = extended(ONE, configs, loss)
    (proposal,) = extension.proposals
    assert proposal.runs == (beyond,)
    assert extension.limits == ()
    words = ("below", "smallest") if side < 0 else ("above", "largest")
    last = f"4 x {edge.model.d_model}"
    assert proposal.reason == f"best size of attn at 1e+11 lies {words[0]} the {words[1]} trained, {last}"
    assert optimum([*configs, beyond], loss, "attn", 1e11).status == "optimum"
    assert extended(ONE, [*configs, beyond], loss) == Extension((), ())


def test_extending_ends_when_the_minimum_is_inside() -> None:
    configs = planned(ONE)
    last = index(configs[-1])
    third = rung("attn", last + 3, configs[-1])
    loss = bowl(lambda _: 0.9 * params(third))
    rungs = []
    while new := added(extended(ONE, configs, loss)):
        rungs += [index(run) for run in new]
        configs += new
    assert rungs == [last + 1, last + 2, last + 3]
    assert optimum(configs, loss, "attn", 1e11).params == pytest.approx(0.9 * params(third))


def test_what_is_added_is_what_the_recipe_would_have_planned(tmp_path: Path) -> None:
    """Whatever was chosen of it: the outermost runs are left out of a sweep and come back to the letter."""
    changed = dataclasses.replace(QUICK, archs=("hyena", "attn"), match="params", seeds=(0, 3), channel="mlp")
    whole = planned(changed)
    ends = {run.run_id for run in whole if index(run) == max(index(r) for r in whole if r.budget == run.budget)}
    fewer = [run for run in whole if run.run_id not in ends]
    recipe = replan.recipe_of(fewer, tmp_path)
    assert (recipe.match, recipe.channel, recipe.device) == ("params", "mlp", "cpu")
    loss = bowl(lambda run: 1.001 * max(params(r) for r in fewer if r.budget == run.budget))
    extension = extended(recipe, fewer, loss)
    assert {run.run_id for run in added(extension)} == ends
    assert [len(proposal.runs) for proposal in extension.proposals] == [2] * 6


def test_nothing_where_every_minimum_is_inside_and_known() -> None:
    configs = planned(QUICK)
    middle = {run.budget: params(rung("attn", index(configs[15 * k + 2]), run)) for k, run in enumerate(configs[::25])}
    assert extended(QUICK, configs, bowl(lambda run: middle[run.budget])) == Extension((), ())


def test_the_widest_interval_per_flop_gets_another_seed() -> None:
    recipe = dataclasses.replace(QUICK, archs=("attn", "hyena"))
    configs = planned(recipe)
    loss = bowl(lambda run: recipe.optimal_params(run.budget), noise=0.012)
    cells = {(run.model.layout, run.budget) for run in configs}
    widths = {}
    for arch, budget in cells:
        ends = optimum(configs, loss, arch, budget).params_interval
        assert ends
        widths[arch, budget] = ends[1] / ends[0]
    wide = [cell for cell in cells if widths[cell] > TARGET]
    arch, budget = max(wide, key=lambda cell: math.log(widths[cell]) / cell[1])
    # neither the widest of all nor of the smallest budget whatever its width
    assert len(wide) > 2 and widths[arch, budget] < max(widths.values())
    extension = extended(recipe, configs, loss)
    (proposal,) = extension.proposals
    own = [run for run in configs if (run.model.layout, run.budget) == (arch, budget)]
    assert proposal.runs == tuple(dataclasses.replace(run, seed=1) for run in own)
    assert "so its sizes are trained with seed 1 too" in proposal.reason
    after = optimum([*configs, *proposal.runs], loss, arch, budget).params_interval
    assert after and after[1] / after[0] < widths[arch, budget]
    assert f"known to a factor of {widths[arch, budget]:.2g}" in proposal.reason


def test_a_rung_left_out_beside_the_minimum_comes_before_a_seed() -> None:
    configs = planned(dataclasses.replace(ONE, sizes=7))
    loss = bowl(lambda _: params(configs[3]), noise=0.03)
    fewer = [run for run in configs if run is not configs[3]]
    (proposal,) = extended(ONE, fewer, loss).proposals
    assert proposal.runs == (configs[3],)
    assert f"so 4 x {configs[3].model.d_model} is added between" in proposal.reason


def test_a_share_at_the_edge_gets_its_neighbour_that_the_depths_allow() -> None:
    configs = planned(DEEP)
    loss = bowl(lambda _: DEEP.optimal_params(1e11), share=0.05)
    extension = extended(DEEP, configs, loss)
    (proposal,) = extension.proposals
    assert [run.model.layout for run in proposal.runs] == ["hyena*7+attn"] * 5
    shapes = [(run.model.n_layers, run.model.d_model, run.seed) for run in proposal.runs]
    assert shapes == [(run.model.n_layers, run.model.d_model, run.seed) for run in configs[:5]]
    assert proposal.reason.endswith("with hyena at 1e+11 is at the edge of those trained, 0")
    again = extended(DEEP, [*configs, *proposal.runs], loss)
    assert again.proposals == ()
    (limit,) = again.limits
    assert limit.endswith("depths of 8 layers have no other share from 0 to 0.12")


def test_a_share_known_less_well_than_its_neighbours_are_apart_gets_one_between() -> None:
    """Losses of shares that no parabola passes through, at sizes that a parabola does."""
    configs = planned(DEEP)
    off = {"hyena": 0.0, "hyena*3+attn": 0.01, "hyena+attn": -0.012, "hyena+attn*3": 0.01, "attn": 0.0}
    smooth = bowl(lambda _: DEEP.optimal_params(1e11), share=0.6)
    extension = extended(DEEP, configs, lambda run, n: smooth(run, n) + off.get(run.model.layout, 0.0))
    (proposal,) = extension.proposals
    assert [run.model.layout for run in proposal.runs] == ["hyena*3+attn*5"] * 5
    assert "an interval wider than the gap from 0.5 to 0.75" in proposal.reason


def test_shares_wait_for_sizes() -> None:
    configs = planned(DEEP)
    below = params(rung("attn", index(configs[-5], DEEP) - 1, configs[-5], DEEP))
    loss = bowl(lambda run: 1.1 * below if run.model.layout == "attn" else DEEP.optimal_params(1e11), share=0.05)
    assert {run.model.layout for run in added(extended(DEEP, configs, loss))} == {"attn"}


def test_a_share_that_no_depth_allows_is_said() -> None:
    configs = planned(dataclasses.replace(QUICK, budgets=(1e11,)))
    extension = extended(QUICK, configs, bowl(lambda _: QUICK.optimal_params(1e11), share=0.05))
    assert extension.proposals == ()
    assert extension.limits == (
        "best share of attention with hyena at 1e+11 is at the edge of those trained, 0: depths of 4 layers have no "
        "other share from 0 to 0.25",
    )


def test_the_end_of_the_ladder_is_said() -> None:
    configs = planned(ONE)
    short = dataclasses.replace(ONE, ladder=LADDER[: index(configs[-1]) + 1])
    extension = extended(short, configs, bowl(lambda _: 2.0 * params(configs[-1])))
    assert extension.proposals == ()
    assert extension.limits == (
        f"best size of attn at 1e+11 lies above the largest trained, 4 x {configs[-1].model.d_model}: the ladder of "
        "recipe 'quick' ends there, so add a shape to it",
    )


def test_a_budget_that_pays_for_no_larger_size_is_said() -> None:
    recipe = dataclasses.replace(ONE, budgets=(4e8,), optimal_params=PowerRule(1e4, 4e8, 0.5), seq_len=32)
    configs = planned(recipe)
    extension = extended(recipe, configs, bowl(lambda _: 2.0 * params(configs[-1])))
    assert extension.proposals == ()
    assert "4 x 24: budget 4e+08 is too small: it pays for " in extension.limits[0]


def test_what_diverged_is_not_planned_again() -> None:
    configs = planned(ONE)
    beyond = rung("attn", index(configs[-1]) + 1, configs[-1])
    good = bowl(lambda _: 1.2 * params(configs[-1]))
    extension = extended(ONE, [*configs, beyond], lambda run, n: math.nan if run == beyond else good(run, n))
    assert extension.proposals == ()
    assert extension.limits[0].endswith("the runs that it needs did not end with a loss")


def test_a_sweep_by_a_tunings_laws_is_extended_by_them(tmp_path: Path) -> None:
    table = tuning_table.tuning(tuning_table.planted({"attn": 1.0}), noise=0.0)
    for name in ("t", "s"):
        (tmp_path / name).mkdir()
    table.to_parquet(tmp_path / "t/runs.parquet")
    runs = screen(table)
    source = f"t@{version(runs)}"
    gpu = dataclasses.replace(recipes.find("gpu"), archs=("attn",), budgets=(1e15,))
    configs = planning.plan(gpu, MANIFEST, 0, rules(tuned(runs), gpu, source))
    loss = bowl(lambda _: 1.1 * params(configs[-2]))
    planned_table.table(configs[:-1], loss).to_parquet(tmp_path / "s/runs.parquet")
    recipe, extension = of_sweep(Ledger(tmp_path / "s"))
    assert (recipe.name, recipe.device) == ("gpu", "cuda")
    assert added(extension) == configs[-1:] and configs[-1].settings == source
    table.assign(loss=table["loss"] + 1e-9).to_parquet(tmp_path / "t/runs.parquet")
    with pytest.raises(UserError, match=f"was planned by {source}, and .*/t is version .* now; put it back"):
        of_sweep(Ledger(tmp_path / "s"))
