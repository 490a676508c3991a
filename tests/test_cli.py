"""The command line: what it imports, what it teaches, and one sentence, without a traceback, for every bad input."""

import json
import os
import platform
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import inside
import numpy as np
import pandas as pd
import pytest

from eutectic import cli, commands
from eutectic.analysis.compare import Estimate
from eutectic.arguments import COMMANDS
from eutectic.display.answer import _away
from eutectic.display.words import capped, digits, interval, short

RESULTS = Path(__file__).parents[1] / "results"


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
    """What is said of an input that cannot be used. What would train, were it not refused, has a process of its own."""
    command = eutectic if arguments[0] == "sweep" else inside.eutectic
    done = command(*arguments, cwd=cwd, **environment)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("eutectic: ") and done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 alone has that arithmetic")
@pytest.mark.parametrize(
    "command", ["figures", "findings", "report", "fit", "predict", "sweep", "tune", "plan", "collect"]
)
def test_what_fits_has_the_arithmetic_of_all_cpus(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    monkeypatch.setattr(commands, command, lambda options: seen.update(os.environ) or 0)
    with patch.dict(os.environ):
        assert cli.main([command]) == 0
    assert cli.PORTABLE.items() <= seen.items()


def test_no_argument_and_help_teach_by_example(tmp_path: Path) -> None:
    bare, helped = eutectic(cwd=tmp_path), eutectic("--help", cwd=tmp_path)
    assert bare.returncode == helped.returncode == 0
    assert bare.stdout == helped.stdout
    taught = ("plan", "sweep", "status", "retry", "fit", "predict")
    assert all(f"  eutectic {name}" in helped.stdout for name in taught)
    assert all(f"    {name} " in helped.stdout for name in COMMANDS)


def test_kernels_that_there_are_not_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    said = refusal("sweep", cwd=tmp_path, EUTECTIC_KERNELS="cuda")
    assert "EUTECTIC_KERNELS is 'cuda'; set it to reference, torch or triton" in said
    assert list(tmp_path.iterdir()) == []


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
        (["plan", "--seeds", "1.5"], "seed '1.5' is not a whole number"),
        (["plan", "--price", "x"], "--price 'x' is not a number"),
        (["plan", "--hours", "nan"], "--hours nan cannot be used; it must be positive and finite"),
        (["plan", "--hours", "1e308"], "--hours 1e308 is more than a year"),
        (["plan", "--budget", "5e-324"], "budget 4.94e-324 is too small"),
        (["sweep", "--workers", "0"], "--workers 0 trains nothing; give 1 or more."),
        (["sweep", "--seeds", "99999999999999999999999"], "seed 99999999999999999999999 is too large"),
        (["sweep", "--workers", "1.5"], "--workers '1.5' is not a whole number; write e.g. 3"),
        (["retry", "--memory", "0"], "--memory 0 cannot be used; it must be positive"),
        (["plan", "--recipe", "slow"], "no recipe 'slow'; there are "),
        (["plan", "--recipe", "gone.py"], "recipe file gone.py cannot be loaded (FileNotFoundError"),
        (["plan", "--source", "gone"], "no corpus at 'gone'"),
        (["plan", "--source", "latin"], "is not UTF-8"),
        (["plan", "--source", "empty"], "has no text in it"),
        (["plan", "--tokenizer", "words"], "unknown tokenizer 'words'"),
        (["plan", "--memory", "0.1"], "needs about"),
        (["sweep", "--device", "cuda"], "no GPU"),
        (["sweep", "--cluster", "slurm"], "cannot submit to slurm"),
        (["status"], "no sweep in results/"),
        (["fit"], "no sweep results/quick"),
        (["predict", "--flops", "1e13"], "no sweep results/quick"),
        (["predict"], "say how much compute: --flops 1e16, or --gpu-hours 100 --device h200"),
        (["predict", "--flops", "1e13", "--gpu-hours", "3"], "say how much compute"),
        (["predict", "--flops", "0"], "--flops 0 cannot be used; it must be positive"),
        (["predict", "--flops", "lots"], "--flops 'lots' is not a number"),
        (["predict", "--gpu-hours", "-3", "--device", "h200"], "--gpu-hours -3 cannot be used"),
        (["predict", "--gpu-hours", "3"], "--gpu-hours and --device go together"),
        (["predict", "--flops", "1e13", "--device", "h200"], "--gpu-hours and --device go together"),
        (["predict", "--flops", "1e13", "--compare", "attn"], "takes two architectures and was given attn"),
        (["predict", "--flops", "1e13", "--compare", "attn attn"], "takes two architectures and was given attn attn"),
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
    rows = json.loads(done.stdout)["runs"]
    costs = {"params", "tokens", "flops", "memory", "recompute", "seconds", "busy", "at_once"}
    assert {"run_id", "status", "submitted", "config", *costs} == set(rows[0])
    assert list(tmp_path.iterdir()) == []


# Hoffmann et al. 2022, read off its figure 4 by Epoch AI (Besiroglu et al. 2024, arXiv 2404.10102)
CHINCHILLA_TABLE = Path(__file__).parents[2] / "shared/tables/chinchilla_epoch.csv"
TABLE = [
    "fit",
    "runs.csv",
    "--params",
    "Size",
    "--flops",
    "ops",
    "--loss",
    "nats",
    "--group",
    "kind",
    "--bootstrap",
    "0",
]
TRUTH = {"E": 1.7, "A": 400.0, "alpha": 0.34, "B": 300.0, "beta": 0.28}


def planted() -> pd.DataFrame:
    """Runs that obey TRUTH, of two architectures, under names of their own; row 5 has no loss."""
    sizes, tokens = (v.ravel() for v in np.meshgrid(np.geomspace(1e6, 1e9, 5), np.geomspace(1e8, 1e11, 4)))
    loss = TRUTH["E"] + TRUTH["A"] / sizes ** TRUTH["alpha"] + TRUTH["B"] / tokens ** TRUTH["beta"]
    runs = pd.DataFrame({"Size": sizes, "ops": 6 * sizes * tokens, "nats": loss})
    both = pd.concat([runs.assign(kind="a"), runs.assign(kind="b", nats=2 * runs["nats"])], ignore_index=True)
    both.loc[4, "nats"] = np.nan
    return both


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_law_is_fitted_to_any_table(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"runs.{ending}"
    planted().to_csv(path, index=False) if ending == "csv" else planted().to_parquet(path)
    options = ["--params", "Size", "--flops", "ops", "--loss", "nats", "--group", "kind", "--bootstrap", "100"]
    done = eutectic("fit", path.name, *options, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["law"], said["loss_fn"], said["n"]) == ("chinchilla", "Huber loss of ln L, delta 0.001", 39)
    assert said["dropped"] == [{"row": 5, "reason": "no loss"}]
    assert said["columns"]["tokens"] == "flops / (6 * params)"
    assert said["bootstrap"] == {"kind": "pairs", "resamples": 100, "seed": 0, "level": 0.95}
    a, b = said["groups"]
    assert (a["group"], a["n"], b["group"], b["n"]) == ("a", 19, "b", 20)
    assert a["values"] == pytest.approx(TRUTH, rel=1e-6)
    doubled = TRUTH | {name: 2 * TRUTH[name] for name in "EAB"}
    assert b["values"] == pytest.approx(doubled, rel=1e-6)
    assert all(low <= high for low, high in b["intervals"].values())
    assert b["optimum"]["compute"] == pytest.approx(6e20)
    assert b["certificate"]["refusal"] == "" and b["certificate"]["share_best"] > 0.5


def test_a_fitted_table_is_shown_with_all_it_rests_on(tmp_path: Path) -> None:
    planted().to_csv(tmp_path / "runs.csv", index=False)
    options = ["--params", "Size", "--flops", "ops", "--loss", "nats", "--group", "kind"]
    done = inside.eutectic(
        "fit", "runs.csv", *options, "--loss-fn", "lad", "--bootstrap", "100", "--seed", "3", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    cells = {line.split("│")[1].strip(): [c.strip() for c in line.split("│")[2:-1]] for line in lines if "│" in line}
    assert cells["alpha"] == ["0.34 [0.34, 0.34]"] * 2 and cells["E"] == ["1.7 [1.7, 1.7]", "3.4 [3.4, 3.4]"]
    assert cells["points"] == ["19", "20"] and cells["resamples kept"] == ["100.0%"] * 2
    assert {"objective", "relative gradient", "starts in best", "distinct minima", "condition"} < set(cells)
    assert "absolute deviations of ln L; 39 of 40 rows; brackets: 95% by 100 resamples of rows" in done.stdout
    assert "1 not used, no loss: row 5" in done.stdout and "tokens = flops / (6 * params)" in done.stdout
    assert max(map(len, lines)) <= 120


def test_a_group_without_a_best_size_has_none_in_its_column(tmp_path: Path) -> None:
    """Whose FLOPs follow from no parameters and tokens; it comes first, and has no name."""
    runs = planted().dropna().assign(tokens=lambda table: table["ops"] / 6 / table["Size"])
    odd = runs["kind"] == "a"
    runs.loc[odd, "ops"] *= np.tile([1.0, 9.0], odd.sum())[: odd.sum()]
    runs.assign(kind=runs["kind"].replace("a", "")).to_parquet(tmp_path / "runs.parquet")
    options = ["--params", "Size", "--flops", "ops", "--loss", "nats", "--group", "kind", "--bootstrap", "0"]
    done = inside.eutectic("fit", "runs.parquet", *options, "--tokens", "tokens", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells = [[c.strip() for c in line.replace("┃", "│").split("│")[1:-1]] for line in done.stdout.splitlines()]
    assert ["", "(kind empty)", "b"] in cells and ["budget", "-", "6e20 FLOPs"] in cells
    assert "no best size is given: FLOPs are up to" in done.stdout


def test_the_kind_of_resampling_is_said_and_profiles_are_shown(tmp_path: Path) -> None:
    runs = planted()
    noise = np.random.default_rng(0).normal(0, 0.003, len(runs))
    runs.assign(nats=runs["nats"] * np.exp(noise), run=np.arange(len(runs)) % 9).to_csv(
        tmp_path / "runs.csv", index=False
    )
    options = [*TABLE[1:-1], "100"]
    done = inside.eutectic("fit", *options, "--resample", "run", "--profile", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "95% by 100 resamples of rows by run (cluster bootstrap), seed 0" in done.stdout
    lines = done.stdout.splitlines()
    below = {a.split("│")[1].strip(): b.split("│") for a, b in pairwise(lines) if b.startswith("│   profile")}
    assert list(below) == ["E", "A", "alpha", "B", "beta"]
    said = json.loads(
        inside.eutectic("fit", *options, "--resample", "wild", "--profile", "--json", cwd=tmp_path).stdout
    )
    assert said["bootstrap"]["kind"] == "wild"
    for name, cells in below.items():
        for group, cell in zip(said["groups"], cells[2:-1], strict=True):
            ends = ["open" if end is None else digits(end) for end in group["profiles"][name]]
            assert cell.strip() == f"[{', '.join(ends)}]"
    wild = inside.eutectic("fit", *options, "--resample", "wild", cwd=tmp_path).stdout
    assert "resamples of the residuals' signs (wild bootstrap)" in wild and "profile" not in wild


def test_a_profile_may_be_open_or_refused(tmp_path: Path) -> None:
    """Of a floor that the runs do not show, and of runs without noise; brackets are shown, also in names."""
    compute = np.geomspace(1e17, 1e21, 18)
    exact = pd.DataFrame({"C": compute, "loss": 1.8 + 2000 * compute**-0.18, "arch": "[exact]"})
    noise = np.exp(np.random.default_rng(0).normal(0, 0.1, 18))
    pd.concat([exact, exact.assign(arch="noisy", loss=exact["loss"] * noise)]).to_csv(
        tmp_path / "runs.csv", index=False
    )
    options = ["runs.csv", "--law", "frontier", "--loss-fn", "ls-log", "--bootstrap", "0", "--profile"]
    shown = inside.eutectic("fit", *options, cwd=tmp_path).stdout
    cells = shown.splitlines()[5].split("│")
    assert cells[1].strip() == "profile" and cells[2].strip() == "refused" and cells[3].strip().startswith("[open, ")
    assert shown.splitlines()[2].split("┃")[2].strip() == "[exact]"
    assert "[exact]: the profile of E has no interval: the points lie on the law exactly" in shown


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (None, ["runs.csv"], "no file runs.csv; give a table of runs"),
        (b"", ["runs.csv"], "runs.csv is empty"),
        (b"N,D,loss\n", ["runs.csv"], "runs.csv has no rows"),
        (b"noise", ["runs.parquet"], "runs.parquet cannot be read as parquet"),
        (b"PAR1noise", ["runs.csv"], "runs.csv cannot be read as parquet"),
        (b"N\xff,D\n1,2\n", ["runs.csv"], "runs.csv cannot be read as CSV"),
        (b"N,D,loss\n1,2,3\n1,2,3,4\n", ["runs.csv"], "Expected 3 fields in line 3, saw 4"),
        (b"N;D;loss\n1;2;3,5\n", ["runs.csv"], "runs.csv has its cells separated by semicolons; save it with commas"),
        (None, ["."], ". is a folder; give a table of runs"),
        (b"N,D,loss\n1e6,1e8,3\n1e7,,3\n1e8,1B,3\n", ["runs.csv"], "column 'D' has '1B' in row 3"),
        (b"N,D,loss\n1e6,1e8,3\n", ["runs.csv", "--law", "x"], "no law 'x'; there are gamma, frontier"),
        (b"N,D,loss\n1e6,1e8,3\n", ["runs.csv", "--loss-fn", "x"], "no loss 'x' to fit by"),
        (b"N,D,loss\n1e6,1e8,3\n", ["runs.csv", "--delta", "0"], "--delta 0 cannot be used"),
        (
            b"N,D,loss\n1e6,1e8,3\n",
            ["runs.csv", "--delta", "abc"],
            "--delta 'abc' is not a number; write e.g. 1e11 or 0.5",
        ),
        (b"N,D,loss\n1e6,1e8,3\n", ["runs.csv", "--bootstrap", "x"], "--bootstrap 'x' is not a whole number"),
        (b"N,D,loss\n1e6,1e8,3\n", ["runs.csv", "--seed", "-1"], "--seed -1 cannot be used; it must be 0 or more"),
        (
            b"N,D,loss\n1e6,1e8,3\n",
            ["runs.csv", "--resample", "los"],
            "no column 'los' in the table; the nearest is 'loss'",
        ),
        (b"N,D,loss\n1e6,1e8,3\n", ["runs.csv", "--loss-fn", "ls", "--delta", "1"], "--delta is of the Huber loss"),
        (b"N,D,loss\n1e6,1e8,3\n", ["runs.csv", "--bootstrap", "9"], "9 resamples are too few"),
        (b"N,D,lr,loss\n1e6,1e8,1,3\n", ["runs.csv", "--law", "lr", "--delta", "1"], "--delta is of laws of the loss"),
        (b"N,D,lr,loss\n1e6,1e8,1,3\n", ["runs.csv", "--lr", "lr"], "--lr names a column for --law lr or batch"),
        (
            b"N,D,lr,loss\n1e6,1e8,1,3\n",
            ["runs.csv", "--law", "lr"],
            "and lr does not vary in any of 1: give runs that differ in it alone",
        ),
        (b"N,D,loss\n1e6,1e8,3\n", ["runs.csv"], "chinchilla has 5 parameters and needs 8 points or more"),
        (
            b"N,D,loss\n1e6,1e8,3\n1e6,1e8,\n",
            ["runs.csv"],
            "there are 1: train more sizes and budgets or choose a smaller",
        ),
        (None, ["--profile"], "--profile goes with a table; write `eutectic fit FILE`"),
        (None, ["--bootstrap", "0"], "--bootstrap goes with a table; write `eutectic fit FILE`"),
    ],
)
def test_a_table_of_no_use_gets_one_sentence(
    content: bytes | None, arguments: list[str], words: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / arguments[0]).write_bytes(content)
    assert words in refusal("fit", *arguments, cwd=tmp_path)


def test_a_law_of_the_learning_rate_is_fitted_to_any_table(tmp_path: Path) -> None:
    """lr = 1e-3 (N/1e8)^-0.7 (D/1e9)^0.3 is best in each of four cells, exactly."""
    cells = []
    for n, d in ((1e8, 1e9), (1e8, 1e10), (1e9, 1e9), (1e9, 1e10)):
        lr = np.geomspace(1e-4, 1e-2, 9)
        loss = 2 + 0.02 * np.log(lr / (1e-3 * (n / 1e8) ** -0.7 * (d / 1e9) ** 0.3)) ** 2
        cells.append(pd.DataFrame({"params": n, "tokens": d, "eta": lr, "loss": loss}))
    pd.concat(cells).to_csv(tmp_path / "runs.csv", index=False)
    options = ["runs.csv", "--law", "lr", "--lr", "eta"]
    done = inside.eutectic("fit", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lr: best lr = k N^a D^b" in done.stdout and "lr = eta" in done.stdout
    rows = [[cell.strip() for cell in line.split("│")] for line in done.stdout.splitlines()]
    assert ["", "exponent of N, params", "-0.700 [-0.700, -0.700]", ""] in rows
    assert "Step Law (Li et al. 2025) has D^0.307, outside this interval (* outside: 2 of 2 windows)" in done.stdout
    (group,) = json.loads(inside.eutectic("fit", *options, "--json", cwd=tmp_path).stdout)["groups"]
    assert group["law"]["exponents"] == pytest.approx({"params": -0.7, "tokens": 0.3})
    assert [cell["status"] for cell in group["cells"]] == ["optimum"] * 4


@pytest.mark.skipif(not CHINCHILLA_TABLE.exists(), reason="table not there")
def test_the_chinchilla_table(tmp_path: Path) -> None:
    options = ["--params", "Model Size", "--flops", "Training FLOP", "--loss", "loss", "--bootstrap", "0", "--json"]
    done = inside.eutectic("fit", str(CHINCHILLA_TABLE), *options, cwd=tmp_path)
    (found,) = json.loads(done.stdout)["groups"]
    assert (found["n"], found["objective"]) == (245, pytest.approx(1.8260105e-3, rel=1e-7))


def test_a_prediction_reads_as_an_answer(tmp_path: Path) -> None:
    options = ["--results", str(RESULTS), "--name", "h200", "--compare", "hyena", "attn"]
    shown = inside.eutectic("predict", *options, "--flops", "1e16", cwd=tmp_path)
    machine = inside.eutectic("predict", *options, "--gpu-hours", "0.01", "--device", "h200", "--json", cwd=tmp_path)
    assert (shown.returncode, machine.returncode) == (0, 0), shown.stderr + machine.stderr
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 120
    cells = {line.split("│")[1].strip(): [c.strip() for c in line.split("│")[2:-1]] for line in lines if "│" in line}
    assert cells["mixes of hyena"][:2] == ["hybrid-exponents", "50"] and cells["hyena"][-1] == "3e+03"
    heads = ["share of attention", "parameters", "training tokens", "layers x width", "peak learning rate"]
    assert list(cells)[:8] == [*heads, "tokens a batch", "loss, nats a token", "perplexity"]
    assert set(cells) >= {"attn", "hyena", "they change places at, FLOPs", "nats lost when four times too small"}
    arch = lines[0].split()[-1]
    assert lines[0].strip() == f"with 1e16 FLOPs: train {arch}" and arch in cells
    assert cells["loss, nats a token"][-1] == "FLOPs 10 times the largest"
    said = " ".join(lines)
    assert "1.0 decades beyond the budgets trained, 3e14 to 1e15" in said and "could be held out" in said

    found = json.loads(machine.stdout)
    assert found["compute"] == pytest.approx(36 * 0.4 * 788e12)
    assert "40% of 788 TFLOP/s (dense bf16, measured)" in found["source"]
    assert found["arch"] == min(found["losses"], key=lambda name: found["losses"][name]["value"])
    assert found["fits"]["hyena"]["certificate"]["basins"] == 1 and 1e-4 < found["fits"]["hyena"]["delta"] < 1e-2
    assert found["params"]["low"] < found["params"]["value"] < found["params"]["high"]
    assert (found["duel"]["a"], found["duel"]["b"]) == ("hyena", "attn")
    # two budgets leave none to hold out
    assert (found["reach"]["rms"], found["reach"]["n"]) == (None, 0)


def test_an_architecture_that_was_not_trained_is_not_compared(tmp_path: Path) -> None:
    options = ["--results", str(RESULTS), "--name", "h200", "--flops", "1e16"]
    said = refusal("predict", *options, "--compare", "attn", "mamba", cwd=tmp_path)
    assert "no runs of architecture 'mamba' here; there are hyena, hyena*3+attn, hyena+attn, " in said


def test_what_cannot_be_told_is_readable() -> None:
    nan = float("nan")
    assert interval(Estimate(5e9, 1e8, 4e14), 1e12, short) == "[100M, >1T]"
    assert interval(Estimate(5e9, nan, nan), 1e12, short) == "[unknown]"
    assert capped(nan, 1.0, short) == "unknown"
    assert (_away(0.0), _away(5.05)) == ("within", "112k times the largest")
    assert _away(-2.0) == "1/100 of the smallest"


PREDICT = ["predict", "--flops", "1e16", "--name", "h200"]


@pytest.mark.parametrize(
    "arguments", [["--help"], [], ["sweep", "--help"], ["status"], ["fit"], TABLE, PREDICT, ["figures"]]
)
def test_what_does_not_train_does_not_import_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from eutectic.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print(*(m for m in ('torch', 'submitit', 'optuna') if m in sys.modules), file=sys.stderr)"
    )
    folder = tmp_path / "results" / "quick" / "runs"
    folder.mkdir(parents=True)
    planted().to_csv(tmp_path / "runs.csv", index=False)
    if arguments == PREDICT:  # of two architectures of the five
        (tmp_path / "results/h200").mkdir()
        rows = pd.read_parquet(RESULTS / "h200/runs.parquet")
        rows[rows["arch"].isin(["attn", "hyena"])].to_parquet(tmp_path / "results/h200/runs.parquet")
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert arguments != TABLE or "best params" in done.stdout
    assert arguments != PREDICT or "perplexity" in done.stdout
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


@pytest.mark.parametrize(
    "words, resumed", [(["cache", "--archs", "attn"], False), (["probe", "--archs", "attn"], True)]
)
def test_an_interrupt_promises_what_will_be(
    words: list[str], resumed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, words[0], interrupt)
    assert cli.main(words) == 130
    assert (
        capsys.readouterr().err == f"eutectic: interrupted{'; the same command goes on with what is left' * resumed}.\n"
    )
