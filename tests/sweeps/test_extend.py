"""A sweep that was trained here is extended through the command line, by `plan` and `sweep` alike."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import inside
import pyarrow.parquet as pq
import pytest
import tiny

from eutectic.sweeps.ledger import Ledger

HERE = ("--cluster", "debug")  # as workers train it, which would import torch first


def eutectic(*arguments: str, cwd: Path, status: int = 0) -> inside.Done:
    done = inside.eutectic(*arguments, cwd=cwd)
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def swept(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep `s` of one architecture at one budget, five sizes, and of the corpus it reads."""
    folder = tmp_path_factory.mktemp("swept")
    shutil.copytree(corpus, folder / "texts")
    eutectic("sweep", "--recipe", tiny.__file__, "--source", "texts", "--name", "s", *HERE, cwd=folder)
    return folder


@pytest.fixture
def folder(swept: Path, tmp_path: Path) -> Path:
    shutil.copytree(swept, tmp_path, dirs_exist_ok=True)
    return tmp_path


def forget(sweep: Path, *run_ids: str) -> None:
    """As if these runs had never been planned."""
    for run_id in run_ids:
        shutil.rmtree(sweep / "runs" / run_id)
    for name in ("runs", "curves"):
        (sweep / f"{name}.parquet").unlink()
    Ledger(sweep).collect()


def by_size(sweep: Path) -> dict[str, float]:
    """The loss of each run, from the smallest model to the largest."""
    rows = pq.read_table(sweep / "runs.parquet", columns=["run_id", "loss", "params"]).to_pylist()
    return {row["run_id"]: row["loss"] for row in sorted(rows, key=lambda row: row["params"])}


def planned(folder: Path) -> tuple[list[dict[str, Any]], str]:
    done = eutectic("plan", "--extend", "s", "--json", cwd=folder)
    return json.loads(done.stdout)["runs"], done.stderr


def test_what_a_plan_proposes_a_sweep_trains_and_the_next_fit_uses(folder: Path) -> None:
    """The two largest sizes are taken from a sweep: it asks for the first of them, and gets the loss that it had."""
    sweep = folder / "results/s"
    whole = by_size(sweep)
    *_, fourth, fifth = whole
    forget(sweep, fourth, fifth)
    before = sorted(folder.rglob("*"))
    (row,), said = planned(folder)
    assert sorted(folder.rglob("*")) == before, "a plan wrote something"
    assert row["run_id"] == fourth
    assert row["reason"] == "attn at 2e+09 has 3 sizes with a loss, too few to find the best"
    cost = f"1 run, 2e09 FLOPs, 0:{round(row['seconds']):02} of a worker"
    assert said.splitlines() == [f"{row['reason']}: {cost}", f"in all {cost}"]
    assert "1 runs on cpu" in eutectic("plan", "--extend", "s", cwd=folder).stdout
    done = json.loads(eutectic("sweep", "--extend", "s", "--json", *HERE, cwd=folder).stdout)
    assert done["statuses"] == {fourth: "done"}
    (optimum,) = done["report"]["optima"]
    assert optimum["n_sizes"] == 4
    assert by_size(sweep) == {run_id: loss for run_id, loss in whole.items() if run_id != fifth}
    assert fourth not in {row["run_id"] for row in planned(folder)[0]}


def test_nothing_is_added_to_what_is_known(folder: Path) -> None:
    """A bowl, which five runs of seconds are not, with its best size inside."""
    path = folder / "results/s/runs.parquet"
    rows = pq.read_table(path)
    bowl = [2.0 + 0.1 * math.log(params / 3e3) ** 2 for params in rows["params"].to_pylist()]
    column = rows.schema.get_field_index("loss")
    pq.write_table(rows.set_column(column, rows.schema.field(column), [bowl]), path)
    done = eutectic("plan", "--extend", "s", "--json", cwd=folder)
    told = json.loads(done.stdout)
    assert (told["runs"], told["device_hours"]) == ([], 0.0)
    assert "nothing to add: every best size lies between those trained" in done.stderr
    trained = json.loads(eutectic("sweep", "--extend", "s", "--json", cwd=folder).stdout)
    assert (trained["statuses"], trained["report"]["n_runs"]) == ({}, 5)


def test_what_was_planned_before_comes_first(folder: Path) -> None:
    ledger = Ledger(folder / "results/s")
    victim = ledger.run_ids()[0]
    for path in (*(ledger.runs / victim).glob("*.parquet"), *ledger.folder.glob("*.parquet")):
        path.unlink()
    rows, said = planned(folder)
    assert [(row["run_id"], row["reason"]) for row in rows] == [(victim, "planned before and not finished")]
    assert "planned before and not finished: 1 run, 2e09 FLOPs" in said
    done = json.loads(eutectic("sweep", "--extend", "s", "--json", *HERE, cwd=folder).stdout)
    assert done["statuses"] == {victim: "done"}
    assert done["report"]["n_runs"] == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--extend", "gone"], "no sweep results/gone; those in results/ are: s"),
        (["--extend", "s", "--budget", "1e9"], "--extend s plans as that sweep was planned; leave out --budget."),
        (["--extend", "s", "--recipe", "gpu"], "leave out --recipe."),
        (["--extend", "s", "--name", "s"], "leave out --name."),
        (["--extend", "s", "--mixer-file", "m.py"], "leave out --mixer-file."),
    ],
)
def test_what_cannot_be_extended_is_said(arguments: list[str], words: str, swept: Path) -> None:
    done = eutectic("plan", *arguments, cwd=swept, status=1)
    assert words in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


def test_so_is_what_is_not_as_it_was(folder: Path) -> None:
    sweep = folder / "results/s"
    (sweep / "runs.parquet").rename(sweep / "kept.parquet")
    assert "no results/s/runs.parquet" in eutectic("plan", "--extend", "s", cwd=folder, status=1).stderr
    (sweep / "kept.parquet").rename(sweep / "runs.parquet")
    config = Ledger(sweep).config(next(iter(by_size(sweep))))
    assert config
    forget(sweep, *list(by_size(sweep))[-2:])
    (folder / "texts/more.txt").write_text("a document that was not there")
    said = eutectic("sweep", "--extend", "s", cwd=folder, status=1).stderr
    assert "corpus 'texts' is not what these runs read: its hash is " in said
    assert len(list((sweep / "runs").iterdir())) == 3
    smallest = next(iter(by_size(sweep)))
    forget(sweep, smallest)
    Ledger(sweep).add([config])
    Ledger(sweep).fail(smallest, "it was told to")
    said = eutectic("plan", "--extend", "s", cwd=folder).stderr
    assert "not reached: 1 failed, which `eutectic retry` trains again" in said
    (sweep / "tune").mkdir()
    said = eutectic("plan", "--extend", "s", cwd=folder, status=1).stderr
    assert "results/s holds a tuning, which more --trials extend" in said
