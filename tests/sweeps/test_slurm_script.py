"""What would be handed to sbatch, where there is no Slurm: the options at their places, and nothing written."""

from pathlib import Path

import pytest

from eutectic import cli
from eutectic.errors import UserError
from eutectic.sweeps.submit import Cluster, script


def lines(options: dict[str, str], workers: int = 4, device: str = "cuda") -> list[str]:
    cluster = Cluster("slurm", workers, device, cpus=2, hours=1.5, memory=15.2e9, slurm=options)
    return script(cluster, Path("/nowhere/sweep")).splitlines()


def test_needs_and_options_reach_the_script() -> None:
    options = {"partition": "gpu", "account": "me", "nice": "100", "exclusive": "", "setup": "module load cuda"}
    text = lines(options)
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
        "signal=USR2@90",
        "output=/nowhere/sweep/jobs/%A_%a_0_log.out",
    ):
        assert f"#SBATCH --{option}" in text
    assert text.index("module load cuda") < next(k for k, line in enumerate(text) if line.startswith("srun"))


def test_options_of_the_user_come_before_what_is_reckoned() -> None:
    text = lines({"time": "30", "mem": "8GB", "array_parallelism": "2", "signal-delay-s": "200"})
    for option in ("time=30", "mem=8GB", "array=0-3%2", "signal=USR2@200"):
        assert f"#SBATCH --{option}" in text


def test_one_worker_is_no_array() -> None:
    assert not [line for line in lines({}, workers=1) if "array" in line]


def test_a_value_that_cannot_be_is_named() -> None:
    with pytest.raises(UserError, match="array_parallelism=many must be a whole number"):
        lines({"array_parallelism": "many"})


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
