"""The hyperparameter figure shows the law it was given and counts what is behind it."""

import numpy as np
import pandas as pd
import pytest

from eutectic.analysis.figures import hyper
from eutectic.analysis.hyper import Window, optima
from eutectic.analysis.hyper_law import law


def test_the_figure_draws_the_law_and_counts_runs_and_cells() -> None:
    random = np.random.default_rng(0)
    lr, batch = (v.ravel() for v in np.meshgrid(np.geomspace(2.5e-4, 1.6e-2, 13), np.geomspace(2**15, 2**21, 7)))
    cells = []
    for params in (1e8, 4e8, 1.6e9):
        for tokens in (2e9, 8e9, 3.2e10):
            x = np.log(lr / 2e-3) + 0.7 * np.log(params / 4e8)
            y = np.log(batch / 2.6e5) - 0.5 * np.log(tokens / 8e9)
            loss = 2 + 0.015 * x**2 + 0.015 * y**2 + random.normal(0, 0.003, len(x))
            cells.append(pd.DataFrame({"params": params, "tokens": tokens, "lr": lr, "batch": batch, "loss": loss}))
    cells[-1]["loss"] = 3 + np.log(cells[-1]["lr"])  # falls towards small rates for ever: no optimum
    runs = pd.concat(cells)
    drawn = hyper.figure(runs, Window())
    assert "819 runs in 9 cells of parameters and tokens, 8 of them with an optimum" in " ".join(
        drawn.get_supxlabel().split()
    )
    plane, rate, size = drawn.axes[:3]
    assert plane.get_title() == "4e8 parameters, 8e9 tokens"
    found = optima(runs, Window())
    for axes, across, fitted in (
        (rate, "params", law(found, "lr", ("params", "tokens"))),
        (size, "tokens", law(found, "batch", ("tokens",))),
    ):
        assert fitted is not None
        line = next(line for line in axes.get_lines() if line.get_label() == "this table")
        slope = np.polyfit(*np.log(line.get_data()), 1)[0]
        assert slope == pytest.approx(fitted.exponents[across])
        # moved along the law to the line's own size or tokens, optima lie on it to their residuals
        points = axes.containers[0].lines[0].get_xydata()
        off = np.log(points[:, 1]) - np.interp(np.log(points[:, 0]), *np.log(line.get_data()))
        assert off == pytest.approx(fitted.residuals, abs=1e-9)
