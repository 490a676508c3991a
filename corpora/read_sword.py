"""Reader of the SWORD project's compressed modules: commentaries and Bibles, a book or a chapter a block."""

import re
import struct
import zlib
from collections import defaultdict
from pathlib import PurePath

from eutectic.corpora import clean
from eutectic.corpora.read_text import Documents
from eutectic.errors import UserError

_NOTE = re.compile(r'<note\b.*?</note>|<title type="(?:x-gen|runningHead)".*?</title>', re.DOTALL)
_BREAK = re.compile(r'<(?:p|lb|l|div|title|list|item|milestone|hi type="x-h")\b[^>]*/?>|</(?:p|div|title|list|item)>')


def commentary(files: dict[str, bytes]) -> Documents:
    """A document a block, a paragraph or several a comment."""
    return _blocks(files, "\n\n")


def bible(files: dict[str, bytes]) -> Documents:
    """A document a block, a line or several a verse."""
    return _blocks(files, "\n")


def _blocks(files: dict[str, bytes], between: str) -> Documents:
    """Each testament has three files: of blocks' places (.?zs: offset, size, size unpacked), of
    verses' (.?zv: block, offset in it, size of 2 bytes, or 4), and of the blocks (.?zz, zlib)."""
    by_ending = {(PurePath(name).stem, PurePath(name).suffix[2:]): content for name, content in files.items()}
    for testament in ("ot", "nt"):
        if not by_ending.get((testament, "zs")):
            continue
        places = list(struct.iter_unpack("<III", by_ending[testament, "zs"]))
        spans = _spans(by_ending[testament, "zv"], [unpacked for *_, unpacked in places])
        for number, (offset, size, _) in enumerate(places):
            if spans[number]:
                block = zlib.decompress(by_ending[testament, "zz"][offset : offset + size])
                parts = (_plain(block[start:end].decode(errors="replace")) for start, end in sorted(spans[number]))
                yield f"{testament} {number}", between.join(part for part in parts if part)


def _spans(verses: bytes, sizes: list[int]) -> dict[int, set[tuple[int, int]]]:
    """By block. Verses that share a comment share its span. No field says how wide a size is: spans fit in their blocks
    by one width only."""
    for form in ("<IIH", "<III"):
        if len(verses) % struct.calcsize(form) == 0:
            found: dict[int, set[tuple[int, int]]] = defaultdict(set)
            for block, start, size in struct.iter_unpack(form, verses):
                if size:
                    found[block].add((start, start + size))
            if all(block < len(sizes) and end <= sizes[block] for block, each in found.items() for _, end in each):
                return found
    raise UserError("a SWORD module has verses outside its blocks; leave its package out.")


def _plain(osis: str) -> str:
    text = clean.without_tags(_BREAK.sub("\n", _NOTE.sub("", osis)))
    return re.sub(r"\n\s*\n+", "\n\n", re.sub(r"[ \t]+", " ", text)).strip()
