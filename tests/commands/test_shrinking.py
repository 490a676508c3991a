"""`eutectic distill` and `eutectic prune`: an ordinary model in a new folder, rows in a table, or one sentence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import inside
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from eutectic.arch.model import build
from eutectic.config import RunConfig, canonical_json
from eutectic.inference import speed
from eutectic.inference.load import load
from eutectic.inference.score import held_out, perplexity
from eutectic.train import checkpoint
from eutectic.train.shards import Manifest

LAYOUTS = {"long": "rtf(order=4)+attn", "modal": "hyena+attn"}


@pytest.fixture
def place(tmp_path: Path, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with trained runs s/runs/long and s/runs/modal, of three modes."""
    monkeypatch.setattr(speed, "BURSTS", 1)
    monkeypatch.setattr(speed, "STEPS", 2)
    for name, layout in LAYOUTS.items():
        run = replace(small_run, model=replace(small_run.model, layout=layout, n_modes=3))
        folder = tmp_path / "s/runs" / name
        folder.mkdir(parents=True)
        checkpoint.save_weights(folder / "weights.safetensors", canonical_json(run.to_dict()), build(run.model, 9))
    return tmp_path


def eutectic(place: Path, manifest: Manifest, *words: str) -> inside.Done:
    return inside.eutectic(*words, cwd=place, EUTECTIC_CACHE=str(Path(manifest.folder).parents[1]))


def test_a_distilled_model_is_an_ordinary_one(place: Path, manifest: Manifest) -> None:
    words = ["distill", "s/runs/long", "--order", "3", "--results", "."]
    done = eutectic(place, manifest, *words, "--to", "s/models/short", "--name", "s")
    assert done.returncode == 0, done.stderr
    cache = Path(manifest.folder).parents[1]
    before, after = (load(place / path, cache) for path in ("s/runs/long", "s/models/short"))
    assert before.run is not None and after.run is not None
    assert (after.run.model.layout, after.run.recipe) == ("hyena+attn", "test, distilled to order 3")
    (row,) = pd.read_parquet(place / "s/distill.parquet").to_dict("records")
    text = held_out(before.run, manifest)
    assert row["run_id"] == before.run.run_id and len(text) == before.run.data.valid_sequences
    assert row["perplexity_before"] == pytest.approx(perplexity(before.model, text))
    assert row["perplexity"] == pytest.approx(perplexity(after.model, text))
    assert f"{row['perplexity_before']:.4g} -> {row['perplexity']:.4g}" in done.stdout
    written = eutectic(place, manifest, "generate", "s/models/short", "--prompt", "tin", "--tokens", "3")
    assert written.returncode == 0 and written.stdout.startswith("tin")
    # the same again replaces its rows, and another order adds its own
    assert eutectic(place, manifest, *words, "--to", "b", "--name", "s", "--json").returncode == 0
    words[3] = "2"
    told = eutectic(place, manifest, *words, "--to", "c", "--name", "s", "--json")
    assert json.loads(told.stdout)["rows"][0]["max_order"] == 2
    assert sorted(pd.read_parquet(place / "s/distill.parquet")["max_order"]) == [2, 3]


def test_a_pruned_model_is_judged_by_one_half_and_told_of_the_other(place: Path, manifest: Manifest) -> None:
    words = ["prune", "s/runs/modal", "--results", ".", "--name", "s"]
    done = eutectic(place, manifest, *words, "--budget", "0.5", "--to", "small")
    assert done.returncode == 0, done.stderr
    cache = Path(manifest.folder).parents[1]
    kept = load(place / "small", cache)
    assert kept.run is not None and kept.run.model.n_modes == 1
    rows = pd.read_parquet(place / "s/prune.parquet")
    assert rows["modes"].tolist() == [3, 2, 1] and rows["within_budget"].all()
    judged, reported = held_out(kept.run, manifest).chunk(2)
    last: dict[str, Any] = rows.iloc[-1].to_dict()
    assert last["judged_perplexity"] == pytest.approx(perplexity(kept.model, judged))
    assert last["perplexity"] == pytest.approx(perplexity(kept.model, reported))
    assert "hyena+attn" in done.stdout and f"{last['state_bytes']:,}" in done.stdout
    assert eutectic(place, manifest, *words, "--budget", "1e-9", "--to", "whole", "--json").returncode == 0
    assert len(pd.read_parquet(place / "s/prune.parquet")) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["distill", "s/runs/modal", "--order", "3", "--to", "x"], "hyena+attn has no long filters to distill"),
        (
            ["distill", "s/runs/long", "--order", "16", "--to", "x"],
            "layer 0 (blocks.0.mixer): filters of 32 taps cannot",
        ),
        (["distill", "s/runs/long", "--order", "0", "--to", "x"], "--order 0 keeps nothing"),
        (["distill", "s/runs/long", "--order", "3", "--to", "s"], "--to s is there already"),
        (
            ["distill", "s/runs/long", "--order", "3", "--to", "s/runs/x"],
            "--to s/runs/x is where a sweep has its runs",
        ),
        (["prune", "s/runs/long", "--to", "x"], "rtf(order=4)+attn of 3 modes has none to spare"),
        (["prune", "s/runs/none", "--to", "x"], "no model at s/runs/none"),
        (["prune", "s/runs/modal", "--to", "x", "--budget", "0"], "--budget 0 cannot be used"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(
    words: list[str], said: str, place: Path, manifest: Manifest
) -> None:
    done = eutectic(place, manifest, *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert said in done.stderr
    assert not (place / "x").exists() and not (place / "s/runs/x").exists()


def test_damaged_tables_and_weights_are_refused(place: Path, manifest: Manifest) -> None:
    (place / "s/prune.parquet").write_text("no parquet")
    words = ["prune", "s/runs/modal", "--to", "x", "--results", ".", "--name", "s"]
    assert "s/prune.parquet cannot be read" in eutectic(place, manifest, *words).stderr
    path = place / "s/runs/modal/weights.safetensors"
    save_file(load_file(path), path)
    assert "cannot read the weights" in eutectic(place, manifest, *words[:3], "y").stderr
