"""report."""

import importlib.util
import tempfile
from pathlib import Path

from eutectic import files
from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.console import out, sweep_folder
from eutectic.errors import UserError

LIBRARIES = ("itables", "jinja2", "plotly")


def report(options: Options) -> int:
    """Write report.html into the folder of a campaign, or of a sweep by itself."""
    if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"a page is made with {', '.join(missing)}, not installed here; run `pip install 'eutectic[report]'`."
        )
    from eutectic.analysis.figures.campaign import draw_campaign
    from eutectic.analysis.noise import pooled
    from eutectic.analysis.page import read_parts
    from eutectic.analysis.verdicts import judge
    from eutectic.display import sections
    from eutectic.display.page import page

    folder = sweep_folder(options)
    evidence, parts = read_parts(folder)
    beside = [
        *sections.noise(pooled(evidence.parts), evidence.noises),
        *sections.worth(evidence.worth, None),
        *sections.counts(evidence.rankings),
        *sections.states(evidence.held),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        paths = draw_campaign(evidence, Path(scratch))
        drawn = {path.stem: path.read_bytes() for path in paths if path.suffix == ".svg"}
    made = page(folder.name, parts, judge(evidence), beside, drawn)
    path = folder / "report.html"
    with files.replacing(path) as scratch:
        scratch.write_text(made)
    if options.json:
        print_json(str(path))
    else:
        out().print(str(path), soft_wrap=True)
    return 0
