"""The look that figures share: colours, axes, limits."""

import numpy as np
import pytest
from drawing import ARCHS

from eutectic.analysis.figures import style


def test_looks_tell_architectures_apart() -> None:
    one = style.looks(list(ARCHS), ARCHS)
    bright = [sum(look["color"][:3]) for look in one.values()]
    assert bright == sorted(bright), "the share is not read from the brightness"
    assert len({look["marker"] for look in one.values()}) == 5
    shares = {"hyena": 0.0, "mamba2": 0.0, "hyena+attn": 0.5, "mamba2+attn": 0.5, "attn": 1.0}
    two = style.looks(list(shares), shares)
    assert two["attn"]["color"] == (0.0, 0.0, 0.0)
    for mixer in ("hyena", "mamba2"):
        pure, mixed = np.array(two[mixer]["color"]), np.array(two[f"{mixer}+attn"]["color"])
        assert mixed == pytest.approx(0.7 * pure)
    assert two["hyena"]["color"] != two["mamba2"]["color"]


def test_an_interval_that_runs_off_leaves_the_values_a_third_of_the_axis() -> None:
    _, (axes,) = style.panels(1)
    axes.set_yscale("log")
    style.bound(axes, [1e4, 1e5], [1e-300, 1e17, np.nan, np.inf])
    low, high = np.log(axes.get_ylim())
    assert np.log(10) / (high - low) == pytest.approx(1 / 3, rel=0.05)
    style.bound(axes, [1e4, 1e5], [9e3, 1.1e5])
    low, high = np.log(axes.get_ylim())
    assert np.exp(low) == pytest.approx(9e3 * 10**-0.05) and np.exp(high) == pytest.approx(1.1e5 * 10**0.05)


def test_open_ends_are_off_the_axis() -> None:
    low, high = style.ends(np.array([0.0, 0.5, np.nan]), np.array([2.0, np.inf, np.nan]))
    assert (low[0], low[1], high[0], high[1]) == (1 / style.FAR, 0.5, 2.0, style.FAR)
    assert np.isnan([low[2], high[2]]).all()


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (18.0, 30.0, ["20", "22.5", "25", "27.5"]),
        (1e5, 3e6, ["100k", "200k", "500k", "1M", "2M"]),
        (1e6, 1e9, ["1M", "1B"]),
    ],
)
def test_log_axes_are_labelled_at_any_span(low: float, high: float, labels: list[str]) -> None:
    drawn, (axes,) = style.panels(1)
    axes.plot([low, high], [low, high])
    axes.set_xlim(low, high)
    style.log_axis(axes, "x")
    drawn.draw_without_rendering()
    shown = [label.get_text() for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert set(labels) <= set(shown)
