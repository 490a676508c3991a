"""Whole files or none: what is written here is never seen half-done, whenever the writer dies."""

import contextlib
import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eutectic.errors import UserError

# in paths of jobs: PYTHONPATH has folders with `:` between them; submitit and Slurm put a job's id for `%j`
UNUSABLE = ":%"
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)  # of a file that may not be written where it is to be


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A scratch path beside `path`; on leaving without an exception it becomes `path`, else it is removed."""
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    os.chmod(scratch, 0o644)
    try:
        yield Path(scratch)
        os.replace(scratch, path)
    finally:
        Path(scratch).unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file, or None where there is no such file, or it is not JSON."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or an empty one where there is no such file, or it holds none."""
    found = read_json(path)
    return found if isinstance(found, dict) else {}


def names(folder: Path) -> set[str]:
    """Of what is in a folder; none where it is gone."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def digest(contents: Mapping[str, bytes]) -> str:
    """Twelve hex digits that change with any name and any content."""
    found = hashlib.sha256()
    for name, content in contents.items():
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()[:12]


def set_aside(path: Path) -> Path:
    """Rename an unreadable file or folder to the first free `NAME.corrupt-K`, and say where it went."""
    k = 0
    while (aside := path.with_name(f"{path.name}.corrupt-{k}")).exists():
        k += 1
    path.rename(aside)
    return aside


def make_folder(path: Path, mode: int = 0o777) -> Path:
    """The folder, made with its parents. Raises UserError where that cannot be."""
    try:
        path.mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror}; choose another place.") from None
    return path


def keep_others_out() -> None:
    """Whatever this process and its children make from now on, no other user may write to."""
    os.umask(os.umask(0o077) | stat.S_IWGRP | stat.S_IWOTH)


def own(path: Path, instead: str = "choose another --name") -> None:
    """Raises UserError where another user may write what is run as code; `instead` says what to do about that."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise UserError(f"{path} belongs to another user, and what is in it would be run; {instead}.")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(
            f"{path} can be written to by other users, and what is in it would be run; look at who did, then "
            f"`chmod -R go-w {path if path.is_dir() else path.parent}`."
        )


def own_folder(path: Path, instead: str = "choose another --name") -> Path:
    """The folder, made where it is missing, of what is run as code. Raises UserError as `own` does."""
    own(make_folder(path, 0o755), instead)
    return path
