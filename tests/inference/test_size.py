"""Bytes that decoding keeps."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from zoo import CASES, IDS, shape

from eutectic import cli
from eutectic.arch.model import blank
from eutectic.inference.size import sizes, with_shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("layout", "channel"), CASES, ids=IDS)
def test_the_formula_is_the_tensors(layout: str, channel: str, dtype: torch.dtype) -> None:
    for length in (0, 1, 100, 3000):
        found = sizes(shape(layout, channel), length, dtype)
        assert sum(kind.layers for kind in found.kinds) == 2
        for kind in found.kinds:
            assert kind.formula == kind.measured


def test_striped_hyenas_shape_saves_what_is_published_of_it() -> None:
    """Half attention saves 49.96% of a GQA-8 Transformer's 32k tokens, and half at no length; a quarter 74.9%."""
    at = 32_768
    archs = "attn", "hyena+attn", "hyena*3+attn"
    attn, half, quarter = (sizes(with_shape("7b", arch), at, torch.bfloat16) for arch in archs)
    assert attn.total == 32 * 2 * at * 8 * 128 * 2
    assert round(1 - half.total / attn.total, 4) == 0.4996
    assert round(1 - quarter.total / attn.total, 3) == 0.749
    assert 2 * half.total > attn.total


def test_the_committed_table_is_the_formula_and_the_tensors() -> None:
    """bench/serving.py writes it anew. Made again here are the tensors of the fewest tokens."""
    table = pd.read_parquet(Path(__file__).parents[2] / "results/serving/cache.parquet")
    assert sorted(table["length"].unique()) == [2**k for k in range(10, 21)]
    for layout, own in table.groupby("layout"):
        model = blank(with_shape("7b", str(layout)))
        assert own["bytes"].tolist() == [model.state_size(length).bytes(torch.bfloat16) for length in own["length"]]
        shape, fewest = with_shape("7b", str(layout)), own.loc[own["length"].idxmin()]
        assert sizes(shape, int(fewest["length"]), torch.bfloat16).measured == fewest["measured"]
    assert table["measured"].tolist() == table["bytes"].tolist()
    assert (table.loc[table["layout"] == "hyena+attn", "saved"] < 0.5).all()


def test_the_command_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["cache", "--archs", "attn", "hyena+attn", "--lengths", "64", "1000", "--shape", "4x64x4x2"]
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    assert cli.main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["length"] for row in found["attn"]] == [64, 1000]
    (attn,) = found["attn"][1]["kinds"]
    assert attn == {"kind": "attn", "layers": 4, "formula": 2 * 1000 * 32 * 2, "measured": 2 * 1000 * 32 * 2}
    hybrid = sum(kind["layers"] * kind["measured"] for kind in found["hyena+attn"][1]["kinds"])
    assert f"{100 * (1 - hybrid / (4 * attn['formula'])):.3f}"[:-1] + "%" in told


def test_what_memory_does_not_hold_is_told_by_formula(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", "--archs", "attn", "--lengths", str(10**14), "--json"]) == 0
    (kind,) = json.loads(capsys.readouterr().out)["attn"][0]["kinds"]
    assert kind["formula"] == 10**14 * 2 * 8 * 128 * 2 and kind["measured"] is None
    assert cli.main(["cache", "--archs", "attn", "--lengths", str(10**14)]) == 0
    assert f"{kind['formula']:,}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shape", "8x512"], "--shape '8x512' is no shape"),
        (["--shape", "8x512x3x1"], "the width is to be a multiple of the heads"),
        (["--shape", "8x512x8x3"], "the width is to be a multiple of the heads"),
        (["--lengths", "many"], "--lengths 'many' is not a whole number"),
    ],
)
def test_what_cannot_be_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", "--archs", "attn", *words]) == 1
    assert said in capsys.readouterr().err
