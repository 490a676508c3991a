"""The mixer of docs/write-a-mixer.md, from a file that is not ours: planned, trained, held to the contract."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import inside
import pyarrow.parquet as pq
import pytest
import tiny

from eutectic.arch import registry
from eutectic.arch.base import Layer
from eutectic.arch.flops import count
from eutectic.config import ModelConfig, RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import foreign

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ema(tmp_path: Path) -> Path:
    page = (ROOT / "docs/write-a-mixer.md").read_text()
    block = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert block
    path = tmp_path / "ema.py"
    path.write_text(block[1])
    return path


def test_a_file_is_swept_and_kept(ema: Path, corpus: Path, tmp_path: Path) -> None:
    """By a worker of its own, which has the mixer from the sweep's folder alone."""
    command = ["--recipe", tiny.__file__, "--archs", "ema", "--source", str(corpus), "--name", "s"]
    command += ["--mixer-file", str(ema), "--json"]
    done = inside.eutectic("sweep", *command, "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    statuses = json.loads(done.stdout)["statuses"]
    assert list(statuses.values()) == ["done"] * 5
    rows = pq.read_table(tmp_path / "results/s/runs.parquet").to_pylist()
    origin = f"ema={registry.source_hash(ema)}"
    assert all(row["mixers"] == origin and row["layers"] == "ema" for row in rows)
    assert all(row["loss"] < 3.0 for row in rows), "it did not learn: bytes of these words start at 5.5 nats"
    # a change of the file is another mixer: other runs, and no fit of both together
    ema.write_text(ema.read_text().replace("64.0", "32.0"))
    planned = inside.eutectic("plan", *command, cwd=tmp_path)
    assert not {row["run_id"] for row in json.loads(planned.stdout)["runs"]} & statuses.keys()


def test_a_kept_file_that_was_changed_is_not_run(ema: Path, small_run: RunConfig, tmp_path: Path) -> None:
    origin = registry.source_hash(ema)
    foreign.keep([ema], tmp_path)
    planned = dataclasses.replace(small_run, mixers=(f"ema={origin}",))
    foreign.load(planned, tmp_path)
    (tmp_path / f"mixers/{origin}.py").write_text(ema.read_text() + "raise SystemExit\n")
    with pytest.raises(UserError, match=f"{origin}.py is not the mixer that run {planned.run_id} was planned with"):
        foreign.load(planned, tmp_path)


def test_a_file_is_held_to_the_contract(ema: Path) -> None:
    """And another, with a fault in it, fails: in what the fault is in."""
    faulty = ema.with_name("faulty.py")
    text = ema.read_text().replace('"ema"', '"faulty_ema"')
    faulty.write_text(text.replace("decay * state + (1 - decay)", "decay * state + decay"))
    suite = str(ROOT / "tests/arch/test_mixers.py")
    options = ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "-rA"]
    options += ["-k", "ema and (not faulty or prefill)"]
    files = ["--mixer-file", str(ema), "--mixer-file", str(faulty)]
    command = [sys.executable, "-m", "pytest", suite, *files, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    found = re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)\[(ema|faulty_ema)\b", done.stdout, re.MULTILINE)
    assert ("FAILED", "test_step_and_prefill_equal_forward", "faulty_ema") in found and done.returncode == 1
    assert {outcome for outcome, _, name in found if name == "ema"} == {"PASSED"}
    assert len({test for _, test, name in found if name == "ema"}) >= 10


def test_entry_points_of_packages_are_mixers(ema: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip leaves it: a module and the metadata that names it."""
    metadata = ema.parent / "their_mixers-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-mixers\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text("[eutectic.mixers]\ntheir_ema = ema:MovingAverage\n")
    monkeypatch.syspath_prepend(str(ema.parent))
    registry._entry_points.cache_clear()
    try:
        assert registry.canonical("their_ema(longest=64.0)*3+attn") == "their_ema*3+attn"
        assert registry.origins("their_ema+attn") == ("their_ema=their-mixers 1.2",)
        assert registry.find("their_ema", Layer).__name__ == "MovingAverage"
    finally:
        registry._entry_points.cache_clear()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no mixer: a class derived from"),
        ("x = (", "cannot be loaded .SyntaxError"),
        ("import nothing_of_the_kind", "cannot be loaded .ModuleNotFoundError"),
        ("raise SystemExit(3)", "cannot be loaded .SystemExit"),
        ("from eutectic.arch.base import Mixer\nclass A(Mixer):\n    name = 'attn'", "'attn', which eutectic has"),
        (
            "from eutectic.arch.base import Mixer\nclass A(Mixer):\n    name = 'a1'\n"
            "    def __init__(self, shape, *, factor=None): ...",
            "option factor of a1 in .* needs a default",
        ),
    ],
)
def test_a_file_without_a_mixer_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        registry.load_file(path)


def test_a_mixer_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.py"
    path.write_text("from eutectic.arch.base import Mixer\nclass Half(Mixer):\n    name = 'half'\n")
    assert registry.load_file(path) == ["half"]
    with pytest.raises(UserError, match=r"mixer half cannot be made \(TypeError: .*abstract"):
        count(ModelConfig("half", 2, 8, 1, 1, 24, 11), 64)
