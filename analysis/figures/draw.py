"""Every figure of a sweep, and of what was measured of its models, as PNG and SVG, from its parquet alone."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from eutectic import files
from eutectic.analysis.audit import audits
from eutectic.analysis.figures import (
    audit,
    context,
    contours,
    distill,
    envelope,
    frontier,
    graft,
    hyper,
    isoflop,
    landscape,
    multiplier,
    optima,
    prune,
    ratio,
    residuals,
    sensitivity,
    share,
    style,
)
from eutectic.analysis.load import Runs, begun, read, read_table, with_curves
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
# of tables that a folder may have besides or instead
TABLES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "sensitivity": sensitivity.figure,
    "context": context.figure,
    "distill": distill.figure,
    "prune": prune.figure,
}
METADATA: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None}}


def draw(folder: Path) -> list[Path]:
    """Draw the figures of what is in a folder, a sweep's runs and what was measured of its models, into its figures/,
    and remove there those that are no longer borne. Returns what was written.

    A sweep of grafts has a figure of its own and none of laws. Raises UserError where a table is unreadable, or there
    is none, or its rows do not compare.
    """
    tables = {name: read_table(folder, name) for name in TABLES}
    figures: dict[str, Callable[[], Figure | None]] = {
        name: partial(TABLES[name], table) for name, table in tables.items() if table is not None
    }
    rows = None if figures and not (folder / "runs.parquet").exists() else read(folder)
    if rows is not None:
        figures["graft"] = partial(graft.figure, rows)
    out = files.make_folder(folder / "figures")
    written = [path for name in (*TABLES, "graft") for path in _write(name, figures.get(name, lambda: None), out)]
    return written if rows is None or begun(rows).any() else [*written, *_draw_laws(with_curves(folder, rows), out)]


def _draw_laws(runs: Runs, out: Path) -> list[Path]:
    """A process for each figure."""
    # the curves are the bulk, and all are never drawn
    shown = replace(runs, curves=envelope.thinned(runs).curves)
    with ProcessPoolExecutor(min(len(FIGURES), os.cpu_count() or 1)) as pool:
        audited = pool.submit(audits, shown)
        fitted = replace(fits(runs), audits=audited.result())
        written = pool.map(partial(_draw, runs=shown, fitted=fitted, out=out), FIGURES)
        return [path for paths in written for path in paths]


def _draw(name: str, runs: Runs, fitted: Report, out: Path) -> list[Path]:
    return _write(name, partial(FIGURES[name], runs, fitted), out)


def _write(name: str, figure: Callable[[], Figure | None], out: Path) -> list[Path]:
    paths = [out / f"{name}.{ending}" for ending in METADATA]
    with matplotlib.rc_context(style.RC):
        drawn = figure()
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
