"""Every planned row keeps the promises of a plan, whatever the budget and the architecture."""

import dataclasses
import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.arch import flops
from eutectic.arch.model import build
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import cost
from eutectic.sweeps import graft as grafts
from eutectic.sweeps import plan as planning
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps.recipe import Recipe
from eutectic.train.shards import Manifest

MANIFEST = Manifest("sotu", "bytes", "c" * 64, "t" * 64, 256, "uint16", 249, 10, 11_000_000, 460_000, 1.0, "")
QUICK = recipes.find("quick")
RESULTS = Path(__file__).parents[2] / "results"


def plan(recipe: Recipe = QUICK, manifest: Manifest = MANIFEST, threads: int = 1, **changes: object) -> list[RunConfig]:
    return planning.plan(dataclasses.replace(recipe, **changes), manifest, threads)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(
    exponent=st.floats(10, 19),
    arch=st.sampled_from(["attn", "hyena", "hyena*3+attn", "hyena+attn*3"]),
    convention=st.sampled_from(flops.CONVENTIONS),
    seq_len=st.sampled_from([64, 256, 1000]),
)
def test_a_row_keeps_its_promises(exponent: float, arch: str, convention: str, seq_len: int) -> None:
    budget = 10**exponent
    try:
        rows = plan(budgets=(budget,), archs=(arch,), convention=convention, seq_len=seq_len)
    except UserError as error:
        assert "too small" in str(error) or "too large" in str(error)
        return
    assert len(rows) == QUICK.sizes
    sizes = []
    for row in rows:
        counts = flops.count(row.model, seq_len, row.conv_algorithm)
        realized = row.sequences * counts.training_flops(convention, seq_len)
        assert abs(realized / budget - 1) <= 0.01
        assert row.batch_size % row.micro_batch == 0
        assert row.micro_batch * seq_len <= max(QUICK.micro_tokens, seq_len)
        assert row.steps >= planning.FEWEST_STEPS
        assert row.optim.lr == pytest.approx(QUICK.lr(counts.params), rel=0.01)
        wished = QUICK.batch_tokens(row.tokens) / seq_len
        if row.steps > 2 * planning.FEWEST_STEPS and row.batch_size * seq_len <= QUICK.micro_tokens:
            assert abs(row.batch_size - wished) <= 0.5 or row.batch_size == 1
        sizes.append(counts.params)
    expected = QUICK.optimal_params(budget)
    assert sizes == sorted(sizes)
    # the middle size is the nearest to the expected best, so two lie on either side of it
    assert min(sizes, key=lambda n: abs(math.log(n / expected))) == sizes[2]


def test_a_graft_has_its_parents_rate_and_the_batch_of_all_tokens() -> None:
    """At a thirtieth of the parent's compute the rule of its own tokens alone would give a batch of one sequence."""
    parent = plan(budgets=(1e11,), archs=("attn",))[2]
    of = grafts.Parent(parent, build(parent.model, 0), "p", Path(), QUICK, 1e11, 2.0, "", 0)
    run, other = grafts.plan(of, ("attn", "hyena*3+attn"), (3e9,), [1])
    assert (run.model, other.model) == (parent.model, dataclasses.replace(parent.model, layout="hyena*3+attn"))
    assert run.optim == other.optim == parent.optim
    for one in (run, other):
        assert one.batch_size == round(QUICK.batch_tokens(parent.tokens + one.tokens) / QUICK.seq_len)
        assert round(QUICK.batch_tokens(one.tokens) / QUICK.seq_len) == 1


def test_the_quick_sweep_is_no_toy() -> None:
    rows = plan()
    cells = {(row.budget, row.model.layout) for row in rows}
    assert len({budget for budget, _ in cells}) >= 3
    assert len({arch for _, arch in cells}) >= 5
    assert len(rows) == 5 * len(cells)
    assert sum(cost.estimate(row, "cpu").seconds for row in rows) / QUICK.workers < 600
    assert len({row.run_id for row in rows}) == len(rows)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_plans(name: str) -> None:
    recipe = recipes.find(name)
    rows = plan(recipe)
    assert len(rows) == len(recipe.budgets) * len(recipe.archs) * recipe.sizes * len(recipe.seeds)
    assert recipe.name == name


def test_filters_of_a_length_are_made_for_the_recipes() -> None:
    rows = plan(archs=("hyena_implicit*3+attn", "monarch(max_length=32)"), budgets=(1e13,))
    assert {row.model.layout for row in rows} == {"hyena_implicit(max_length=128)*3+attn", "monarch(max_length=32)"}


def test_the_run_id_is_of_what_determines_the_loss() -> None:
    row = plan()[0]
    elsewhere = dataclasses.replace(row, recipe="other", data=dataclasses.replace(row.data, source="/a/copy"))
    assert elsewhere.run_id == row.run_id
    changed = [
        dataclasses.replace(row, seed=1),
        dataclasses.replace(row, threads=2),
        dataclasses.replace(row, precision="bf16"),
        dataclasses.replace(row, micro_batch=1),
        dataclasses.replace(row, model=dataclasses.replace(row.model, layout="hyena*2")),
        dataclasses.replace(row, optim=dataclasses.replace(row.optim, lr=1.0)),
        dataclasses.replace(row, optim=dataclasses.replace(row.optim, init_scale=0.5)),
        dataclasses.replace(row, data=dataclasses.replace(row.data, corpus_sha256="d" * 64)),
        dataclasses.replace(row, data=dataclasses.replace(row.data, tokenizer_sha256="d" * 64)),
    ]
    assert len({row.run_id, *(c.run_id for c in changed)}) == 1 + len(changed)
    assert RunConfig.from_dict(row.to_dict()) == row


@pytest.mark.parametrize("name", ["h200", "h100-tune"])
def test_runs_of_earlier_versions_keep_their_names(name: str) -> None:
    """Their configs have not the fields that came later."""
    rows = pq.read_table(RESULTS / name / "runs.parquet", columns=["run_id", "config"]).to_pylist()
    assert [RunConfig.from_dict(json.loads(row["config"])).run_id for row in rows] == [row["run_id"] for row in rows]


def test_a_field_of_a_newer_version_is_named() -> None:
    fields = plan()[0].to_dict()
    with pytest.raises(UserError, match="run config with later, which this version"):
        RunConfig.from_dict(fields | {"later": 1})
    with pytest.raises(UserError, match="run config with later, newer, which this version"):
        RunConfig.from_dict(fields | {"model": fields["model"] | {"newer": 1, "later": 2}})


def test_seeds_multiply_rows_and_nothing_else_changes() -> None:
    rows = plan(budgets=(1e11,), archs=("attn",), seeds=(0, 1))
    assert [row.seed for row in rows] == [0, 1] * QUICK.sizes
    assert dataclasses.replace(rows[1], seed=0) == rows[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budgets": (1e7,)}, "budget 1e\\+07 is too small.*use about .* FLOPs or more"),
        ({"budgets": (1e30,)}, "too large for the ladder"),
        ({"archs": ("hyenna",)}, "did you mean 'hyena'"),
        ({"archs": ("hyena*2+attn",)}, "block of 3 layers, which does not divide a depth of 4"),
        ({"seq_len": 10_000_000}, "too few for sequences of 10000000"),
    ],
)
def test_what_cannot_be_planned_is_said(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan(**changes)  # type: ignore[arg-type]


def test_the_smallest_budget_named_is_one_that_works() -> None:
    with pytest.raises(UserError) as caught:
        plan(budgets=(1e7,), archs=("attn",))
    named = float(str(caught.value).partition("use about ")[2].split()[0])
    assert len(plan(budgets=(1.5 * named,), archs=("attn",))) == QUICK.sizes


def test_a_row_that_cannot_fit_is_refused() -> None:
    rows = plan(budgets=(1e18,), archs=("attn",))
    needed = max(cost.estimate(row, "cpu", available=0).memory for row in rows)
    cost.refuse_too_large(rows, "cpu", needed)
    with pytest.raises(UserError, match=r"needs about .* GB at budget 1e\+18 and a worker has"):
        cost.refuse_too_large(rows, "cpu", needed * 0.999)


def test_a_cluster_is_asked_for_more_than_the_largest_run_needs() -> None:
    """Clusters give a job that asks for none as little as 200 MB, which torch alone exceeds."""
    rows = plan()
    needed = max(cost.estimate(row, "cpu").memory for row in rows)
    assert cost.job_memory(rows, "cpu") == 2 * needed > 1e9


def test_no_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device cuda was asked for and torch finds no GPU"):
        cost.available_memory("cuda", 1)


def test_runs_beyond_the_epochs_that_a_recipe_allows_are_left_out_by_cell() -> None:
    """Two seeds of a cell are left out in one line, and the largest of those that stay is within the epochs."""
    rows = plan(archs=("attn",), seeds=(0, 1), seq_len=128)
    epochs = [row.sequences / (11_000_000 // 128 - 1) for row in rows]
    most = sorted(set(epochs))[-3]
    recipe = dataclasses.replace(QUICK, max_epochs=most * 1.001)
    kept, left_out = planning.within_epochs(recipe, MANIFEST, rows)
    assert kept == [row for row, of in zip(rows, epochs, strict=True) if of <= most * 1.001]
    assert len(rows) - len(kept) == 4
    words = [f"{of:.1f} epochs of the text" for of in sorted(set(epochs), reverse=True)[:2]]
    assert [line.split(": ")[1] for line in left_out] == words
    assert planning.within_epochs(QUICK, MANIFEST, rows) == (rows, [])
