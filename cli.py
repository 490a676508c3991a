"""The command line. It parses and hands over; torch is imported only by the commands that plan, train or generate."""

import argparse
import errno
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from eutectic.arguments import Options, parser
from eutectic.errors import UserError
from eutectic.kernels import choice

# the arithmetic of any x86 CPU with AVX2, which numpy chooses as it is imported: figures are the same bytes everywhere,
# and of laws that fit as well as each other the same is chosen
PORTABLE = {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"}
RESUMED = ("sweep", "tune", "run", "retry", "graft", "probe")  # commands that find again what they had done


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for an error or failed runs, 130 when interrupted."""
    # a kill ends the workers as Ctrl-C does, and both work in a background job, whose shell has SIGINT ignored
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    options = argparse.Namespace(command=None)
    try:
        options = parser().parse_args(argv)
        if options.command is None:
            parser().print_help()
            return 0
        if platform.machine() == "x86_64":
            os.environ |= PORTABLE
        choice.forced()  # or it would be refused in the midst of training
        from eutectic import commands

        command: Callable[[Options], int] = getattr(commands, options.command)
        return command(options)
    except UserError as error:
        print(f"eutectic: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        again = "; the same command goes on with what is left" if options.command in RESUMED else ""
        print(f"eutectic: interrupted{again}.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = error.filename or "a file"
        remedy = "free some room" if error.errno == errno.ENOSPC else "mend that"
        print(
            f"eutectic: {where}: {error.strerror or error}; {remedy} and run the same command again.", file=sys.stderr
        )
    return 1


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


if __name__ == "__main__":
    sys.exit(main())
