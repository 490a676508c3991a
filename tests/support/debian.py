"""Programs that tests need beside Python's packages, from Debian's."""

import os
import shutil
import subprocess
from collections.abc import Sequence


class Unavailable(Exception):
    """Why a test cannot be run here, in a sentence."""


def install(packages: Sequence[str], programs: Sequence[str]) -> None:
    """Packages, where one of their programs is missing. Raises Unavailable where that cannot be."""
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
