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
from eutectic.analysis.audit import audits
from eutectic.analysis.figures import (
    audit,
    contours,
    envelope,
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
from eutectic.analysis.load import Runs, load
from eutectic.analysis.report import Report, fits

# each gives None where the runs do not bear it
FIGURES: dict[str, Callable[[Runs, Report], Figure | None]] = {
    "isoflop": isoflop.figure,
    "frontier": frontier.figure,
    "envelope": envelope.figure,
    "optima": optima.figure,
    "ratio": ratio.figure,
    "share": share.figure,
    "multiplier": multiplier.figure,
    "contours": contours.figure,
    "residuals": residuals.figure,
    "landscape": landscape.figure,
    "audit": audit.figure,
    "hyper": hyper.laws,
    "hyper_cells": hyper.planes,
}
METADATA: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None}}


def draw(folder: Path) -> list[Path]:
    """Draw the figures of the sweep in a folder into its figures/, a process each, and remove there those that its runs
    no longer bear. Returns what was written. Raises UserError where load() does."""
    runs = load(folder)
    out = files.make_folder(folder / "figures")
    # the curves are the bulk, and all are never drawn
    shown = replace(runs, curves=envelope.thinned(runs).curves)
    with ProcessPoolExecutor(min(len(FIGURES), os.cpu_count() or 1)) as pool:
        audited = pool.submit(audits, shown)
        fitted = replace(fits(runs), audits=audited.result())
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
