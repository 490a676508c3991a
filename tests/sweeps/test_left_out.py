"""What a sweep leaves out for reading the text too often: kept in its folder, in the findings and on the page."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tiny
from inside import Done, eutectic

from eutectic.config import RunConfig
from eutectic.sweeps import left_out
from eutectic.sweeps.left_out import Cell
from eutectic.train.data import windows_per_epoch
from eutectic.train.shards import identify

HERE = ("--cluster", "debug")


def cell(run: RunConfig, **changes: float) -> Cell:
    return replace(Cell(run.model.layout, run.model.n_layers, run.model.d_model, run.budget, 5.5, 4.0), **changes)


def test_cells_are_merged_and_go_once_planned(small_run: RunConfig, tmp_path: Path) -> None:
    first, wider, dearer = cell(small_run), cell(small_run, d_model=999), cell(small_run, budget=9e15)
    assert left_out.read(tmp_path) == []
    left_out.keep([], [small_run], tmp_path)
    assert not (tmp_path / left_out.FILE).exists(), "a sweep that leaves out nothing has no file"
    left_out.keep([wider, first], [], tmp_path)
    left_out.keep([first, dearer], [], tmp_path)
    assert left_out.read(tmp_path) == sorted([first, wider, dearer])
    left_out.keep([replace(wider, allowed=5.0)], [small_run], tmp_path)
    assert json.loads((tmp_path / left_out.FILE).read_text()) == [
        asdict(one) for one in sorted([replace(wider, allowed=5.0), dearer])
    ]


@pytest.mark.usefixtures("few_starts")
def test_a_sweep_keeps_them_until_they_are_planned(corpus: Path, tmp_path: Path) -> None:
    """Of a part of a campaign: two of five sizes, in the file, the findings and the page; with more epochs, no more."""
    recipe, folder = tmp_path / "mine.py", tmp_path / "results/made/main"

    def given(command: str, epochs: float, *options: str) -> Done:
        recipe.write_text(
            f"import dataclasses\nimport tiny\nRECIPE = dataclasses.replace(tiny.RECIPE, name='mine', "
            f"max_epochs={epochs!r})\n"
        )
        words = [command, "--results", "results/made", "--name", "main", "--recipe", str(recipe)]
        done = eutectic(*words, "--source", str(corpus), "--json", *options, *HERE, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done

    def read() -> tuple[str, str]:
        for command in ("findings", "report"):
            assert eutectic(command, "--name", "made", cwd=tmp_path).returncode == 0
        return (tmp_path / "results/made/FINDINGS.md").read_text(), (tmp_path / "results/made/report.html").read_text()

    rows = json.loads(given("plan", 0.0).stdout)["runs"]
    runs = sorted((RunConfig.from_dict(row["config"]) for row in rows), key=lambda run: run.sequences)
    text = identify(str(corpus), "bytes", tmp_path / "cache").train_tokens
    epochs = [run.sequences / windows_per_epoch(text, tiny.RECIPE.seq_len) for run in runs]
    allowed = float(f"{(epochs[2] + epochs[3]) / 2:.3g}")
    expected = sorted(cell(run, epochs=of, allowed=allowed) for run, of in zip(runs[3:], epochs[3:], strict=True))

    for command, options in (("plan", ()), ("sweep", ("--dry",))):
        assert given(command, allowed, *options).stderr.count("left out: attn of width") == 2
    assert not folder.exists(), "a plan writes nothing"

    given("sweep", allowed)
    assert left_out.read(folder) == expected
    findings, page = read()
    assert "Left out of the plans, for a run would read the text oftener than is allowed:" in findings
    for one in expected:
        assert f"| main | attn | 1 | {one.d_model} | 2e09 | {one.epochs:.3g} | {allowed:g} |\n" in findings
        row = f"<td>1 layer of width {one.d_model}</td><td>main</td><td>attn</td>"
        assert f'{row}<td class="right">2e09</td><td class="right">{one.epochs:.3g}</td>' in page
    assert f"2 cells: left out of the plan, for over {allowed:g} epochs of the text" in page
    told = json.loads(eutectic("findings", "--name", "made", "--json", cwd=tmp_path).stdout)
    assert told["whole"]["left_out"] == told["parts"][0]["left_out"] == [asdict(one) for one in expected]

    more = float(f"{(epochs[3] + epochs[4]) / 2:.3g}")
    given("sweep", more)
    assert left_out.read(folder) == [cell(runs[4], epochs=epochs[4], allowed=more)]
    given("sweep", 0.0)
    assert left_out.read(folder) == []
    findings, page = read()
    assert "Left out of the plans" not in findings and "left out of the plan" not in page
