"""What would be handed to sbatch, where there is no Slurm: the options at their places, and nothing written."""

import json
import math
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from eutectic import cli
from eutectic.errors import UserError
from eutectic.sweeps import submit
from eutectic.sweeps.cost import Load, job_hours
from eutectic.sweeps.slurm import options
from eutectic.sweeps.submit import Cluster, scripts


def both(words: list[str], workers: int = 4, device: str = "cuda") -> list[list[str]]:
    """Lines of the array's script and of that of the job that collects."""
    cluster = Cluster("slurm", workers, device, cpus=2, hours=1.5, memory=15.2e9, slurm=options(words))
    return [text.splitlines() for text in scripts(cluster, Path("/nowhere/a sweep"))]


def test_needs_and_options_reach_the_script() -> None:
    text, _ = both(["partition=gpu", "account=me", "nice=100", "exclusive", "setup=module load cuda"])
    for option in (
        "array=0-3%4",
        "partition=gpu",
        "account=me",
        "time=90",
        "mem=16GB",
        "gpus-per-node=1",
        "cpus-per-task=2",
        "nice=100",
        "exclusive",
        "requeue",
        "signal=USR2@90",
        "output='/nowhere/a sweep/jobs/%A_%a_0_log.out'",
    ):
        assert f"#SBATCH --{option}" in text
    assert text.index("module load cuda") < next(k for k, line in enumerate(text) if line.startswith("srun"))


def test_options_of_the_user_come_before_what_is_reckoned() -> None:
    text, _ = both(["time=30", "mem=8GB", "array_parallelism=2", "signal-delay-s=200", "no-requeue"])
    for option in ("time=30", "mem=8GB", "array=0-3%2", "signal=USR2@200", "no-requeue"):
        assert f"#SBATCH --{option}" in text
    assert "#SBATCH --requeue" not in text


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("30", 30), ("30:10", 31), ("4:00:00", 240), ("1-12", 2160), ("1-0:30", 1470), ("1-0:0:30", 1441)],
)
def test_a_time_limit_may_be_in_any_of_slurm_s_forms(text: str, minutes: int) -> None:
    assert options([f"time={text}"]) == {"time": minutes}


def test_set_up_may_have_several_lines_and_what_they_set_is_kept() -> None:
    text, after = both(["setup=module purge", "partition=gpu", "setup=module load cuda\nsource 'my env/bin/activate'"])
    lines = ["# setup", "module purge", "module load cuda", "source 'my env/bin/activate'"]
    for script in (text, after):
        start = script.index("# setup")
        assert script[start : start + 4] == lines
        command = script[-1]
        assert command.startswith("srun ")
        assert command.endswith("-P -u -m eutectic.sweeps.submit -u -m submitit.core._submit '/nowhere/a sweep/jobs'")


def test_the_code_comes_before_the_path_that_the_set_up_left(tmp_path: Path) -> None:
    """The words between srun's and submitit's, done by a shell as in the script and, split, as for a local job."""
    code, user = tmp_path / "the code", tmp_path / "user's"
    ask = ["-c", "import os; print(os.environ['PYTHONPATH'])"]
    command = submit._python(code).removesuffix("-P -u -m eutectic.sweeps.submit")
    environment = os.environ | {"PYTHONPATH": str(user)}
    for call in (["bash", "-c", command + shlex.join(ask)], [*shlex.split(command), *ask]):
        told = subprocess.run(call, env=environment, capture_output=True, text=True, check=True).stdout
        assert told == f"{code}:{user}\n"
    del environment["PYTHONPATH"]
    told = subprocess.run([*shlex.split(command), *ask], env=environment, capture_output=True, text=True).stdout
    assert told == f"{code}\n"


def test_a_signal_before_there_is_anything_to_save_does_not_end_the_job(tmp_path: Path) -> None:
    command = submit._python(tmp_path).removesuffix("-P -u -m eutectic.sweeps.submit")
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2); os.kill(os.getpid(), signal.SIGTERM)"
    subprocess.run([*shlex.split(command), "-c", kill], check=True)


def test_a_small_job_collects_when_all_have_ended() -> None:
    words = ["partition=gpu", "account=me", "gres=gpu:8", "exclusive", "array_parallelism=2", "mem=100GB"]
    _, text = both(words)
    options = sorted(line.removeprefix("#SBATCH --") for line in text if line.startswith("#SBATCH"))
    assert [option for option in options if not option.startswith(("output", "error"))] == [
        "account=me",
        "cpus-per-task=1",
        "dependency=afterany:ARRAY",
        "gpus-per-node=0",
        "job-name=eutectic-collect",
        "mem=4GB",
        "nodes=1",
        "ntasks-per-node=1",
        "open-mode=append",
        "partition=gpu",
        "requeue",
        "signal=USR2@90",
        "time=60",
        "wckey=submitit",
    ]


@pytest.mark.parametrize("word", ["gres=gpu:h100:1", "gpus_per_node=h100:1", "gpus-per-task=1"])
def test_gpus_that_are_asked_for_stand_in_the_place_of_the_sweeps_own(word: str) -> None:
    """Slurm refuses GPUs of a type beside those of none."""
    tasks, collects = ([line for line in text if "gres" in line or "gpus" in line] for text in both([word]))
    assert tasks == [f"#SBATCH --{word.replace('_', '-')}"]
    assert collects == ["#SBATCH --gpus-per-node=0"]


def test_one_worker_is_no_array() -> None:
    assert not [line for line in both([], workers=1)[0] if "array" in line]


@pytest.mark.parametrize(("words", "returns"), [([], True), (["no-requeue"], False)])
def test_a_job_knows_whether_it_may_be_queued_again(
    words: list[str], returns: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "_submit_array", lambda cluster, tasks, code: tasks)
    cluster = Cluster("slurm", 2, "cpu", cpus=1, hours=1.5, memory=1e9, slurm=options(words))
    work = submit.Work(folder=tmp_path, device="cpu", cache=tmp_path, run_ids=[])
    assert [job.requeued for job in submit.submit(cluster, work)] == [returns] * 2


def test_no_job_need_be_told_before_its_end() -> None:
    assert options(["signal_delay_s=0"]) == {"signal_delay_s": 0}


@pytest.mark.parametrize(
    "word",
    [
        *("array_parallelism=many", "array_parallelism=0", "nodes=0", "signal-delay-s=-1", "time=long", "time=1:2:3:4"),
        "partition=",
    ],
)
def test_a_value_that_cannot_be_is_named(word: str) -> None:
    with pytest.raises(UserError, match=word):
        options([word])


def test_dry_prints_the_script_and_writes_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EUTECTIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    command = ["sweep", "--dry", "--cluster", "slurm", "--workers", "3", "--slurm", "partition=gpu"]
    command += ["--budget", "1e10", "--archs", "attn", "--source", str(corpus), "--name", "s"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "5 runs on cpu" in out
    text = out[out.index("#!/bin/bash") :].splitlines()
    assert "#SBATCH --array=0-2%3" in text
    assert "#SBATCH --partition=gpu" in text
    assert f"#SBATCH --output={tmp_path}/results/s/jobs/%A_%a_0_log.out" in text
    assert not (tmp_path / "results").exists()


def test_the_time_limit_is_reckoned_for_those_at_once_unless_the_user_gives_one(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EUTECTIC_CACHE", str(tmp_path / "cache"))
    plan = ["plan", "--budget", "1e13", "--archs", "attn", "--memory", "1000", "--source", str(corpus)]
    assert cli.main([*plan, "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    loads = [Load(seconds=run["seconds"], busy=run["busy"], at_once=run["at_once"]) for run in runs]
    assert sum(load.seconds for load in loads) / 2 > max(load.seconds for load in loads)
    for words, hours in (
        (["--workers", "2"], job_hours(loads, 2)),
        (["--workers", "9", "--slurm", "array_parallelism=2"], job_hours(loads, 2)),
        (["--workers", "2", "--slurm", "nice=1", "--slurm", "time=1-0"], 24.0),
        (["--workers", "2", "--hours", "0.5"], 0.5),
    ):
        assert cli.main([*plan, "--cluster", "slurm", *words]) == 0
        array, after = capsys.readouterr().out.split("#!/bin/bash")[1:]
        assert f"#SBATCH --time={math.ceil(60 * hours)}\n" in array
        assert "#SBATCH --time=60\n" in after


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("array=0-9", "--workers N and --slurm array_parallelism=N"),
        ("output=/tmp/x.log", "`eutectic status`"),
        ("mem_gb=3", "--slurm mem=8GB"),
        ("timeout-min=5", "--slurm time=30"),
    ],
)
def test_what_a_sweep_s_script_has_for_itself_is_refused(word: str, instead: str) -> None:
    with pytest.raises(UserError, match=f"--slurm {word.partition('=')[0]} cannot be set.* use {instead}"):
        options([word])


@pytest.mark.parametrize("command", ["plan", "sweep", "tune", "retry"])
def test_options_of_slurm_without_it_are_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([command, "--slurm", "partition=gpu", "time=60"]) == 1
    assert (
        capsys.readouterr().err
        == "eutectic: --slurm partition=gpu time=60 is for jobs of Slurm; add --cluster slurm.\n"
    )
    if command != "tune":
        assert cli.main([command, "--spread", "fsdp2"]) == 1
        assert "--spread fsdp2 is for several devices that train a run; add --devices N." in capsys.readouterr().err
