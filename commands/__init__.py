"""What each command of the CLI does, in terms of the parts that do it: a function of its name for each."""

from eutectic.commands.answering import figures, findings, fit, predict
from eutectic.commands.exporting import export
from eutectic.commands.generating import cache, generate
from eutectic.commands.grafting import graft
from eutectic.commands.probing import context, filters
from eutectic.commands.reporting import report
from eutectic.commands.shrinking import distill, prune
from eutectic.commands.training import plan, retry, run, sweep
from eutectic.commands.trying import probe
from eutectic.commands.tuning import tune
from eutectic.commands.watching import collect, status

__all__ = [
    "cache",
    "collect",
    "context",
    "distill",
    "export",
    "figures",
    "filters",
    "findings",
    "fit",
    "generate",
    "graft",
    "plan",
    "predict",
    "probe",
    "prune",
    "report",
    "retry",
    "run",
    "status",
    "sweep",
    "tune",
]
