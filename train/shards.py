"""A corpus as two memory-mapped files of token ids, train and valid, under a manifest; made once, cached.

CACHE/index/<hash of source, tokenizer and file times>.json   which tokens a source led to
CACHE/tokens/<corpus hash>-<tokenizer hash>/                  train.bin valid.bin tokenizer.json manifest.json
"""

import contextlib
import dataclasses
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from eutectic import files
from eutectic.config import DataConfig
from eutectic.errors import UserError
from eutectic.train import corpus, tokenizer
from eutectic.train.tokenizer import Tokenizer

VALID_SHARE = 0.04


@dataclass(frozen=True)
class Manifest:
    """What a corpus became. Byte counts are of the files; documents end with a separator, which counts as a token."""

    source: str
    tokenizer: str
    corpus_sha256: str
    tokenizer_sha256: str
    vocab_size: int
    dtype: str
    documents: int
    valid_documents: int
    train_tokens: int
    valid_tokens: int
    valid_bytes_per_token: float
    folder: str

    def tokens(self, split: str) -> np.ndarray[Any, np.dtype[Any]]:
        return np.memmap(Path(self.folder, f"{split}.bin"), self.dtype, "r")


def default_cache() -> Path:
    """$EUTECTIC_CACHE, else eutectic under $XDG_CACHE_HOME or ~/.cache."""
    if named := os.environ.get("EUTECTIC_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "eutectic")


def prepare(source: str, by: str | Tokenizer, cache: Path) -> Manifest:
    """The manifest of a source's tokens, which are made now unless the cache has them. by: a tokenizer, or the name of
    one that is made of the source.

    Raises UserError where the corpus cannot be used; nothing half-written stays behind.
    """
    index = files.make_folder(cache / "index") / f"{_key(source, by)}.json"
    if (folder := files.read_json(index)) and (known := _open(cache / "tokens" / folder)):
        return dataclasses.replace(known, source=source)
    hashes = [_sha256(text) for text in corpus.documents(source)]
    valid, corpus_sha256 = _split(source, hashes)
    made = by
    if isinstance(made, str):
        made = tokenizer.make(made, lambda: (t for t in corpus.documents(source) if _sha256(t) not in valid))
    name = _folder_name(corpus_sha256, made.sha256)
    manifest = _open(cache / "tokens" / name) or _encode(source, made, valid, corpus_sha256, cache / "tokens" / name)
    files.write_json(index, name)
    return manifest


def identify(source: str, by: str | Tokenizer, cache: Path) -> Manifest:
    """As prepare, but leaves nothing behind: a plan needs the counts and the hashes, not the tokens."""
    if cache.is_dir() and os.access(cache, os.R_OK):
        folder = files.read_json(cache / "index" / f"{_key(source, by)}.json")
        if folder and (known := _open(cache / "tokens" / folder)):
            return dataclasses.replace(known, source=source)
    with tempfile.TemporaryDirectory() as scratch:
        return prepare(source, by, Path(scratch))


def prepare_for(data: DataConfig, cache: Path) -> Manifest:
    """As prepare, of a run's source and tokenizer as they are now. What was made by a model's own is only opened."""
    if data.tokenizer.startswith(tokenizer.OWN):
        return open_shards(data, cache)
    return prepare(data.source, data.tokenizer, cache)


def open_shards(data: DataConfig, cache: Path) -> Manifest:
    """A run's tokens, prepared already. Raises UserError where they are gone."""
    manifest = _open(cache / "tokens" / _folder_name(data.corpus_sha256, data.tokenizer_sha256))
    if manifest is None:
        raise UserError(
            f"the tokens of corpus {data.corpus_sha256[:16]} are not in {cache}; run the sweep again to make them."
        )
    return manifest


def tokenizer_of(data: DataConfig, cache: Path) -> Tokenizer:
    """What a run's text was tokenized with. Raises UserError where it was trained and is gone."""
    if data.tokenizer == "bytes":
        return tokenizer.make(data.tokenizer, lambda: iter(()))
    path = cache / "tokens" / _folder_name(data.corpus_sha256, data.tokenizer_sha256) / "tokenizer.json"
    found = (
        tokenizer.from_definition(data.tokenizer, path.read_text(), data.begin, data.ends) if path.exists() else None
    )
    if found is None or found.sha256 != data.tokenizer_sha256:
        own = data.tokenizer.startswith(tokenizer.OWN)
        command = "graft FOLDER" if own else f"sweep --tokenizer {data.tokenizer}"
        raise UserError(
            f"tokenizer {data.tokenizer} of corpus {data.corpus_sha256[:16]} is not in {cache}; "
            f"`eutectic {command} --source {data.source}` makes it again."
        )
    return found


def _key(source: str, by: str | Tokenizer) -> str:
    told = by if isinstance(by, str) else f"{by.name} {by.sha256}"
    return hashlib.sha256(f"{source}\n{told}\n{corpus.fingerprint(source)}".encode()).hexdigest()


def _folder_name(corpus_sha256: str, tokenizer_sha256: str) -> str:
    return f"{corpus_sha256[:16]}-{tokenizer_sha256[:16]}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _split(source: str, hashes: list[str]) -> tuple[frozenset[str], str]:
    """Which documents are held out, and the hash of the corpus, which is another where a folder chose them."""
    folder = corpus.held_out(source)
    if folder is None:
        return _valid_hashes(source, hashes), hashlib.sha256("".join(hashes).encode()).hexdigest()
    valid = frozenset(map(_sha256, corpus.documents(folder)))
    if valid.issuperset(hashes):
        raise UserError(f"corpus {source!r} has no document that is not in {folder} too; add some to train on.")
    return valid, hashlib.sha256("".join([*hashes, *sorted(valid)]).encode()).hexdigest()


def _valid_hashes(source: str, hashes: list[str]) -> frozenset[str]:
    """Which documents are held out: those whose own hash says so, hence the same whatever else the corpus holds.

    At least one distinct document falls on each side.
    """
    distinct = sorted(set(hashes))
    if len(distinct) < 2:
        raise UserError(
            f"corpus {source!r} has one document only, so none can be held out for validation; "
            "split it into several, at natural breaks."
        )
    chosen = sum(int(h[:8], 16) < VALID_SHARE * 2**32 for h in distinct)
    return frozenset(distinct[: min(max(chosen, 1), len(distinct) - 1)])


def _encode(
    source: str, made: tokenizer.Tokenizer, valid: frozenset[str], corpus_sha256: str, folder: Path
) -> Manifest:
    """Write the two files and, last, the manifest, in a scratch folder that then takes its name."""
    files.make_folder(folder.parent)
    scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        counts = {"train": 0, "valid": 0}
        documents, valid_documents, valid_bytes = 0, 0, 0
        with contextlib.ExitStack() as stack:
            out = {split: stack.enter_context((scratch / f"{split}.bin").open("wb")) for split in counts}
            texts = corpus.documents(source)
            while chunk := list(islice(texts, 64)):
                for text, ids in zip(chunk, made.encode(chunk), strict=True):
                    split = "valid" if _sha256(text) in valid else "train"
                    out[split].write(np.append(ids, made.separator).astype(made.dtype).tobytes())
                    counts[split] += len(ids) + 1
                    documents += 1
                    if split == "valid":
                        valid_documents += 1
                        valid_bytes += len(text.encode())
        manifest = Manifest(
            source,
            made.name,
            corpus_sha256,
            made.sha256,
            made.vocab_size,
            made.dtype.name,
            documents,
            valid_documents,
            counts["train"],
            counts["valid"],
            valid_bytes / counts["valid"],
            str(folder),
        )
        (scratch / "tokenizer.json").write_text(made.definition)
        files.write_json(scratch / "manifest.json", dataclasses.asdict(manifest))
        with contextlib.suppress(OSError):  # another process was first, with the same bytes
            scratch.rename(folder)
        return manifest
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _open(folder: Path) -> Manifest | None:
    """The manifest in a folder, or None where there is none; a damaged folder is set aside."""
    if not folder.is_dir():
        return None
    fields = files.read_json(folder / "manifest.json")
    try:
        manifest = dataclasses.replace(Manifest(**fields), folder=str(folder))
        sizes = [(folder / f"{split}.bin").stat().st_size for split in ("train", "valid")]
    except (TypeError, OSError):
        sizes = []
    width = np.dtype(manifest.dtype).itemsize if sizes else 0
    if sizes and sizes == [manifest.train_tokens * width, manifest.valid_tokens * width]:
        return manifest
    files.set_aside(folder)
    return None
