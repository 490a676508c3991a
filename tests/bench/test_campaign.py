"""bench/campaign.py where nothing can be trained."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_campaign_that_cannot_be_planned_ends_with_one_sentence(tmp_path: Path) -> None:
    """For want of a GPU, its text or its tuning."""
    command = [sys.executable, ROOT / "bench/campaign.py", "--results", tmp_path, "--minutes", "1"]
    environment = os.environ | {"EUTECTIC_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("eutectic: ") and done.stderr.count("\n") == 1
