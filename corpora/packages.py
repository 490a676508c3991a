"""The packages that the corpus is made of, as packages.toml lists them."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIST = Path(__file__).with_name("packages.toml")


@dataclass(frozen=True)
class Package:
    """registry: pypi, npm or debian. files: patterns of names inside, `*` for any characters, `/` among them."""

    name: str
    registry: str
    licence: str
    domain: str
    reader: str
    files: tuple[str, ...]
    version: str = ""


def listed(path: Path = LIST) -> list[Package]:
    """In the order of the list, which decides what of two equal paragraphs stays."""
    found: dict[str, Any] = tomllib.loads(path.read_text())
    packages = [Package(**{**fields, "files": tuple(fields["files"])}) for fields in found["package"]]
    manuals = found["manuals"]
    for name, licence in manuals["licences"].items():
        packages.append(Package(name, "debian", licence, "docs", "manual", tuple(manuals["files"])))
    return packages
