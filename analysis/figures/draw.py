"""Every figure of a sweep, and of what was measured of its models, as PNG and SVG, from its parquet alone."""

import os
from collections.abc import Callable, Sequence
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
    filters,
    frontier,
    graft,
    hyper,
    isoflop,
    landscape,
    multiplier,
    optima,
    probe,
    prune,
    ratio,
    residuals,
    sensitivity,
    share,
    style,
)
from eutectic.analysis.isoflop import IsoflopOptimum
from eutectic.analysis.load import Runs, begun, read, read_table, with_curves
from eutectic.analysis.rank import losses
from eutectic.analysis.report import PARABOLAS, Report, fits, isoflop_optima

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
# of tables that a folder may have besides or instead, by the table
TABLES: dict[str, dict[str, Callable[[pd.DataFrame], Figure | None]]] = {
    "sensitivity": {"sensitivity": sensitivity.figure},
    "context": {"context": context.figure},
    "filters": {"filters": filters.responses},
    "poles": {"poles": filters.poles},
    "distill": {"distill": distill.figure},
    "prune": {"prune": prune.figure},
    "trials": {"scores": probe.heat, "capacity": probe.curves},
}
METADATA: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None}}


def draw(folder: Path, optima: Sequence[IsoflopOptimum] | None = None, optima_by: str = PARABOLAS) -> list[Path]:
    """Draw the figures of what is in a folder, a sweep's runs and what was measured of its models, into its figures/,
    and remove there those that are no longer borne. Returns what was written. optima, optima_by: as report.fits() takes
    them.

    A sweep of grafts has a figure of its own and none of laws. Raises UserError where a table is unreadable, or there
    is none, or its rows do not compare.
    """
    tables = {name: table for name in TABLES if (table := read_table(folder, name)) is not None}
    figures: dict[str, Callable[[], Figure | None]] = {
        name: partial(figure, table) for kind, table in tables.items() for name, figure in TABLES[kind].items()
    }
    rows = None if figures and not (folder / "runs.parquet").exists() else read(folder)
    runs = None
    if rows is not None and begun(rows).any():
        figures["graft"] = partial(graft.figure, rows)
    elif rows is not None:
        runs = with_curves(folder, rows)
    if "trials" in tables:
        figures |= _of_trials(folder, tables["trials"], runs)
    out = files.make_folder(folder / "figures")
    names = [*(name for kind in TABLES.values() for name in kind), "ablation", "graft", "correlation"]
    written = [path for name in names for path in write(name, figures.get(name, lambda: None), out)]
    return written if runs is None else [*written, *_draw_laws(runs, partial(fits, runs, 0, optima, optima_by), out)]


def _of_trials(folder: Path, trials: pd.DataFrame, runs: Runs | None) -> dict[str, Callable[[], Figure | None]]:
    """What takes other tables besides: layers that were silenced, and losses, of other sweeps and of the folder's."""
    figures: dict[str, Callable[[], Figure | None]] = {}
    if (silenced := read_table(folder, "ablation")) is not None:
        figures["ablation"] = partial(probe.ablation, silenced, trials)
    known = [] if runs is None else [losses(isoflop_optima(runs)).assign(sweep=folder.name)]
    if (others := read_table(folder, "losses")) is not None:
        known.append(others)
    if known:
        figures["correlation"] = partial(probe.scatter, trials, pd.concat(known, ignore_index=True))
    return figures


def _draw_laws(runs: Runs, fitting: Callable[[], Report], out: Path) -> list[Path]:
    """A process for each figure."""
    # the curves are the bulk, and all are never drawn
    shown = replace(runs, curves=envelope.thinned(runs).curves)
    with ProcessPoolExecutor(min(len(FIGURES), os.cpu_count() or 1)) as pool:
        audited = pool.submit(audits, shown)
        fitted = replace(fitting(), audits=audited.result())
        written = pool.map(partial(_draw, runs=shown, fitted=fitted, out=out), FIGURES)
        return [path for paths in written for path in paths]


def _draw(name: str, runs: Runs, fitted: Report, out: Path) -> list[Path]:
    return write(name, partial(FIGURES[name], runs, fitted), out)


def write(name: str, figure: Callable[[], Figure | None], out: Path) -> list[Path]:
    """As PNG and SVG, or neither, where there is no figure; returns what was written."""
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
