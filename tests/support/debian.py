"""Programs that tests need beside Python's packages, from Debian's."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


class Unavailable(Exception):
    """Why a test cannot be run here, in a sentence."""


def install(packages: Sequence[str], programs: Sequence[str]) -> None:
    """Packages, where one of their programs is missing, by one process at a time. Raises Unavailable where that cannot
    be."""
    with (Path(tempfile.gettempdir()) / "eutectic-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(packages, programs)


def _install(packages: Sequence[str], programs: Sequence[str]) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if all(shutil.which(program, path=path) for program in programs):
        return
    if os.geteuid() != 0:
        raise Unavailable(f"there is no {' '.join(programs)}, and only root may install {' '.join(packages)}.")
    if shutil.which("apt-get") is None:
        raise Unavailable(f"there is no apt-get to install {' '.join(packages)} with.")
    wait = ["-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
    for command in (["update"], ["install", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", *wait, *command],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Unavailable(f"apt-get {command[0]} failed: {done.stderr.strip().splitlines()[-1:]}")
