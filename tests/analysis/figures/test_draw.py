"""Every figure that the runs bear is written, the same each time, and none that they do not."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import BUDGETS, THREE, curves, table
from PIL import Image

from eutectic.analysis import schema
from eutectic.analysis.figures import draw as drawer
from eutectic.analysis.figures import isoflop, style
from eutectic.analysis.figures.draw import FIGURES, draw
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report

pytestmark = pytest.mark.usefixtures("few_starts")


def write(frame: pd.DataFrame, folder: Path, curves: pd.DataFrame | None = None) -> Path:
    rows: list[dict[str, Any]] = frame.to_dict("records")
    pq.write_table(pa.Table.from_pylist(rows, schema.arrow_schema(schema.RUNS)), folder / "runs.parquet")
    if curves is not None:
        pq.write_table(pa.Table.from_pandas(curves), folder / "curves.parquet")
    return folder


def test_files_say_what_they_show_and_are_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table(THREE, BUDGETS[:2])
    paths = draw(write(frame, tmp_path, curves(frame)))
    # two budgets of three shares hold none out, and their runs vary no settings
    names = [name for name in FIGURES if name not in ("audit", "hyper", "hyper_cells")]
    assert [path.name for path in paths] == [f"{name}.{ending}" for name in names for ending in ("png", "svg")]
    assert all(min(Image.open(path).size) > 600 for path in paths[::2])
    words = {path.stem: " ".join(re.findall(r"<!-- (.*?) -->", path.read_text())) for path in paths[1::2]}
    for said in (*THREE, "1e15 FLOPs", "3e15 FLOPs", "parameters", "validation loss (nats per token)"):
        assert said in words["isoflop"]
    assert "training compute (FLOPs)" in words["frontier"] and "tokens per parameter" in words["optima"]
    assert "alpha, exponent of parameters" in words["landscape"] and "7 starts" in words["landscape"]
    said = {name: "14 runs, 1 seed" if name == "landscape" else "42 runs, 1 seed" for name in words}
    assert all(said[name] in text for name, text in words.items())
    assert "42 curves drawn" in words["envelope"]
    again = ("isoflop", "frontier", "share", "landscape", "residuals")
    monkeypatch.setattr(drawer, "FIGURES", {name: FIGURES[name] for name in again})
    first = {path: path.read_bytes() for path in paths}
    redrawn = draw(tmp_path)
    assert len(redrawn) == 2 * len(again)
    assert all(path.read_bytes() == first[path] for path in redrawn), "a figure is not a function of its table"


@pytest.mark.parametrize(
    ("frame", "names"),
    [
        (table()[:2], ["isoflop"]),
        (table(budgets=BUDGETS[:1]), ["isoflop", "ratio"]),
        (
            table({"attn": 1.0}, BUDGETS[:2]),
            ["isoflop", "frontier", "optima", "contours", "residuals", "landscape"],
        ),
    ],
    ids=["two runs", "one budget", "one architecture"],
)
def test_what_runs_do_not_bear_is_not_drawn(frame: pd.DataFrame, names: list[str], tmp_path: Path) -> None:
    """Nor left from an earlier drawing; files that are not ours are."""
    (tmp_path / "figures").mkdir()
    for stale in ("audit.png", "audit.svg", "mine.png"):
        (tmp_path / "figures" / stale).write_text("")
    expected = {f"{name}.{ending}" for name in names for ending in ("png", "svg")}
    assert {path.name for path in draw(write(frame, tmp_path))} == expected
    assert {path.name for path in (tmp_path / "figures").iterdir()} == expected | {"mine.png"}


def test_many_runs_are_an_image_within_the_svg(
    sweep: tuple[Runs, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = tmp_path / "vectors.svg"
    isoflop.figure(*sweep).savefig(vectors)
    monkeypatch.setattr(style, "MANY", 104)
    isoflop.figure(*sweep).savefig(tmp_path / "image.svg")
    assert (tmp_path / "image.svg").read_text().count("<image") == 3
    assert "<image" not in vectors.read_text()
