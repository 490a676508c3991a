"""Every figure of a sweep, as PNG and SVG, from its parquet alone."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from eutectic import files
from eutectic.analysis.figures import (
    audit,
    contours,
    frontier,
    hyper,
    isoflop,
    landscape,
    multiplier,
    optima,
    ratio,
    residuals,
    share,
    style,
)
from eutectic.analysis.hyper import Window
from eutectic.analysis.hyper import optima as find_optima
from eutectic.analysis.load import Runs, load
from eutectic.analysis.report import Report, report


def tuned(runs: Runs, report: Report) -> Figure | None:
    """The hyperparameters of the architecture with the most cells (one size and token count) that varied both learning
    rate and batch and have an optimum in both. None where there is no such cell."""
    cells = runs.tried.assign(batch=runs.tried["batch_size"] * runs.tried["seq_len"])
    varied = cells.groupby(["arch", "params", "tokens"])[["lr", "batch"]].transform("nunique").min(axis=1) > 1
    found = {arch: rows for arch in runs.archs if len(rows := cells[varied & (cells["arch"] == arch)])}
    usable = {arch: sum(o.status == "optimum" for o in find_optima(rows, Window())) for arch, rows in found.items()}
    best = max(usable, key=lambda arch: usable[arch], default="")
    if not usable.get(best):
        return None
    drawn = hyper.figure(found[best], Window())
    drawn.suptitle(best)
    return drawn


# each gives None where the runs do not bear it
FIGURES: dict[str, Callable[[Runs, Report], Figure | None]] = {
    "isoflop": isoflop.figure,
    "frontier": frontier.figure,
    "optima": optima.figure,
    "ratio": ratio.figure,
    "share": share.figure,
    "multiplier": multiplier.figure,
    "contours": contours.figure,
    "residuals": residuals.figure,
    "landscape": landscape.figure,
    "audit": audit.figure,
    "hyper": tuned,
}
METADATA: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None}}


def draw(folder: Path) -> list[Path]:
    """Draw the figures of the sweep in a folder into its figures/, a process each, and remove there those that its runs
    no longer bear. Returns what was written. Raises UserError where load() does."""
    runs = load(folder)
    fitted = report(runs)
    out = files.make_folder(folder / "figures")
    # no figure draws the curves, which are the bulk
    shown = replace(runs, curves=runs.curves.iloc[:0])
    with ProcessPoolExecutor(min(len(FIGURES), os.cpu_count() or 1)) as pool:
        written = pool.map(partial(_draw, runs=shown, fitted=fitted, out=out), FIGURES)
        return [path for paths in written for path in paths]


def _draw(name: str, runs: Runs, fitted: Report, out: Path) -> list[Path]:
    paths = [out / f"{name}.{ending}" for ending in METADATA]
    with matplotlib.rc_context(style.RC):
        drawn = FIGURES[name](runs, fitted)
        if drawn is None:
            for path in paths:
                path.unlink(missing_ok=True)
            return []
        engine = drawn.get_layout_engine()
        assert engine is not None  # style.panels asks for one
        engine.execute(drawn)
        drawn.set_layout_engine("none")  # laid out once, not again for each file
        for path in paths:
            with files.replacing(path) as scratch:
                drawn.savefig(scratch, format=path.suffix[1:], metadata=METADATA[path.suffix[1:]])
    return paths
