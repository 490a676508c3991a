"""The figures of a campaign as a whole, beside those of its parts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from eutectic import files
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.figures import best_share, heads, off_size, ordering, winners, worth
from eutectic.analysis.figures.draw import write

# each gives None where the parts do not bear it
CAMPAIGN: dict[str, Callable[[Evidence], Figure | None]] = {
    "best_share": best_share.figure,
    "ordering": ordering.figure,
    "heads": heads.figure,
    "off_size": off_size.figure,
    "worth": worth.figure,
    "winners": winners.figure,
}


def draw_campaign(evidence: Evidence, folder: Path) -> list[Path]:
    """Draw them into FOLDER/figures, and remove there those that are no longer borne. Returns what was written."""
    out = files.make_folder(folder / "figures")
    return [path for name, figure in CAMPAIGN.items() for path in write(name, partial(figure, evidence), out)]
