"""`eutectic retry`: what is not submitted after all has still failed."""

import contextlib
import dataclasses
from pathlib import Path

import pytest

from eutectic.cli import main
from eutectic.commands import training
from eutectic.config import RunConfig
from eutectic.sweeps import provenance, recipe
from eutectic.sweeps.ledger import Ledger


@pytest.fixture
def failed(tmp_path: Path, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A sweep in results/s, of one run, which failed."""
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(Path("results/s"))
    provenance.open_sweep(ledger.folder, provenance.of_code(), False)
    ledger.add([small_run])
    ledger.fail(small_run.run_id, "ValueError: no")
    return ledger


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "1", "--cluster", "slurm", "--slurm", "time=abc"], "--slurm time=abc is no time limit"),
        (
            ["--workers", "1", "--cluster", "slurm", "--slurm", "array_parallelism=0"],
            "must be a whole number, 1 or more",
        ),
        ([], "no recipe 'test'"),
        (["--workers", "1", "--memory", "1e-9"], "and a worker has 0.0 GB"),
    ],
)
def test_a_failure_is_remembered_where_nothing_is_submitted(
    arguments: list[str], words: str, failed: Ledger, small_run: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retry", "--name", "s", *arguments]) == 1
    assert words in capsys.readouterr().err
    assert failed.statuses() == {small_run.run_id: "failed"}
    assert failed.failure(small_run.run_id) == "ValueError: no"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_is_remembered_whatever_ends_the_submission(
    error: BaseException, failed: Ledger, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        assert failed.statuses() == {small_run.run_id: "planned"}, "workers may begin before all are submitted"
        raise error

    monkeypatch.setattr(training, "submit_runs", ended)
    with contextlib.suppress(BaseException):
        main(["retry", "--name", "s", "--workers", "1"])
    assert failed.failure(small_run.run_id) == "ValueError: no"


def test_what_is_retried_keeps_its_device(
    failed: Ledger, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run on a CPU, by a recipe for GPUs."""
    on: list[str] = []

    def noted(options: object, ledger: object, device: str, *_: object) -> list[object]:
        on.append(device)
        return []

    gpu = dataclasses.replace(small_run, recipe="gpu", seed=4)
    assert gpu.precision == "fp32" and recipe.find("gpu").device == "cuda"
    failed.add([gpu])
    failed.fail(gpu.run_id, "ValueError: no")
    (failed.runs / small_run.run_id / "failure.json").unlink()
    monkeypatch.setattr(training, "submit_runs", noted)
    main(["retry", "--name", "s"])
    assert on == ["cpu"]


def test_a_failure_whose_config_is_gone_is_left(
    failed: Ledger, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = dataclasses.replace(small_run, seed=4)
    failed.add([other])
    failed.fail(other.run_id, "ValueError: no")
    (failed.runs / small_run.run_id / "config.json").unlink()
    monkeypatch.setattr(training, "submit_runs", lambda *_: [])
    main(["retry", "--name", "s", "--workers", "1", "--cluster", "slurm"])
    assert "1 that failed are left as they are" in capsys.readouterr().err
    assert failed.statuses() == {small_run.run_id: "failed", other.run_id: "planned"}


def test_a_failure_whose_config_is_gone_is_told(
    failed: Ledger, small_run: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    (failed.runs / small_run.run_id / "config.json").unlink()
    assert main(["retry", "--name", "s"]) == 1
    assert "the configs of what failed in results/s are gone" in capsys.readouterr().err
