"""The command line: what it imports, what it teaches, and one sentence, without a traceback, for every bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eutectic.cli import COMMANDS


def eutectic(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "eutectic.cli", *arguments],
        cwd=cwd,
        env=os.environ | {"EUTECTIC_CACHE": str(cwd / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def refusal(*arguments: str, cwd: Path, **environment: str) -> str:
    """What is said of an input that cannot be used."""
    done = eutectic(*arguments, cwd=cwd, **environment)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("eutectic: ") and done.stderr.count("\n") == 1
    return done.stderr


def test_no_argument_and_help_teach_by_example(tmp_path: Path) -> None:
    bare, helped = eutectic(cwd=tmp_path), eutectic("--help", cwd=tmp_path)
    assert bare.returncode == helped.returncode == 0
    assert bare.stdout == helped.stdout
    assert all(f"  eutectic {name}" in helped.stdout for name in ("plan", "sweep", "status", "retry", "fit"))
    assert all(f"    {name} " in helped.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "--archs", "atn"], "unknown mixer 'atn'; there are attn, "),
        (["plan", "--archs", "attn*"], "layout 'attn*' has the term 'attn*'"),
        (["plan", "--archs", "swa(window=0)"], "swa cannot have a window of 0"),
        (["plan", "--archs", "[hyena*2|attn]"], "needs heads in multiples of 3, which 2 shapes"),
        (["plan", "--channel", "attn"], "unknown channel mixer 'attn'; there are swiglu, "),
        (["plan", "--channel", "[mlp|swiglu]"], "channel mixers cannot stand side by side"),
        (["plan", "--channel", "none", "--match", "params", "--archs", "hyena"], "cannot have attn's params"),
        (["plan", "--mixer-file", "gone.py"], "mixer file gone.py cannot be loaded (FileNotFoundError"),
        (["plan", "--archs", "hyena*2+attn"], "does not divide a depth of 4; use a depth that is a multiple of 3"),
        (["plan", "--budget", "1e5"], "budget 1e+05 is too small"),
        (["plan", "--budget", "lots"], "budget 'lots' is not a number"),
        (["plan", "--budget", "-3"], "budget -3 cannot be used; it must be positive"),
        (["plan", "--budget", "nan"], "budget nan cannot be used"),
        (["plan", "--budget", "0"], "budget 0 cannot be used; it must be positive"),
        (["plan", "--seeds", "1.5"], "seed '1.5' is not a number"),
        (["plan", "--recipe", "slow"], "no recipe 'slow'; there are "),
        (["plan", "--source", "gone"], "no corpus at 'gone'"),
        (["plan", "--source", "latin"], "is not UTF-8"),
        (["plan", "--source", "empty"], "has no text in it"),
        (["plan", "--tokenizer", "words"], "unknown tokenizer 'words'"),
        (["plan", "--memory", "0.1"], "needs about"),
        (["sweep", "--device", "cuda"], "no GPU"),
        (["sweep", "--cluster", "slurm"], "cannot submit to slurm"),
        (["status"], "no sweep in results/"),
        (["fit"], "no sweep results/quick"),
        (["figures"], "no sweep with a runs.parquet in results/"),
        (["run", "0123"], "no sweep results/quick"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("\n")
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "a.txt").write_bytes(b"caf\xe9")
    before = sorted(tmp_path.rglob("*"))
    # a PATH without sbatch, whatever this machine has
    assert words in refusal(*arguments, cwd=tmp_path, CUDA_VISIBLE_DEVICES="", PATH=str(tmp_path))
    if arguments[0] == "plan":
        assert sorted(tmp_path.rglob("*")) == before, "a plan wrote something"


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot make the folder file/quick" in refusal("sweep", "--results", "file", cwd=tmp_path)
    said = refusal("plan", "--results", "x", "--source", str(tmp_path / "file"), cwd=tmp_path)
    assert "has no file that ends in" in said


def test_a_damaged_collection_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "quick"
    folder.mkdir(parents=True)
    (folder / "runs.parquet").write_bytes(b"noise")
    assert "results/quick/runs.parquet cannot be read" in refusal("fit", cwd=tmp_path)
    done = eutectic("collect", cwd=tmp_path)
    assert (done.returncode, "warning" in done.stderr) == (0, True)
    assert (folder / "runs.parquet.corrupt-0").exists()


def test_dry_writes_nothing(tmp_path: Path) -> None:
    done = eutectic("sweep", "--dry", "--json", cwd=tmp_path)
    assert done.returncode == 0
    rows = json.loads(done.stdout)
    assert {"run_id", "params", "tokens", "flops", "memory", "seconds", "config"} == set(rows[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"], [], ["sweep", "--help"], ["status"], ["fit"], ["figures"]])
def test_what_does_not_train_does_not_import_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from eutectic.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print(*(m for m in ('torch', 'submitit', 'optuna') if m in sys.modules), file=sys.stderr)"
    )
    folder = tmp_path / "results" / "quick" / "runs"
    folder.mkdir(parents=True)
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == ""


def test_a_full_disk_is_said(tmp_path: Path, corpus: Path) -> None:
    """A limit on file size stands in for a full disk: the write fails half-way through the tokens."""
    code = (
        "import errno, resource, signal, sys; from eutectic.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "sweep", "--source", str(corpus), "--budget", "1e10"],
        cwd=tmp_path,
        env=os.environ | {"EUTECTIC_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("eutectic: ") and "File too large" in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
