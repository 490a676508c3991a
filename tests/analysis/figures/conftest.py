"""The sweep that the figures are drawn of."""

import drawing
import pytest
from search import few_starts

from eutectic.analysis.load import Runs, screen
from eutectic.analysis.report import Report, report


@pytest.fixture(scope="session")
def sweep() -> tuple[Runs, Report]:
    frame = drawing.table()
    runs = screen(frame, drawing.curves(frame))
    with few_starts():
        return runs, report(runs)
