"""Files inside wheels, tarballs and Debian packages, read without unpacking them."""

import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from eutectic.errors import UserError


def members(archive: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The regular files whose names are wanted, by name, in the order of names; links are left out.

    Raises UserError where the archive is cut short or no such archive.
    """
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as file:
                found = {name: file.read(name) for name in file.namelist() if wanted(name)}
        elif archive.suffix == ".deb":
            # as files in a tarball on a pipe: most packages are far larger unpacked than what is read of them
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                found = dict(tar_members(process.stdout, wanted))
                process.stdout.read()  # the padding at its end, without which dpkg-deb would fail
            if process.returncode:
                raise UserError(f"{archive} is damaged; remove it, and it is fetched again.")
        else:
            with archive.open("rb") as stream:
                found = dict(tar_members(stream, wanted))
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive} cannot be read ({error}); remove its folder, and it is fetched again.") from None
    return dict(sorted(found.items()))


def tar_members(stream: IO[bytes], wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """As members, of a tarball compressed or not, in its own order."""
    with tarfile.open(fileobj=stream, mode="r|*") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if member.isreg() and wanted(name):
                content = tar.extractfile(member)
                assert content is not None
                yield name, content.read()
