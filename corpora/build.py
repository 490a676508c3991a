"""Build the corpus of packages.toml: `python -m eutectic.corpora.build FOLDER [PACKAGE ...]`, of all or those named.

FOLDER/main/train, FOLDER/main/valid    prose, reference and docs to train on; prose and reference held out
FOLDER/code/train, FOLDER/code/valid    the second domain
FOLDER/held-out/                        docs, and long documents of each domain
FOLDER/manifest.json                    what is in each file, what each package gave, and under which licence

The same packages give the same lines.
"""

import argparse
import contextlib
import hashlib
import multiprocessing
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from eutectic import files
from eutectic.corpora import packages
from eutectic.corpora.archive import members
from eutectic.corpora.clean import Limits, clean
from eutectic.corpora.dedup import Dedup
from eutectic.corpora.fetch import fetch
from eutectic.corpora.packages import Package
from eutectic.corpora.readers import READERS
from eutectic.corpora.split import place, split
from eutectic.corpora.write import Writer, as_json
from eutectic.errors import UserError
from eutectic.train.shards import default_cache

LIMITS = {
    "prose": Limits(150, 0.60, 0.08, 0.10),
    "reference": Limits(200, 0.60, 0.05, 0.10),
    "docs": Limits(400, 0.62, 0.12, 0.05),
    "code": Limits(600, 0.60, 0.0, 0.10),
}
GROUPS = {"prose": "text", "reference": "text", "docs": "docs", "code": "code"}  # in which repeats are looked for


@dataclass(frozen=True)
class Fetched:
    package: Package
    archive: Path


def read(fetched: Fetched) -> list[tuple[str, str]]:
    """The clean documents of a package, by name, that are English text, or code."""
    package = fetched.package
    found = members(fetched.archive, lambda name: any(fnmatchcase(name, pattern) for pattern in package.files))
    if not found:
        raise UserError(f"{fetched.archive} has no {' or '.join(package.files)}; mend its `files` in packages.toml.")
    documents = ((name, clean(text)) for name, text in READERS[package.reader](found))
    return [(name, text) for name, text in documents if LIMITS[package.domain].allow(text)]


def build(chosen: list[Fetched], missing: dict[str, str], folder: Path) -> None:
    """Write the corpus to a folder that is not there yet. missing: packages that are not in it, and why.

    Raises UserError where the folder is there, or a package does not hold what it should.
    """
    if folder.exists():
        raise UserError(f"{folder} is there already; remove it to build it anew, or name another.")
    files.make_folder(folder.parent)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder.parent) as scratch:
        made = Path(scratch, "corpus")
        parts, told = _write(chosen, made)
        files.write_json(made / "manifest.json", {"files": parts, "packages": told, "missing": missing})
        made.rename(folder)


def _write(chosen: list[Fetched], folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read packages side by side, and drop repeats, split and write in their order."""
    writers: dict[tuple[str, str], Writer] = {}
    groups = {group: Dedup() for group in GROUPS.values()}
    told = []
    with contextlib.ExitStack() as stack:
        # not forked, for that copies locks and signal handlers too, with which a process may not end
        pool = stack.enter_context(ProcessPoolExecutor(mp_context=multiprocessing.get_context("forkserver")))
        for fetched, documents in zip(chosen, pool.map(read, chosen), strict=True):
            package, count, size = fetched.package, Counter[str](), Counter[str]()
            for name, found in documents:
                text = groups[GROUPS[package.domain]](found)
                if text is None or len(text) < LIMITS[package.domain].characters:
                    count["repeats"] += 1
                    continue
                part = split(package.name, name, len(text.encode()))
                where = (place(package.domain, part), package.domain)
                if where not in writers:
                    writers[where] = stack.enter_context(Writer(folder / where[0], package.domain))
                document = {"id": name, "source": package.name, "domain": package.domain, "text": text}
                writers[where].write(document)
                count[part] += 1
                size[part] += len(text.encode())
            told.append(_told(fetched, count, size))
            kept = count.total() - count["repeats"]
            print(f"{package.name}: {kept} documents, {size.total() / 1e6:.2f} MB", flush=True)
    parts = {
        f"{where}/{name}": part
        for (where, _), writer in sorted(writers.items())
        for name, part in as_json(writer.parts).items()
    }
    return parts, told


def _told(fetched: Fetched, count: Counter[str], size: Counter[str]) -> dict[str, Any]:
    package = fetched.package
    return {
        "name": package.name,
        "registry": package.registry,
        "archive": fetched.archive.name,
        "sha256": hashlib.sha256(fetched.archive.read_bytes()).hexdigest(),
        "licence": package.licence,
        "domain": package.domain,
        "documents": dict(sorted(count.items())),
        "bytes": dict(sorted(size.items())),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="eutectic.corpora.build", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE")
    options = parser.parse_args(arguments)
    known = packages.listed()
    if unknown := set(options.packages) - {package.name for package in known}:
        raise UserError(f"{packages.LIST.name} does not list {', '.join(sorted(unknown))}.")
    chosen, missing = [], {}
    for package in known:
        if package.name in options.packages or not options.packages:
            try:
                chosen.append(Fetched(package, fetch(package, default_cache() / "packages")))
            except UserError as error:
                missing[package.name] = str(error)
                print(error, file=sys.stderr, flush=True)
    build(chosen, missing, options.folder)
    print(f"{options.folder} is built of {len(chosen)} packages; {len(missing)} could not be fetched.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"eutectic: {error}")
