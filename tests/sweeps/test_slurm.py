"""How jobs ended, as sacct has it: each end in words of its own."""

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from eutectic.display.status import show_status
from eutectic.sweeps.slurm import ended
from eutectic.sweeps.standing import look

# as sacct of Slurm 22.05 prints them; a step's own line follows its job's
ACCOUNTS = """\
7_0|COMPLETED|0:0
7_0.batch|COMPLETED|0:0
7_1|NODE_FAIL|0:0
7_2|FAILED|0:9
7_2.batch|FAILED|0:9
7_2.0|OUT_OF_MEMORY|0:125
7_3|TIMEOUT|0:0
7_4|CANCELLED by 0|0:0
7_5|CANCELLED by 4294967290|0:0
7_6|CANCELLED|0:0
7_7|PREEMPTED|0:0
7_8|FAILED|3:0
7_9|FAILED|0:9
7_10|RUNNING|0:0
7_[11-15]|PENDING|0:0
7_[16-18%2]|CANCELLED by 0|0:0
8|OUT_OF_MEMORY|0:125
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With three submitted jobs, of which two began and the third collects, and a sacct that knows no others."""
    program = tmp_path / "bin/sacct"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\ncat <<END\n{ACCOUNTS}END\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "jobs").mkdir()
    for job in (7, 8, 9):
        name = "eutectic-collect" if job == 9 else "eutectic"
        (tmp_path / f"jobs/{job}_submission.sh").write_text(f"#SBATCH --job-name={name}\n")
    for job in ("7_1", "8", "9"):
        (tmp_path / f"jobs/{job}_0_log.err").touch()
    return tmp_path


def test_ends_are_told_apart(sweep: Path) -> None:
    assert {job.job: (job.state, job.how) for job in ended(sweep)} == {
        "7_1": ("NODE_FAIL", "its node failed"),
        "7_2": ("OUT_OF_MEMORY", "it was killed for its memory"),
        "7_3": ("TIMEOUT", "it reached its time limit"),
        "7_4": ("CANCELLED", "it was cancelled by root"),
        "7_5": ("CANCELLED", "it was cancelled by user 4294967290"),
        "7_6": ("CANCELLED", "it was cancelled"),
        "7_7": ("PREEMPTED", "it was preempted and not requeued"),
        "7_8": ("FAILED", "it failed with exit status 3"),
        "7_9": ("FAILED", "it was killed by signal 9"),
        "7_[16-18%2]": ("CANCELLED", "it was cancelled by root"),
        "8": ("OUT_OF_MEMORY", "it was killed for its memory"),
    }
    (asked,) = (sweep / "asked").read_text().splitlines()
    assert sorted(asked.split(" -j ")[1].split(",")) == ["7", "8"]


def test_a_log_is_named_where_there_is_one(sweep: Path) -> None:
    logs = {job.job: job.log for job in ended(sweep) if job.log}
    assert logs == {job: f"{sweep}/jobs/{job}_0_log.err" for job in ("7_1", "8")}
    standing = dataclasses.replace(look(sweep), jobs=ended(sweep))
    console = Console(width=200, record=True, file=io.StringIO())
    show_status(console, standing)
    told = console.export_text()
    assert f"job 8 ended early: it was killed for its memory (OUT_OF_MEMORY); its log is {logs['8']}" in told
    assert "job 7_[16-18%2] ended early: it was cancelled by root (CANCELLED)\n" in told


def test_without_accounting_there_is_nothing_to_tell(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert ended(sweep) == []
