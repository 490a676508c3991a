"""Texts continued by a model, as many at once as a cache has rows; one that ends leaves its row to the next."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch

from eutectic.arch.model import Model
from eutectic.inference.cache import Cache
from eutectic.inference.sample import Sampling, sample
from eutectic.train.tokenizer import Decoder, Tokenizer

Heard = Callable[[int, str], None]


@dataclass(frozen=True)
class Limits:
    """Of what is added to a prompt: at most so many tokens, and none from the first of the `stop` strings on."""

    tokens: int
    stop: tuple[str, ...] = ()


@dataclass
class Continuation:
    """What a model added to a prompt. ended: why no more, `document` where it ended the text, `stop` or `length`."""

    number: int
    decode: Decoder
    ids: list[int] = field(default_factory=list)
    text: str = ""
    held: str = ""  # of the text, what may turn out to be the beginning of a stop string
    ended: str = ""

    def add(self, token: int, ends: Collection[int], limits: Limits) -> str:
        """Take a token; returns the text that is now certain."""
        self.ids.append(token)
        if token in ends:
            self.ended = "document"
            return self._release(len(self.held))
        self.held += self.decode(token)
        found = [at for stop in limits.stop if (at := self.held.find(stop)) >= 0]
        if found:
            self.ended = "stop"
            return self._release(min(found))
        if len(self.ids) == limits.tokens:
            self.ended = "length"
            return self._release(len(self.held))
        return self._release(len(self.held) - _begun(self.held, limits.stop))

    def _release(self, length: int) -> str:
        text, self.held = self.held[:length], self.held[length:]
        self.text += text
        return text


def _begun(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of a text with which a stop string may begin."""
    lengths = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
    return max(lengths, default=0)


def generate(
    model: Model,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    limits: Limits,
    sampling: Sampling,
    rows: int = 8,
    heard: Heard = lambda number, text: None,
) -> list[Continuation]:
    """A continuation of each prompt, the same whatever the number of rows, but for rounding.

    A prompt begins a document: the model reads first what stands before one. heard: is told, as it becomes certain, of
    the text added to a prompt by its number.
    """
    read = [[tokenizer.begin, *ids.tolist()] for ids in tokenizer.encode(list(prompts))]
    return continue_tokens(model, tokenizer, read, limits, sampling, rows, heard)


def continue_tokens(
    model: Model,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    limits: Limits,
    sampling: Sampling,
    rows: int = 8,
    heard: Heard = lambda number, text: None,
) -> list[Continuation]:
    """generate() of prompts in tokens, of one or more each, the separator among them or not."""
    device = next(model.parameters()).device
    read = [torch.tensor(prompt, device=device) for prompt in prompts]
    cache = Cache(model, min(rows, len(read)), max(map(len, read)) + limits.tokens)
    waiting = [Continuation(number, tokenizer.decoder()) for number in range(len(read))][::-1]
    done: list[Continuation] = []
    going: dict[int, Continuation] = {}  # by row
    last = torch.zeros(len(cache.seen), dtype=torch.long, device=device)

    def take(row: int, token: int) -> None:
        text = going[row]
        if certain := text.add(token, tokenizer.ends, limits):
            heard(text.number, certain)
        last[row] = token
        if text.ended:
            done.append(going.pop(row))
            cache.clear(row)

    while waiting or going:
        for row in sorted(set(range(len(cache.seen))) - going.keys()):
            if waiting:
                going[row] = waiting.pop()
                logits = cache.prefill(row, read[going[row].number])
                take(row, int(sample(logits[None], sampling, [(going[row].number, 0)])))
        if rows_going := sorted(going):
            logits = cache.step(last, rows_going)[rows_going]
            places = [(going[row].number, len(going[row].ids)) for row in rows_going]
            for row, token in zip(rows_going, sample(logits, sampling, places).tolist(), strict=True):
                take(row, token)
    return sorted(done, key=lambda text: text.number)
