"""What a plan says of time, GPU hours and price, by where it is to run."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from inside import eutectic

from eutectic import config
from eutectic.cli import main
from eutectic.display.words import duration
from eutectic.sweeps.cost import Load, wall_seconds, worker_seconds
from eutectic.train.shards import identify

RESULTS = Path(__file__).parents[2] / "results"
PLAN = ["plan", "--device", "cuda", "--budget", "1e13", "--archs", "attn", "--memory", "1000", "--price", "3600"]


@pytest.mark.parametrize(
    ("place", "workers", "devices"),
    [
        (["--cluster", "slurm", "--workers", "3"], 3, 1),
        (["--cluster", "slurm", "--workers", "9"], 5, 1),  # no more than runs
        (["--cluster", "slurm", "--workers", "5", "--slurm", "array_parallelism=2"], 2, 1),
        (["--cluster", "slurm", "--workers", "2", "--devices", "4"], 2, 4),
        (["--cluster", "slurm", "--workers", "1", "--devices", "4", "--slurm", "nodes=2"], 1, 8),
        (["--workers", "5"], 3, 1),  # three GPUs are here, which five workers share
        (["--workers", "3", "--devices", "2"], 1, 2),
    ],
)
def test_hours_and_price_are_of_gpus(
    place: list[str],
    workers: int,
    devices: int,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EUTECTIC_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    command = [*PLAN, "--source", str(corpus), *place]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    runs = told["runs"]
    assert len(runs) == 5
    loads = [Load(seconds=run["seconds"], busy=run["busy"], at_once=run["at_once"]) for run in runs]
    assert main(command) == 0
    total = next(line.strip() for line in capsys.readouterr().out.splitlines() if "GPU hours" in line)
    seconds = devices * worker_seconds(loads, workers)
    gpus = "1 GPU" if workers * devices == 1 else f"{workers * devices} GPUs"
    assert f"about {duration(wall_seconds(loads, workers))} on {gpus}, {seconds / 3600:.2g} GPU hours" in total
    assert total.endswith(f"{seconds:.2f} at 3600 an hour of a GPU")
    figures = workers * devices, wall_seconds(loads, workers), seconds / 3600, seconds
    assert [told[key] for key in ("devices", "wall_seconds", "device_hours", "cost")] == pytest.approx(figures)
    scripts = 2 if "slurm" in place else 0
    assert [script.startswith("#!/bin/bash") for script in told["scripts"]] == [True] * scripts
    # what several GPUs compute they share, and what starts them they all wait for
    compute, starts = sum(run["flops"] for run in runs) / 50e12, 20.0 * devices * min(len(runs), workers)
    assert seconds >= compute + starts


def test_each_run_is_named_once(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hash of its whole config is most of what a run more costs a plan of thousands."""
    monkeypatch.setenv("EUTECTIC_CACHE", str(tmp_path))
    hashed = []
    monkeypatch.setattr(config, "canonical_json", lambda value: hashed.append(1) or json.dumps(value))
    assert main([*PLAN, "--source", str(corpus)]) == 0
    assert len(hashed) == 5


def test_what_reads_the_text_too_often_is_named_and_not_planned(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EUTECTIC_CACHE", str(tmp_path))
    recipe = tmp_path / "mine.py"
    command = [
        "plan",
        "--recipe",
        str(recipe),
        "--source",
        str(corpus),
        "--archs",
        "attn",
        "--budget",
        "1e10",
        "--json",
    ]

    def planned(epochs: float) -> tuple[int, str, str]:
        changed = f'dataclasses.replace(quick.RECIPE, name="mine", max_epochs={epochs})'
        recipe.write_text(f"import dataclasses\nfrom eutectic.sweeps.grids import quick\nRECIPE = {changed}\n")
        return main(command), *capsys.readouterr()

    def tokens(out: str) -> list[int]:
        return sorted(row["tokens"] for row in json.loads(out)["runs"])

    every = tokens(planned(0.0)[1])
    text = identify(str(corpus), "bytes", tmp_path).train_tokens
    status, out, said = planned(every[2] / text * 1.01)
    assert (status, tokens(out), said.count("left out: attn of width")) == (0, every[:3], 2)
    status, _, said = planned(0.001)
    assert status == 1
    assert "all 5 runs read the text over 0.001 times; give more text or lower budgets." in said


def test_a_plan_has_the_sizes_asked_for(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three of the recipe's five, those in the middle, and seven with one more at either end."""
    monkeypatch.setenv("EUTECTIC_CACHE", str(tmp_path))
    command = ["plan", "--archs", "attn", "--budget", "3e10", "--source", str(corpus), "--json", "--sizes"]

    def planned(sizes: str) -> tuple[int, list[str], str]:
        status, (out, said) = main([*command, sizes]), capsys.readouterr()
        return status, [run["run_id"] for run in json.loads(out)["runs"]] if status == 0 else [], said

    three, five, seven = (planned(n)[1] for n in "357")
    assert (len(five), three, seven[1:-1]) == (5, five[1:-1], five)
    status, _, said = planned("4")
    assert status == 1
    assert "--sizes 4 has no middle to stand at the size expected best; give an odd number." in said


def test_a_plan_without_the_laws_that_its_recipe_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    shutil.copytree(RESULTS / "campaign/tune", tmp_path / "results/tune")
    (tmp_path / "mine.py").write_text(
        "import dataclasses\nfrom eutectic.sweeps.grids.quick import RECIPE as QUICK\n"
        'RECIPE = dataclasses.replace(QUICK, name="mine", tuned_like="gla")\n'
    )
    words = ("plan", "--recipe", "mine.py", "--settings", "tune", "--archs")
    refused = eutectic(*words, "hyena swa(window=8)", cwd=tmp_path)
    assert refused.returncode == 1
    assert "tune has not both laws, of learning rate and batch, of gla, by which runs of recipe mine" in refused.stderr
    assert eutectic(*words, "hyena", cwd=tmp_path).returncode == 0, "which has laws of its own"
