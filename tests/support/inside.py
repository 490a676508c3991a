"""Commands within the tests' own process, for a process of its own imports torch for seconds."""

import contextlib
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from eutectic import cli

UNSAID = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def eutectic(*arguments: str, cwd: Path, **environment: str) -> Done:
    """What a command comes to in a folder, with a cache of its own there. Warnings are on stderr, as Python shows them;
    an exception that a user would see a traceback of is the test's."""
    out, err = io.StringIO(), io.StringIO()
    told = {"EUTECTIC_CACHE": str(cwd / "cache"), "COLUMNS": "80", **environment}
    with (
        contextlib.chdir(cwd),
        patch.dict(os.environ, told),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        for category in UNSAID:
            warnings.simplefilter("ignore", category)
        warnings.showwarning = lambda *warning: err.write(warnings.formatwarning(*warning[:4]))
        status = cli.main(arguments)
    return Done(status, out.getvalue(), err.getvalue())
