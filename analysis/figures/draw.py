"""Every figure of a sweep, as PNG and SVG, from its parquet alone."""

from pathlib import Path

import matplotlib

from eutectic import files
from eutectic.analysis.figures import isoflop, perplexity, ratio, style
from eutectic.analysis.load import load
from eutectic.analysis.report import report

FIGURES = {"isoflop": isoflop.figure, "perplexity": perplexity.figure, "ratio": ratio.figure}


def draw(folder: Path) -> list[Path]:
    """Draw the figures of the sweep in a folder into its figures/. Raises UserError where load() does."""
    runs = load(folder)
    fitted = report(runs)
    out = files.make_folder(folder / "figures")
    written = []
    for name, figure in FIGURES.items():
        with matplotlib.rc_context(style.RC):
            drawn = figure(runs, fitted)
            for ending in ("png", "svg"):
                path = out / f"{name}.{ending}"
                metadata = {"Date": None} if ending == "svg" else {"Software": None}
                with files.replacing(path) as scratch:
                    drawn.savefig(scratch, format=ending, metadata=metadata)
                written.append(path)
    return written
