"""What is committed is what `make figures` draws of the committed parquet, byte for byte.

Of one figure, which no descent decides: another CPU's arithmetic moves laws in their last digits, and what is drawn of
them by a millionth of a point.
"""

from functools import partial
from pathlib import Path

import pytest

from eutectic.analysis.figures import isoflop
from eutectic.analysis.figures.draw import write
from eutectic.analysis.load import load
from eutectic.analysis.report import fits

H200 = Path(__file__).parents[3] / "results/h200"


@pytest.mark.usefixtures("few_starts")
def test_a_committed_figure_is_drawn_again(tmp_path: Path) -> None:
    runs = load(H200)
    written = write("isoflop", partial(isoflop.figure, runs, fits(runs)), tmp_path)
    assert [path.name for path in written] == ["isoflop.png", "isoflop.svg"]
    for path in written:
        assert path.read_bytes() == (H200 / "figures" / path.name).read_bytes(), path.name
