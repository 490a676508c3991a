"""A small sweep of planted truth, its figures, and what they show."""

import numpy as np
import pandas as pd
import sweep_table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eutectic.analysis.figures.draw import FIGURES
from eutectic.analysis.load import Runs
from eutectic.analysis.report import Report

ARCHS = sweep_table.ARCHS
THREE = {"hyena": 0.0, "hyena+attn": 0.5, "attn": 1.0}
BUDGETS = sweep_table.BUDGETS[:3]
POINTS = 60  # of a curve


def loss(n: float, d: float, r: float) -> float:
    return 1.7 + 0.2 * (r - 0.4) ** 2 + 400 / n**0.34 + 400 / d**0.34


def table(archs: dict[str, float] = ARCHS, budgets: tuple[float, ...] = BUDGETS) -> pd.DataFrame:
    return sweep_table.table(loss, archs, budgets, noise=0.002)


def curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each run, its truth at every token."""
    params, tokens, share = (runs[name].to_numpy(float)[:, None] for name in ("params", "tokens", "attn_share"))
    seen = tokens * np.geomspace(0.01, 1, POINTS)
    columns = {"tokens": seen, "flops": 6 * params * seen, "train_loss": loss(params, seen, share)}
    ids = {"run_id": np.repeat(runs["run_id"].to_numpy(), POINTS)}
    return pd.DataFrame(ids | {name: values.ravel() for name, values in columns.items()})


def figure(name: str, sweep: tuple[Runs, Report], n_runs: int = 105) -> Figure:
    """n_runs: how many it says that it shows."""
    drawn = FIGURES[name](*sweep)
    assert drawn is not None
    assert f" {n_runs} runs, 1 seed. FLOPs by 6nd, bytes tokens." in caption(drawn)
    return drawn


def caption(drawn: Figure) -> str:
    return " ".join(drawn.get_supxlabel().split())


def labels(drawn: Figure) -> list[str]:
    """Of the legend."""
    return [text.get_text() for text in drawn.legends[0].get_texts()]


def lines(axes: Axes, *styles: str) -> list[Line2D]:
    """Of these line styles, without legend handles."""
    found = [line for line in axes.get_lines() if line.get_linestyle() in styles]
    return [line for line in found if len(line.get_xdata()) and "_child" in str(line.get_label())]


def bars(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By label: points (n, 2) and the ends of their vertical error bars (n, 2)."""
    found = {}
    for container in axes.containers:
        points, _, (stems,) = container.lines
        found[str(container.get_label())] = (points.get_xydata(), np.array(stems.get_segments())[:, :, 1])
    return found


def inside(axes: Axes) -> bool:
    """All points of error bars within the axes' width."""
    low, high = axes.get_xlim()
    return all(((low < points[:, 0]) & (points[:, 0] < high)).all() for points, _ in bars(axes).values())
