"""`eutectic probe` as it is used."""

import json
from pathlib import Path

import pandas as pd
import pytest

from eutectic.cli import main
from eutectic.sweeps.trials import Trials

TINY = ["--tasks", "recall(vocab=4,length=8)", "--width", "16", "--heads", "2", "--match", "width", "--tokens", "10000"]
TINY += ["--examples", "500", "--batch", "256", "--seeds", "0", "1", "--rates", "1e-2"]


def probe(tmp_path: Path, *words: str) -> int:
    return main(["probe", *words, "--results", str(tmp_path)])


def test_trials_are_done_shown_and_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe(tmp_path, "--archs", "attn", "hyena+attn", *TINY, "--cluster", "debug") == 0
    shown = capsys.readouterr().out
    assert "hyena+attn" in shown and "chance 0.5" in shown and "equal width" in shown
    table = pd.read_parquet(tmp_path / "probe" / "trials.parquet")
    assert table.groupby("arch").size().to_dict() == {"attn": 2, "hyena+attn": 2}
    assert table["test"].between(0, 1).all() and (table["tokens"] == 10_000).all()
    assert probe(tmp_path, "--archs", "attn", *TINY, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["statuses"].values()) == ["done"] and told["failed"] == {}
    assert probe(tmp_path, "--archs", "attn", "hyena", *TINY, "--dry") == 0
    assert "1 trials, 2 models" in (shown := capsys.readouterr().out) and "1 more are done" in " ".join(shown.split())
    assert probe(tmp_path, "--archs", "attn", *TINY, "--dry") == 0
    assert capsys.readouterr().out == "all 1 trials are done.\n"
    assert {row["arch"] for row in told["scores"]} == {"attn", "hyena+attn"}
    for words in (["--batch", "128"], ["--batch", "128", "--dry"]):  # it would stand beside that of 256 and cannot
        assert probe(tmp_path, "--archs", "hyena", *TINY, *words) == 1
        said = capsys.readouterr().err
        assert "with a batch of 32 and to hyena with one of 16, which" in said and said.count("\n") == 1
    assert Trials(tmp_path / "probe").uncollected() == {}
    assert pd.read_parquet(tmp_path / "probe" / "trials.parquet").equals(table)
    assert main(["figures", "--name", "probe", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "probe" / "figures" / "scores.png").stat().st_size > 10_000


@pytest.mark.parametrize("status", ["running", "done", "planned"])
def test_trials_that_others_are_at_count_before_their_rows_are_there(
    status: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(tmp_path, "--archs", "attn", *TINY, "--cluster", "debug") == 0
    folder = tmp_path / "probe"
    (one,) = (path.name for path in (folder / "trials").iterdir())
    (folder / "trials.parquet").unlink()
    if status != "done":
        (folder / "trials" / one / "trial.parquet").unlink()
    trials = Trials(folder)
    claim = trials.claim(one) if status == "running" else None
    assert trials.uncollected() == {one: status}
    refused = probe(tmp_path, "--archs", "hyena", *TINY, "--batch", "128", "--dry") == 1
    assert refused == (status != "planned") == ("to attn with a batch of 32" in capsys.readouterr().err)
    if claim:
        claim.release()


def test_scores_are_held_against_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2] / "results" / "h200"
    (tmp_path / "h200").mkdir()
    (tmp_path / "h200" / "runs.parquet").write_bytes((root / "runs.parquet").read_bytes())
    (tmp_path / "h200" / "curves.parquet").write_bytes((root / "curves.parquet").read_bytes())
    (tmp_path / "again").symlink_to(tmp_path / "h200")
    words = ["--archs", "attn", "hyena", *TINY, "--cluster", "debug", "--against"]
    assert probe(tmp_path, *words, "h200") == 0
    shown = capsys.readouterr().out
    assert "loss of h200: 2 layers, equal width" in shown
    assert "No scores: hyena*3+attn, hyena+attn, hyena+attn*3." in shown
    losses = tmp_path / "probe" / "losses.parquet"
    pd.read_parquet(losses)[:1].assign(sweep="old").to_parquet(losses)
    assert probe(tmp_path, *words, "again", "h200", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["correlations"]
    assert [row["sweep"] for row in rows] == ["again"] * 4 + ["h200"] * 4 and {row["n_layers"] for row in rows} == {2}
    kept = pd.read_parquet(losses)
    assert kept.groupby("sweep").size().to_dict() == {"again": 10, "h200": 10, "old": 1}
    assert kept.query("arch == 'attn' and budget == 1e15")["loss"].tolist() == [pytest.approx(2.949, abs=1e-3)] * 2
    assert main(["figures", "--name", "probe", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "probe" / "figures" / "correlation.png").stat().st_size > 10_000


def test_a_plan_is_shown_and_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--archs",
        "attn",
        "mamba2",
        "--tasks",
        "recall:length",
        "memorization",
        "--match",
        "state",
        "--state",
        "2048",
    ]
    assert probe(tmp_path, *words, "--dry", "--json") == 0
    plan = json.loads(capsys.readouterr().out)["trials"]
    assert len(plan) == 2 * (4 + 1) and {one["match"] for one in plan} == {"state"}
    assert {one["task"] for one in plan if one["arch"] == "mamba2"} >= {"recall(vocab=16,length=1024)"}
    assert probe(tmp_path, *words, "--dry") == 0
    assert "mamba2(d_state=12)" in capsys.readouterr().out
    assert {one["examples"] for one in plan} == {12_800, 256}
    assert probe(tmp_path, *words, "--dry", "--json", "--examples", "12800", "800") == 0
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 2 * len(plan)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "say which architectures"),
        (["--archs", "attn", "--state", "64"], "--state 64 is for --match state"),
        (["--archs", "atn"], "did you mean 'attn'"),
        (["--archs", "attn", "--tasks", "recal"], "no task is named 'recal'"),
        (["--archs", "attn", "--tasks", "recall:vocabulary"], "no axis 'vocabulary'"),
        (["--archs", "rwkv6", "--width", "32"], "cannot have attn's params"),
        (["--archs", "attn", "--heads", "5"], "--heads 5 do not divide a --width of 64"),
        (["--archs", "attn", "--seeds", "9223372036854775808"], "seed 9223372036854775808 is too large"),
        (["--archs", "attn", "--tasks", "recall(vocab=8,vocab=16)"], "gives vocab twice"),
        (["--archs", "attn", "--rates", "fast"], "rate 'fast' is not a number"),
        (["--archs", "attn", "--slurm", "partition=x"], "add --cluster slurm"),
        (["--archs", "attn", *TINY, "--against", "nowhere"], "nowhere/runs.parquet"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(tmp_path, *words) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and list(tmp_path.iterdir()) == []
