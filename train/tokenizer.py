"""Text to token ids: raw bytes, or a byte-level BPE trained on the corpus at hand (Sennrich 2016; Radford 2019)."""

import codecs
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eutectic.errors import UserError

Ids = np.ndarray[Any, np.dtype[Any]]
Decoder = Callable[[int], str]
_ALPHABET = 256
OWN = "own-"  # begins the names of those that models from elsewhere brought, which no corpus gives


@dataclass(frozen=True)
class Tokenizer:
    """vocab_size ids, of which `separator` ends each document; `definition` is empty for bytes.

    decoder: a new one, which takes ids one by one and gives the text that each completes. begin: what stands before a
    text that is to be continued; ends: what ends one. Both are the separator, but of models from elsewhere.
    """

    name: str
    vocab_size: int
    separator: int
    definition: str
    encode: Callable[[list[str]], list[Ids]]
    decoder: Callable[[], Decoder]
    begin: int
    ends: frozenset[int]

    @property
    def sha256(self) -> str:
        """Of the definition, and of the tokens that begin and end texts where these are not 0."""
        told = "" if (self.begin, self.ends) == (0, {0}) else f"\n{self.begin} {self.separator} {sorted(self.ends)}"
        return hashlib.sha256(f"{self.definition or self.name}{told}".encode()).hexdigest()

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint16 if self.vocab_size <= 2**16 else np.uint32)


def make(name: str, training_texts: Callable[[], Iterator[str]]) -> Tokenizer:
    """The tokenizer called `bytes` or `bpe-VOCAB`; the latter is trained on the texts, which take id 1 and up.

    Raises UserError for any other name, or a vocabulary that does not hold the 256 bytes and the separator.
    """
    if name == "bytes":
        return Tokenizer(name, _ALPHABET, 0, "", _encode_bytes, _byte_decoder, 0, frozenset({0}))
    if name.startswith(OWN):
        raise UserError(
            f"tokenizer {name!r} is that of a model's folder, which no text gives; graft that folder again."
        )
    kind, _, size = name.partition("-")
    if kind != "bpe" or not size.isdecimal():
        raise UserError(f"unknown tokenizer {name!r}; use bytes, or bpe-VOCAB such as bpe-4096.")
    if int(size) <= _ALPHABET:
        raise UserError(f"tokenizer {name!r} has no room for the 256 bytes and a separator; use 257 or more.")
    return from_definition(name, _train_bpe(training_texts(), int(size)))


def from_definition(name: str, definition: str, begin: int = 0, ends: Sequence[int] = (0,)) -> Tokenizer:
    """A trained tokenizer from its JSON; the first of `ends` is its separator. Raises UserError for broken JSON."""
    from tokenizers import Tokenizer as Bpe
    from tokenizers.decoders import DecodeStream

    try:
        bpe = Bpe.from_str(definition)
    except Exception as error:  # of no other kind
        raise UserError(f"the tokenizer of {name} cannot be read ({error}); copy or train it again.") from None
    bpe.encode_special_tokens = True  # text that spells the separator stays text

    def encode(texts: list[str]) -> list[Ids]:
        return [np.array(e.ids, np.int64) for e in bpe.encode_batch(texts, add_special_tokens=False)]

    def decoder() -> Decoder:
        stream = DecodeStream(skip_special_tokens=True)
        return lambda token: stream.step(bpe, token) or ""

    size = 1 + max(bpe.get_vocab().values())  # more than there are, where some numbers are none's
    return Tokenizer(name, size, ends[0], definition, encode, decoder, begin, frozenset(ends))


def bytes_definition() -> str:
    """`bytes` as JSON that Hugging Face's tokenizers read: a token for each byte, none merged."""
    from tokenizers import Tokenizer as Bpe
    from tokenizers import decoders, models, pre_tokenizers

    # their letters of bytes (GPT-2): those of Latin-1 that can be seen, and from 256 on, in order, for the others
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = {byte: _ALPHABET + k for k, byte in enumerate(sorted({*range(_ALPHABET)} - seen))}
    bpe = Bpe(models.BPE({chr(others.get(byte, byte)): byte for byte in range(_ALPHABET)}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    definition: str = bpe.to_str()
    return definition


def _encode_bytes(texts: list[str]) -> list[Ids]:
    return [np.frombuffer(text.encode(), np.uint8) for text in texts]


def _byte_decoder() -> Decoder:
    text = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda token: text.decode(bytes([token]))


def _train_bpe(texts: Iterator[str], vocab_size: int) -> str:
    from tokenizers import Tokenizer as Bpe
    from tokenizers import decoders, models, pre_tokenizers, trainers

    bpe = Bpe(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    definition: str = bpe.to_str()
    return definition
