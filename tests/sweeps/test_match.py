"""Architectures matched to attention have its parameters or its FLOPs, rung by rung."""

import dataclasses

import pytest

from eutectic.arch import flops
from eutectic.errors import UserError
from eutectic.sweeps import match
from eutectic.sweeps import plan as planning
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps.recipe import Recipe
from eutectic.train.shards import Manifest

MANIFEST = Manifest("sotu", "bytes", "c" * 64, "t" * 64, 256, "uint16", 249, 10, 11_000_000, 460_000, 1.0, "")
ARCHS = ("attn", "hyena*3+attn", "hyena", "gla*2+swa+attn@spread")
LARGE = ("mamba2*3+attn", "mamba")  # cost more than attention and SwiGLU together at small widths


def recipe(mode: str, **changes: object) -> Recipe:
    return dataclasses.replace(recipes.find("quick"), match=mode, archs=ARCHS, budgets=(3e14,), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["params", "flops"])
def test_a_rungs_architectures_agree(mode: str) -> None:
    archs = ARCHS + LARGE if mode == "params" else ARCHS
    rows = planning.plan(dataclasses.replace(recipe(mode), archs=archs), MANIFEST, 1)
    by_width: dict[int, list[float]] = {}
    assert len(rows) == len(archs) * 5
    for row in rows:
        counts = flops.count(row.model, 128, row.conv_algorithm)
        size = counts.params if mode == "params" else counts.training_flops("exact-causal", 128)
        by_width.setdefault(row.model.d_model, []).append(size)
        assert row.match == mode
    assert [len(sizes) for sizes in by_width.values()] == [len(archs)] * 5
    for sizes in by_width.values():
        assert max(sizes) / min(sizes) < 1 + 2 * match.TOLERANCE


def test_unmatched_architectures_do_not_agree() -> None:
    """Else the test above would pass without any matching."""
    shape = recipes.LADDER[7]
    sizes = [
        flops.count(
            planning._model(recipe("width"), planning.data_of(recipe("width"), MANIFEST), arch, shape), 128
        ).params
        for arch in ARCHS
    ]
    assert max(sizes) / min(sizes) > 1.1


def test_attention_matches_itself_unchanged() -> None:
    plain = planning.plan(recipe("width"), MANIFEST, 1)
    matched = planning.plan(recipe("params"), MANIFEST, 1)
    assert [row.run_id for row in plain if row.model.layout == "attn"] == [
        row.run_id for row in matched if row.model.layout == "attn"
    ]


def test_what_has_no_channel_mixer_is_refused() -> None:
    with pytest.raises(UserError, match=r"of width .* with channel mixer none cannot have attn's params"):
        planning.plan(recipe("params", channel="none"), MANIFEST, 1)
