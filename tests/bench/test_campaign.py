"""bench/campaign.py where nothing can be trained."""

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_campaign_that_cannot_be_planned_ends_with_one_sentence(tmp_path: Path) -> None:
    """For want of a GPU, its text or its tuning."""
    command = [sys.executable, ROOT / "bench/campaign.py", "--results", tmp_path, "--minutes", "1"]
    environment = os.environ | {"EUTECTIC_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("eutectic: ") and done.stderr.count("\n") == 1


def test_a_run_that_would_be_broken_off_is_not_begun() -> None:
    in_time, begun = runpy.run_path(str(ROOT / "bench/campaign.py"))["in_time"], list[bool]()
    in_time(time.monotonic() + 60, begun.append, True)
    in_time(time.monotonic() - 1, begun.append, False)
    assert begun == [True]
