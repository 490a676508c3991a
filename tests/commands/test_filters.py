"""`eutectic filters`: tables printed and kept, figures of them, and a sentence where there is no convolution."""

import json
from dataclasses import replace
from pathlib import Path

import inside
import pandas as pd
import pytest
import torch

from eutectic.analysis import schema
from eutectic.analysis.load import read_table
from eutectic.arch.mixers.hyena import Hyena
from eutectic.arch.model import build
from eutectic.config import RunConfig, canonical_json
from eutectic.train import checkpoint
from eutectic.train.shards import Manifest

LAYOUTS = {"one": "hyena+attn", "other": "hyena_se+s4d(d_state=4)", "none": "attn"}
RADIUS = 0.9


@pytest.fixture
def place(tmp_path: Path, small_run: RunConfig) -> Path:
    """A folder with trained runs; all poles of `one` are RADIUS exp(0.5 i)."""
    for name, layout in LAYOUTS.items():
        run = replace(small_run, model=replace(small_run.model, layout=layout))
        model = build(run.model, 9)
        if name == "one":
            mixer = model.get_submodule("blocks.0.mixer")
            assert isinstance(mixer, Hyena)
            with torch.no_grad():
                mixer.filter.log_decay.copy_(torch.tensor(RADIUS).log().neg().log())
                mixer.filter.angle.fill_(0.5)
        folder = tmp_path / "s/runs" / name
        folder.mkdir(parents=True)
        checkpoint.save_weights(folder / "weights.safetensors", canonical_json(run.to_dict()), model)
    return tmp_path


def eutectic(place: Path, manifest: Manifest, *words: str) -> inside.Done:
    return inside.eutectic(*words, "--results", ".", cwd=place, EUTECTIC_CACHE=str(Path(manifest.folder).parents[1]))


def test_filters_are_told_kept_and_drawn(place: Path, manifest: Manifest) -> None:
    command = ["filters", *(f"s/runs/{name}" for name in LAYOUTS)]
    shown = eutectic(place, manifest, *command)
    assert shown.returncode == 0
    assert shown.stderr == "none (attn) has no layer with a convolution to look at.\n"
    assert "hyena+attn, one, trained on sequences of 32" in shown.stdout
    assert not list(place.rglob("*.parquet"))
    for _ in range(2):  # the second time in the place of the first
        told = eutectic(place, manifest, *command, "--name", "s", "--json")
        layers = {(row["model"], row["layer"]): row for row in json.loads(told.stdout)}
        assert list(layers) == [("one", 0), ("other", 0), ("other", 1)]
        own = layers["one", 0]  # 1 / -ln 0.9
        assert own["time_constant"] == own["time_constant_90"] == pytest.approx(9.491, abs=1e-3)
        assert layers["other", 0]["time_constant"] is layers["other", 0]["longer"] is None
        assert layers["other", 0]["memory_90"] <= 6  # of 7 taps
        tables = {name: read_table(place / "s", name) for name in ("filters", "poles")}
        filters, poles = tables["filters"], tables["poles"]
        assert filters is not None and poles is not None
        assert poles.groupby(["model", "layer"]).size().to_dict() == {("one", 0): 16 * 2, ("other", 1): 16 * 2}
        set_by_hand = poles[poles["model"] == "one"]
        assert set_by_hand["radius"].to_numpy() == pytest.approx(RADIUS, abs=1e-6)
        assert set_by_hand["angle"].to_numpy() == pytest.approx(0.5, abs=1e-6)
        assert filters.groupby(["model", "layer"])["channel"].nunique().tolist() == [5, 5, 5]
        assert set(filters["seq_len"]) == {32} and filters["arch"].unique().tolist() == [*LAYOUTS.values()][:2]
        for name, table in (("filters", filters), ("poles", poles)):
            assert not table.duplicated([*schema.KEYS[name]]).any()
    drawn = eutectic(place, manifest, "figures", "--name", "s")
    names = [f"{name}.{kind}" for name in ("filters", "poles") for kind in ("png", "svg")]
    assert drawn.stdout.split() == [f"s/figures/{name}" for name in names]


def test_where_there_are_no_poles_none_are_kept(place: Path, manifest: Manifest, small_run: RunConfig) -> None:
    run = replace(small_run, model=replace(small_run.model, layout="hyena_mr"))
    (place / "s/runs/taps").mkdir()
    weights = place / "s/runs/taps/weights.safetensors"
    checkpoint.save_weights(weights, canonical_json(run.to_dict()), build(run.model, 9))
    shown = eutectic(place, manifest, "filters", "s/runs/taps", "--name", "s")
    assert shown.returncode == 0 and "hyena_mr" in shown.stdout
    assert not (place / "s/poles.parquet").exists()
    drawn = eutectic(place, manifest, "figures", "--name", "s")
    assert drawn.stdout.split() == ["s/figures/filters.png", "s/figures/filters.svg"]


def test_what_cannot_be_is_said(place: Path, manifest: Manifest) -> None:
    done = eutectic(place, manifest, "filters", "s/runs/none", "--name", "s")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "none (attn) has no layer with a convolution to look at.\n"
    assert not list(place.rglob("*.parquet"))
    assert eutectic(place, manifest, "filters", "s/runs/one", "s/runs/gone").stderr.startswith("eutectic: no model at")
    pd.DataFrame({"model": ["x"]}).to_csv(place / "s/poles.parquet")
    refused = eutectic(place, manifest, "filters", "s/runs/one", "--name", "s")
    assert refused.returncode == 1 and "s/poles.parquet cannot be read" in refused.stderr
    assert not (place / "s/filters.parquet").exists()
