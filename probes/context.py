"""What a model gains from what stands further back: losses of the same tokens after contexts of growing length.

The targets are the last tokens of each of many documents that it has not learnt from. Before them it reads a separator
and as many of the document's tokens as the context has, as if the document began there.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eutectic.arch.model import Model
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.inference.score import last_losses
from eutectic.train import corpus, shards
from eutectic.train.shards import Manifest
from eutectic.train.tokenizer import Ids, Tokenizer

SHORTEST = 256
TO_BITS = 1 / np.log(2)


@dataclass(frozen=True)
class Document:
    """name: twelve hex digits of the hash of its tokens, which are without a separator."""

    name: str
    ids: Ids


@dataclass(frozen=True)
class Measured:
    """Of a document of `length` tokens: the mean loss of its last ones after so many others, in nats a token and bits
    a byte."""

    document: str
    length: int
    context: int
    nats: float
    bits_per_byte: float


def of_validation(run: RunConfig, tokenizer: Tokenizer, cache: Path) -> list[Document]:
    """The documents that a run's sweep held out. Raises UserError where its tokens are not in the cache."""
    manifest = shards.open_shards(run.data, cache)
    return _split(manifest, "valid", tokenizer)


def of_source(source: str, tokenizer: Tokenizer) -> list[Document]:
    """Of a source as train/corpus.py reads them. Raises UserError where it cannot be read."""
    texts = list(corpus.documents(source))
    return [_document(ids, tokenizer) for ids in tokenizer.encode(texts)]


def learnt(run: RunConfig, tokenizer: Tokenizer, cache: Path) -> set[str] | None:
    """Names of the documents that a run was trained on; None where its tokens are not in the cache."""
    try:
        manifest = shards.open_shards(run.data, cache)
    except UserError:
        return None
    return {document.name for document in _split(manifest, "train", tokenizer)}


def _split(manifest: Manifest, split: str, tokenizer: Tokenizer) -> list[Document]:
    tokens = manifest.tokens(split)
    ends = np.flatnonzero(tokens == tokenizer.separator)
    return [_document(part[:-1], tokenizer) for part in np.split(tokens, ends + 1) if len(part) > 1]


def _document(ids: Ids, tokenizer: Tokenizer) -> Document:
    ids = ids.astype(tokenizer.dtype)
    return Document(hashlib.sha256(ids.tobytes()).hexdigest()[:12], ids)


def longest(documents: Sequence[Document], least: int, count: int) -> list[Document]:
    """So many of the longest, each once. Raises UserError where none has `least` tokens."""
    each = {document.name: document for document in documents}
    found = sorted(each.values(), key=lambda document: (-len(document.ids), document.name))
    usable = [document for document in found[:count] if len(document.ids) >= least]
    if not usable:
        most = len(found[0].ids) if found else 0
        raise UserError(
            f"the longest of {len(found)} held-out documents has {most} tokens, and {least} are needed for the targets "
            "and the shortest context; give longer ones by --source, or fewer --targets."
        )
    return usable


def doubled(documents: Sequence[Document], targets: int) -> list[int]:
    """0, SHORTEST and its doubles, as far as half of the documents reach."""
    room = int(np.median([len(document.ids) for document in documents])) - targets
    return [0, *(SHORTEST << k for k in range(max(0, room // SHORTEST).bit_length()))]


def probe(
    model: Model, tokenizer: Tokenizer, documents: Sequence[Document], targets: int, contexts: Sequence[int]
) -> Iterator[Measured]:
    """Each context after which the last `targets` tokens of a document can stand, the shortest first."""
    own_bytes = {document.name: _bytes(tokenizer, document.ids[-targets:]) for document in documents}
    for context in sorted(contexts):
        long_enough = [document for document in documents if len(document.ids) >= context + targets]
        if not long_enough:
            return
        rows = [[tokenizer.begin, *document.ids[-context - targets :].tolist()] for document in long_enough]
        losses = last_losses(model, torch.tensor(rows), targets).double()
        for document, nats in zip(long_enough, losses.sum(1).tolist(), strict=True):
            bits_per_byte = nats * TO_BITS / own_bytes[document.name]
            yield Measured(document.name, len(document.ids), context, nats / targets, bits_per_byte)


def _bytes(tokenizer: Tokenizer, ids: Ids) -> int:
    """Of the text that tokens spell, to a character at either end that is cut in two."""
    decode = tokenizer.decoder()
    return len("".join(decode(int(token)) for token in ids).encode())
