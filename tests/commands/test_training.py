"""`eutectic retry`: what is not submitted after all has still failed."""

from pathlib import Path

import pytest

from eutectic.cli import main
from eutectic.config import RunConfig
from eutectic.sweeps import provenance
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
    ],
)
def test_a_failure_is_remembered_where_nothing_is_submitted(
    arguments: list[str], words: str, failed: Ledger, small_run: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retry", "--name", "s", *arguments]) == 1
    assert words in capsys.readouterr().err
    assert failed.statuses() == {small_run.run_id: "failed"}
    assert failed.failure(small_run.run_id) == "ValueError: no"


def test_a_failure_whose_config_is_gone_is_told(
    failed: Ledger, small_run: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    (failed.runs / small_run.run_id / "config.json").unlink()
    assert main(["retry", "--name", "s"]) == 1
    assert "the configs of what failed in results/s are gone" in capsys.readouterr().err
