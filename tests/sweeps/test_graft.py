"""A sweep of grafts through the command line: what it begins from, what that cost, and what it is measured against."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import inside
import pandas as pd
import pytest
import tiny

from eutectic.arch import flops
from eutectic.config import RunConfig
from eutectic.inference import graft
from eutectic.sweeps import provenance, recipe_file, worker
from eutectic.sweeps.graft import Choice, parent_of
from eutectic.sweeps.ledger import Ledger
from eutectic.train.shards import Manifest


@pytest.fixture(scope="module")
def place(small_run: RunConfig, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with the sweep results/p of one trained run, and the cache."""
    folder, cache = tmp_path_factory.mktemp("graft"), Path(manifest.folder).parents[1]
    ledger, run = Ledger(folder / "results/p"), dataclasses.replace(small_run, recipe="tiny")
    provenance.open_sweep(ledger.folder, provenance.of_code(), False)
    recipe_file.keep(recipe_file.load(Path(tiny.__file__)), ledger.folder)
    ledger.add([run])
    worker.work(ledger.folder, [run.run_id], worker.Place("cpu", cache))
    return folder, cache


def told(place: tuple[Path, Path], *options: str, name: str = "p-graft") -> Any:
    (run,) = (place[0] / "results/p/runs").iterdir()
    done = inside.eutectic(
        "graft", str(run), *options, "--name", name, "--json", cwd=place[0], EUTECTIC_CACHE=str(place[1])
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(place: tuple[Path, Path], *options: str) -> str:
    (run,) = (place[0] / "results/p/runs").iterdir()
    done = inside.eutectic("graft", str(run), *options, cwd=place[0], EUTECTIC_CACHE=str(place[1]))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    return done.stderr


SWEEP = ("--archs", "attn", "--budget", "3e8", "--tokens", "640", "--scratch", "--cluster", "debug")


def test_grafts_are_measured_at_equal_compute(place: tuple[Path, Path]) -> None:
    report = told(place, *SWEEP)
    folder = place[0] / "results/p-graft"
    rows = pd.read_parquet(folder / "runs.parquet")
    parent = pd.read_parquet(next((place[0] / "results/p/runs").glob("*/run.parquet"))).iloc[0]
    assert list(report["statuses"].values()) == ["done"] * 4 and rows["run_id"].nunique() == 4
    begun, scratch = rows[rows["start"] != ""].set_index("arch"), rows[rows["start"] == ""].set_index("arch")
    assert set(begun.index) == set(scratch.index) == {"attn", "hyena+attn"}
    assert (begun["parent"] == parent["run_id"]).all() and scratch["parent"].isna().all()
    assert (begun["parent_flops"] == parent["flops"]).all() and (begun["parent_loss"] == parent["loss"]).all()
    # the parent begins as it ended, at no cost, and a graft costs what the regression did
    assert begun.loc["hyena+attn", "start_loss"] == pytest.approx(parent["loss"], rel=1e-6)
    run = RunConfig.from_dict(json.loads(parent["config"]))
    assert list(begun["graft_flops"][["hyena+attn", "attn"]]) == [0.0, graft.flops(run, "attn", 640)]
    total = begun["parent_flops"] + begun["graft_flops"] + begun["flops"]
    assert scratch["flops"].to_dict() == pytest.approx(total.to_dict(), rel=0.01)
    assert (begun["lr"] == run.optim.lr).all() and (begun["seed"] == run.seed + 1).all()
    # which is what the report has of them
    (grafts,) = report["report"]
    assert (grafts["arch"], grafts["flops"]) == ("hyena+attn", parent["flops"])
    for cell in grafts["cells"]:
        own, beside = cell["trained_on"], cell["scratch"]
        assert own["extra"] == pytest.approx(total[cell["arch"]] - parent["flops"])
        assert (own["loss"], beside["loss"]) == (begun["loss"][cell["arch"]], scratch["loss"][cell["arch"]])
    # and the same call trains nothing again, nor regresses
    before = {path: path.stat().st_mtime_ns for path in [*folder.glob("starts/*"), *folder.glob("runs/*/run.parquet")]}
    assert len(before) == 6 and told(place, *SWEEP) == report
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_graft_of_a_graft_counts_all_behind_it(place: tuple[Path, Path]) -> None:
    told(place, *SWEEP)
    rows = pd.read_parquet(place[0] / "results/p-graft/runs.parquet")
    one = rows[(rows["arch"] == "attn") & (rows["start"] != "")].iloc[0]
    again = parent_of(place[0] / "results/p-graft/runs" / one["run_id"], place[1], Choice())
    assert again.flops == one["flops"] + one["graft_flops"] + one["parent_flops"]
    assert again.loss == one["loss"]


def test_a_run_is_grafted_on_another_text(place: tuple[Path, Path], corpus: Path) -> None:
    """What is behind it is known, and its loss is of that text, on which it is judged."""
    (place[0] / "text").mkdir()
    for path in sorted(corpus.glob("*.txt"))[:6]:
        (place[0] / "text" / path.name).write_text(path.read_text().upper())
    told(place, *SWEEP[:6], "--cluster", "debug", "--source", "text", name="other")
    parent = pd.read_parquet(next((place[0] / "results/p/runs").glob("*/run.parquet"))).iloc[0]
    rows = pd.read_parquet(place[0] / "results/other/runs.parquet")
    assert (rows["parent_flops"] == parent["flops"]).all() and (rows["parent_loss"] > parent["loss"] + 1).all()
    assert (rows["corpus_sha256"] != parent["corpus_sha256"]).all() and (rows["parent"] != parent["run_id"]).all()
    itself = rows[rows["graft_flops"] == 0]
    assert (itself["start_loss"] == itself["parent_loss"]).all() and (itself["loss"] < itself["parent_loss"] - 1).all()


def test_a_scan_is_kept_and_names_layouts(place: tuple[Path, Path]) -> None:
    found = told(place, "--scan", "--to-mixer", "hyena", "--tokens", "640", name="s")
    told(place, "--scan", "--to-mixer", "swa(window=8)", "--tokens", "640", name="s")
    told(place, "--scan", "--to-mixer", "hyena", "--tokens", "640", name="s")  # which replaces the first
    rows = pd.read_parquet(place[0] / "results/s/sensitivity.parquet").sort_values(["new", "layer"])
    assert list(rows[["new", "layer", "old"]].itertuples(index=False, name=None)) == [
        ("hyena", 1, "attn"),
        ("swa(window=8)", 0, "hyena"),
        ("swa(window=8)", 1, "attn"),
    ]
    assert rows["rise"].iloc[0] == found["layers"][0]["rise"] and (rows["tokens"] == 640).all()
    assert (rows["rise_error"] > 0).all() and (rows["loss"] - rows["rise"]).std() < 1e-12


def test_a_graft_is_planned_without_being_made(place: tuple[Path, Path]) -> None:
    plan = told(place, *SWEEP, "--dry", name="dry")
    assert not (place[0] / "results/dry").exists()
    costs = [run["flops"] for run in plan["runs"]]
    (run,) = (place[0] / "results/p/runs").glob("*/config.json")
    parent = RunConfig.from_dict(json.loads(run.read_text()))
    spent = flops.count(parent.model, 32).training_flops("exact-causal", 32) * parent.sequences
    assert costs[2] == pytest.approx(spent + costs[0], rel=0.01)
    assert costs[3] == pytest.approx(spent + costs[1] + graft.flops(parent, "attn", 640), rel=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "say which layouts and how much further"),
        (["--archs", "attn"], "say which layouts and how much further"),
        (["--scan"], "--scan and --to-mixer go together"),
        (["--to-mixer", "hyena"], "--scan and --to-mixer go together"),
        (["--scan", "--to-mixer", "hyena+attn"], "is a layout of several layers"),
        (["--scan", "--to-mixer", "atn"], "unknown mixer 'atn'"),
        (["--archs", "attn", "--budget", "1e5"], "budget 1e+05 is too small"),
        (["--archs", "hyena*3+attn", "--budget", "1e8"], "does not divide a depth of 2"),
        (["--archs", "[hyena*3|attn]", "--budget", "1e8"], "needs heads in multiples of 4, and the parent has 2"),
        (["--archs", "attn", "--budget", "1e8", "--tokens", "0"], "--tokens 0 teaches nothing"),
        (["--archs", "attn", "--budget", "1e8", "--name", "p"], "holds another sweep, whose runs are not grafts"),
    ],
)
def test_what_cannot_be_grafted_is_said(options: list[str], words: str, place: tuple[Path, Path]) -> None:
    assert words in refusal(place, *options)


def test_nothing_else_is_planned_among_grafts(place: tuple[Path, Path]) -> None:
    told(place, *SWEEP)
    for command, words in (
        (["plan", "--extend", "p-graft"], "holds grafts, which more budgets"),
        (["plan", "--name", "p-graft"], "holds grafts, beside which no laws are fitted"),
    ):
        done = inside.eutectic(*command, cwd=place[0], EUTECTIC_CACHE=str(place[1]))
        assert done.returncode == 1 and words in done.stderr
