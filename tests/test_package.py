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


def test_schema_page_is_fresh() -> None:
    assert (ROOT / "results/SCHEMA.md").read_text() == schema.markdown(), "run `make schema`"


def test_zoo_page_is_fresh() -> None:
    assert (ROOT / "docs/zoo.md").read_text() == zoo.markdown(), "run `make zoo`"
