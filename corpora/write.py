"""Documents as JSON lines, in files of a bounded size, with what is needed to tell that they are the same again."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import zstandard

from eutectic import files

PART_BYTES = 2**26  # of JSON lines in a file: compressed, it stays small enough to be sent anywhere
_LEVEL = 12


@dataclass
class Part:
    """bytes: of the texts in UTF-8. sha256: of the JSON lines, which is the same whatever compresses them."""

    documents: int = 0
    bytes: int = 0
    sha256: str = ""


class Writer:
    """Writes FOLDER/NAME-00.jsonl.zst and so on; `parts` says what is in each."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = files.make_folder(folder), name
        self.parts: dict[str, Part] = {}

    def __enter__(self) -> "Writer":
        self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def write(self, document: dict[str, str]) -> None:
        """Its field `text` is what is counted."""
        line = json.dumps(document, ensure_ascii=False).encode() + b"\n"
        if self.written and self.written + len(line) > PART_BYTES:
            self._close()
            self._open()
        self.stream.write(line)
        self.hash.update(line)
        self.written += len(line)
        self.part.documents += 1
        self.part.bytes += len(document["text"].encode())

    def _open(self) -> None:
        name = f"{self.name}-{len(self.parts):02}.jsonl.zst"
        self.part, self.hash, self.written = Part(), hashlib.sha256(), 0
        self.parts[name] = self.part
        self.stream = zstandard.ZstdCompressor(_LEVEL).stream_writer((self.folder / name).open("wb"))

    def _close(self) -> None:
        self.stream.close()
        self.part.sha256 = self.hash.hexdigest()


def as_json(parts: dict[str, Part]) -> dict[str, Any]:
    return {name: dataclasses.asdict(part) for name, part in parts.items()}
