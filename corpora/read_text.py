"""Readers of texts and pages as they are: books, speeches, articles, source code."""

import io
import re
from collections.abc import Iterator
from pathlib import PurePath

from eutectic.corpora import clean
from eutectic.corpora.archive import tar_members

Documents = Iterator[tuple[str, str]]

_LEAST_BOOK = 50_000  # characters of a line that is a book
_PRODUCER = re.compile(r"^\W*Produced by .{0,200}?   +")

# of Linux: what is not chiefly drivers' tables of registers
_SOURCE = re.compile(
    r"[^/]+/(?:kernel|fs|mm|net|lib|block|crypto|security|ipc|init|virt|io_uring|include/linux|arch/x86|arch/arm64|"
    r"drivers/(?:base|block|char|clk|cpufreq|dma|firmware|gpio|hid|i2c|input|md|mmc|mtd|nvme|pci|power|spi|tty|usb|vhost|"
    r"virtio)|tools/perf)/.*\.[ch]"
)
_SOURCE_BYTES = range(800, 400_000)


def text(files: dict[str, bytes]) -> Documents:
    """A document a file."""
    for name, content in files.items():
        yield PurePath(name).name, clean.without_gutenberg(clean.decode(name, content))


def lines(files: dict[str, bytes]) -> Documents:
    """A book a line, its paragraphs between several spaces. Short lines are fragments."""
    for name, content in files.items():
        for number, line in enumerate(clean.decode(name, content).split("\n")):
            if len(line) >= _LEAST_BOOK:
                yield str(number), re.sub(r" {2,}", "\n\n", _PRODUCER.sub("", line).strip())


def html(files: dict[str, bytes]) -> Documents:
    """A document a page."""
    for name, content in files.items():
        yield PurePath(name).name, clean.html_to_text(clean.decode(name, content))


def source(files: dict[str, bytes]) -> Documents:
    """A document a file of C, of those in tarballs, under a line with its path."""
    for tarball in files.values():
        for name, content in tar_members(io.BytesIO(tarball), lambda name: bool(_SOURCE.fullmatch(name))):
            if len(content) in _SOURCE_BYTES:
                path = name.partition("/")[2]
                yield path, f"// {path}\n{clean.decode(name, content)}"
