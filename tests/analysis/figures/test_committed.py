"""What is committed is what `make figures` draws of the committed parquet, byte for byte.

Here of one figure which no descent decides, for this process has its CPU's own arithmetic, which moves laws in their
last digits, and what is drawn of them by a millionth of a point; and of one of laws, with the command's arithmetic,
which is one for all.
"""

import os
import platform
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from eutectic.analysis.figures import isoflop
from eutectic.analysis.figures.draw import write
from eutectic.analysis.load import load
from eutectic.analysis.report import fits
from eutectic.cli import PORTABLE

RESULTS = Path(__file__).parents[3] / "results"
H200 = RESULTS / "h200"
RATIO = RESULTS / "campaign/ratio"
OF_LAWS = """
import sys
from functools import partial
from pathlib import Path
from eutectic.analysis.figures import multiplier
from eutectic.analysis.figures.draw import write
from eutectic.analysis.load import load
from eutectic.analysis.report import fits
runs = load(Path(sys.argv[1]))
write("multiplier", partial(multiplier.figure, runs, fits(runs)), Path(sys.argv[2]))
"""


@pytest.mark.usefixtures("few_starts")
def test_a_committed_figure_is_drawn_again(tmp_path: Path) -> None:
    runs = load(H200)
    written = write("isoflop", partial(isoflop.figure, runs, fits(runs)), tmp_path)
    assert [path.name for path in written] == ["isoflop.png", "isoflop.svg"]
    for path in written:
        assert path.read_bytes() == (H200 / "figures" / path.name).read_bytes(), path.name


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the arithmetic is of x86 CPUs")
def test_a_committed_figure_of_laws_is_drawn_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OF_LAWS, str(RATIO), str(tmp_path)]
    subprocess.run(command, env=os.environ | PORTABLE, check=True, capture_output=True)
    for name in ("multiplier.png", "multiplier.svg"):
        assert (tmp_path / name).read_bytes() == (RATIO / "figures" / name).read_bytes(), name


def test_figures_are_the_same_on_another_cpu(tmp_path: Path) -> None:
    """Without the command's own arithmetic three of these six differ between the two."""
    old = {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL"}
    drawn = []
    for name, cpu in (("here", {}), ("there", old)):
        folder = tmp_path / name / "tune"
        folder.mkdir(parents=True)
        for table in ("runs", "curves"):
            shutil.copy(RESULTS / "campaign/tune" / f"{table}.parquet", folder)
        command = [sys.executable, "-m", "eutectic.cli", "figures", "--results", str(folder.parent), "--name", "tune"]
        subprocess.run(command, env=os.environ | cpu, check=True, capture_output=True)
        drawn.append({path.name: path.read_bytes() for path in (folder / "figures").iterdir()})
    assert len(drawn[0]) == 6
    assert drawn[0] == drawn[1]
