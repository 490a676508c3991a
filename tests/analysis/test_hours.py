"""Hours of devices by the clock."""

import pandas as pd
import pytest

from eutectic.analysis.hours import busy_hours


def at(*times: tuple[str, float]) -> pd.DataFrame:
    """Runs that ended then and took so many seconds."""
    return pd.DataFrame(
        [{"finished": f"2026-11-24T{end}+00:00", "seconds": seconds, "device": "a"} for end, seconds in times]
    )


@pytest.mark.parametrize(
    ("runs", "seconds"),
    [
        (at(("10:00:00", 60)), 60),
        (at(("10:00:00", 60), ("11:00:00", 30)), 90),
        (at(("10:00:00", 60), ("10:00:30", 60)), 90),
        (at(("10:00:00", 600), ("09:58:00", 60), ("10:00:30", 60), ("12:00:00", 5)), 635),
    ],
    ids=["one", "apart", "overlapping", "one within another"],
)
def test_hours_of_runs_side_by_side_count_once(runs: pd.DataFrame, seconds: float) -> None:
    assert busy_hours(runs) == pytest.approx(seconds / 3600)
    assert busy_hours(runs[::-1]) == pytest.approx(seconds / 3600)


def test_hours_of_a_shared_device_count_once() -> None:
    """On one, 0:00 to 1:00, 0:30 to 1:30, within both 0:45 to 1:00, and 3:00 to 3:30; on the other 0:00 to 1:00."""
    ends = pd.Series(["2026-01-01T01:00:00+00:00", "2026-01-01T01:30:00+00:00", "2026-01-01T01:00:00+00:00"])
    ends = pd.concat([ends, pd.Series(["2026-01-01T03:30:00+00:00", "2026-01-01T01:00:00+00:00"])], ignore_index=True)
    seconds = [3600.0, 3600.0, 900.0, 1800.0, 3600.0]
    frame = pd.DataFrame({"finished": ends, "seconds": seconds, "device": ["a"] * 4 + ["b"]})
    assert busy_hours(frame) == pytest.approx(1.5 + 0.5 + 1.0)
