"""The code that a sweep's jobs run: a copy in the sweep's folder, which no edit reaches while they wait.

NAME/code/HASH/eutectic/**/*.py          the modules of the package
                        COMMIT, DIFF     of the checkout they are from, where they are from one
"""

import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

import eutectic
from eutectic import files
from eutectic.errors import UserError
from eutectic.train import log

ROOT = Path(eutectic.__file__).parent


def place(folder: Path) -> Path:
    """Where a sweep's folder has, or would have, the code as it is now: what jobs have ahead in their PYTHONPATH."""
    return _place(folder, contents())


def keep(folder: Path) -> Path:
    """Copy the code as it is now into a sweep's folder, unless it is there; returns place(folder).

    Raises UserError where others could write to any of it.
    """
    copied = contents()
    kept = _place(folder, copied)
    if kept.exists():
        for path in (kept, *kept.rglob("*")):  # with what Python has compiled
            files.own(path)
        return kept
    scratch = Path(tempfile.mkdtemp(prefix=".", dir=files.own_folder(kept.parent)))
    try:
        scratch.chmod(0o755)
        for name, content in copied.items():
            path = scratch / "eutectic" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        scratch.rename(kept)
    except OSError:
        shutil.rmtree(scratch)
        if not kept.exists():  # else another command has just kept the same
            raise
    return kept


def contents() -> dict[str, bytes]:
    """The package's files by their path in it. A checkout's are those of its pyproject.toml's packages."""
    project = ROOT / "pyproject.toml"
    if project.exists():
        packages = tomllib.loads(project.read_text())["tool"]["setuptools"]["packages"]
        paths = [path for name in packages for path in ROOT.joinpath(*name.split(".")[1:]).glob("*.py")]
    else:
        paths = list(ROOT.rglob("*.py"))
    found = {str(path.relative_to(ROOT)): path.read_bytes() for path in sorted(paths)}
    if commit := log.commit():
        found["COMMIT"] = commit.encode()
    if (ROOT / ".git").exists() and commit:
        found["DIFF"] = subprocess.run(["git", "diff", "HEAD", "--", "*.py"], cwd=ROOT, capture_output=True).stdout
    return found


def _place(folder: Path, copied: dict[str, bytes]) -> Path:
    if bad := set(files.UNUSABLE) & set(str(folder)):
        found = " and ".join(sorted(bad))
        raise UserError(f"jobs cannot run in {folder}, for the {found} in it; use another --results.")
    return folder / "code" / files.digest(copied)
