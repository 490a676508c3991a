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
    graft,
    hyper,
    isoflop,
    landscape,
    multiplier,
    optima,
    ratio,
    residuals,
    sensitivity,
    share,
    style,
)
from eutectic.analysis.graft import sensitivity as sensitivities
from eutectic.analysis.load import Runs, begun, load, read
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
    """Draw the figures of the sweep in a folder into its figures/, and remove there those that its runs no longer bear.
    Returns what was written. A sweep of grafts, and a scan, have figures of their own and none of laws. Raises
    UserError where a table is unreadable, or there is none."""
    scanned = sensitivities(folder)
    rows = None if len(scanned) and not (folder / "runs.parquet").exists() else read(folder)
    out = files.make_folder(folder / "figures")
    with matplotlib.rc_context(style.RC):
        written = _write("sensitivity", sensitivity.figure(scanned), out)
        written += _write("graft", None if rows is None else graft.figure(rows), out)
    return written if rows is None or begun(rows).any() else written + _draw_laws(folder, out)


def _draw_laws(folder: Path, out: Path) -> list[Path]:
    """A process for each figure."""
    runs = load(folder)
    # the curves are the bulk, and all are never drawn
    shown = replace(runs, curves=envelope.thinned(runs).curves)
    with ProcessPoolExecutor(min(len(FIGURES), os.cpu_count() or 1)) as pool:
        audited = pool.submit(audits, shown)
        fitted = replace(fits(runs), audits=audited.result())
        written = pool.map(partial(_draw, runs=shown, fitted=fitted, out=out), FIGURES)
        return [path for paths in written for path in paths]


def _draw(name: str, runs: Runs, fitted: Report, out: Path) -> list[Path]:
    with matplotlib.rc_context(style.RC):
        return _write(name, FIGURES[name](runs, fitted), out)


def _write(name: str, drawn: Figure | None, out: Path) -> list[Path]:
    paths = [out / f"{name}.{ending}" for ending in METADATA]
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
