"""The hand-written package list and the committed code agree, and so do the schema and its page."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from eutectic.analysis import schema
from eutectic.arch import zoo

ROOT = Path(__file__).parents[1]


def test_every_folder_of_code_is_a_listed_package() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [Path(name) for name in listed.stdout.split() if not name.startswith(("tests/", "bench/"))]
    folders = {".".join(("eutectic", *file.parent.parts)) for file in files}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["setuptools"]["packages"]) == folders


def test_every_file_beside_the_code_is_listed_as_its_data() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name.split(".")[1] for name in tool["packages"] if "." in name}
    beside = {name for name in listed.stdout.split() if name.split("/")[0] in folders and not name.endswith(".py")}
    data = {
        str(path.relative_to(ROOT))
        for package, patterns in tool["package-data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    assert beside == data


def test_schema_page_is_fresh() -> None:
    assert (ROOT / "results/SCHEMA.md").read_text() == schema.markdown(), "run `make schema`"


def test_zoo_page_is_fresh() -> None:
    assert (ROOT / "docs/zoo.md").read_text() == zoo.markdown(), "run `make zoo`"


@pytest.mark.parametrize("target", ["sweep", "tune"])
def test_make_trains_nothing_where_it_is_to_be_dry(target: str) -> None:
    def told(dry: str) -> list[str]:
        command = ["make", "-n", target, f"DRY={dry}"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    assert "--dry" in told("1") and "--dry" not in told("0")


def test_no_benchmark_s_rows_are_taken_for_a_sweep_s() -> None:
    """`eutectic figures` draws every folder of results/ that has such a table, whose columns are others."""
    from eutectic.analysis.figures.draw import TABLES

    rows = {path.stem for path in (ROOT / "results/bench").glob("*.parquet")}
    assert rows and not rows & {"runs", *TABLES}
