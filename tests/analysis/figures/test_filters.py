"""Figures of filters and poles: what is drawn are the tables' numbers, and the caption counts it."""

import itertools
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure

from eutectic.analysis.figures import filters, style

LENGTH, LAGS = 64, [0, 1, 2, 3, 4, 8, 16, 32]


def about(model: str, layer: int) -> dict[str, Any]:
    place = {"path": f"blocks.{layer}.mixer", "layer": layer, "mixer": "hyena(conv=fft)", "channels": 12}
    return {"model": model, "arch": "hyena", "seq_len": LENGTH} | place


def responses(models: int, layers: int) -> pd.DataFrame:
    """Two filters of each layer: channel 7 halves with each lag, from -4; channel 3 is 0.1 and -0.2 in each span."""
    rows = []
    for model, layer in itertools.product(range(models), range(layers)):
        for lag in LAGS:
            for channel, memory, low, high in ((7, 3, -4 * 0.5**lag, -4 * 0.5**lag), (3, 20, -0.2, 0.1)):
                told = {"channel": channel, "memory": memory, "lag": lag, "value": high, "low": low, "high": high}
                rows.append(about(f"m{model}", layer) | told)
    return pd.DataFrame(rows)


def poles(models: int, layers: int) -> pd.DataFrame:
    random, rows = np.random.default_rng(0), []
    for model, layer in itertools.product(range(models), range(layers)):
        for channel, mode in itertools.product(range(12), range(4)):
            constant = float(np.exp(random.uniform(0, 6)))
            of_plane = {"radius": np.exp(-1 / constant), "angle": random.uniform(0.1, 3) if mode else 0.0}
            size = {"residue": random.exponential(), "time_constant": constant}
            rows.append(about(f"m{model}", layer) | {"channel": channel, "mode": mode} | of_plane | size)
    return pd.DataFrame(rows)


def drawn(made: Figure) -> str:
    """Its caption."""
    with matplotlib.rc_context(style.RC):
        made.canvas.draw()
    (label,) = [text.get_text() for text in made.texts if "models" in text.get_text()] or [made.get_supxlabel()]
    return " ".join(label.split())


def test_responses_are_drawn_over_their_largest_from_the_shortest_memory_on() -> None:
    made = filters.responses(responses(1, 2))
    caption = drawn(made)
    assert [axes.get_title() for axes in made.axes] == ["hyena\nlayer 0: hyena", "hyena\nlayer 1: hyena"]
    for axes in made.axes:
        assert [label.get_text() for label in axes.get_yticklabels()] == ["3", "20"]
        assert axes.get_xlim() == (1, LENGTH)
        above, below = ([c for c in axes.collections if isinstance(c, PolyCollection)][k] for k in (2, 1))
        # of the second filter, whose largest is -0.2, and of the first, whose largest from lag 1 on is -2
        (_, y, _, height), (_, lower, _, depth) = (c.get_paths()[0].get_extents().bounds for c in (above, below))
        assert (y, height) == pytest.approx((1 - filters.HEIGHT / 4, filters.HEIGHT / 4))
        assert (lower, depth) == pytest.approx((0, filters.HEIGHT / 2))
        marks = [line.get_xdata()[0] for line in axes.get_lines() if len(set(np.asarray(line.get_xdata()))) == 1]
        assert marks == [3, 20]
    assert "2 shown of 12. 1 model, 2 of their layers, trained on sequences of 64 tokens." in caption


def test_poles_are_where_they_are_and_time_constants_are_counted() -> None:
    table = poles(1, 2)
    table.loc[5, "residue"] = np.nan
    made = filters.poles(table)
    caption = drawn(made)
    *circles, constants = made.axes
    colours = []
    for axes, (_, own) in zip(circles, table.groupby("layer"), strict=True):
        upper, lower = (c.get_offsets() for c in axes.collections if isinstance(c, PathCollection))
        expected = own["radius"] * np.exp(1j * own["angle"])
        assert np.asarray(upper) @ [1, 1j] == pytest.approx(expected.to_numpy())
        pairs = np.isfinite(np.ma.filled(lower, np.nan)[:, 1])
        assert pairs.tolist() == (own["angle"] > 0).tolist()
        colours.append(np.asarray(axes.collections[0].get_facecolor()))
        opaque = colours[-1][:, 3]
        largest = own["residue"] >= own["residue"].quantile(0.9)
        assert (opaque[largest] == 1).all() and (opaque[(~largest & own["residue"].notna()).to_numpy()] < 1).all()
    assert colours[0][5].tolist() == [0.6, 0.6, 0.6, 1.0]
    medians = [line.get_xdata()[0] for line in constants.get_lines()][:2]
    assert medians == pytest.approx(table.groupby("layer")["time_constant"].median().tolist())
    assert constants.get_lines()[2].get_xdata()[0] == LENGTH
    tallest = [k - float(np.nanmin(patch.get_data().values)) for k, patch in enumerate(constants.patches)]
    assert tallest == pytest.approx([filters.HEIGHT] * 2)
    assert "96 modes of 24 filters. 1 model, 2 of their layers" in caption


def test_of_many_layers_some_are_shown_and_that_is_said() -> None:
    made = filters.responses(responses(3, 20))
    titles = [axes.get_title() for axes in made.axes]
    shown = [0, 3, 5, 8, 11, 14, 16, 19]
    assert titles == [f"hyena, m{m}\nlayer {k}: hyena" for m in range(3) for k in shown]
    assert "3 models, 24 of 60 of their layers" in drawn(made)
    made = filters.poles(poles(30, 1))
    assert len(made.axes) == 2 * filters.MOST_LAYERS and "30 models, 24 of 30 of their layers" in drawn(made)
