"""The states of a model's sequences while they are continued: rows of a batch that join, leave, and are forked."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from eutectic.arch.base import State
from eutectic.arch.model import Model
from eutectic.errors import UserError

PREFILL = 2048  # tokens at once


@dataclass(frozen=True)
class Saved:
    """A sequence's state: the tokens it has seen, and what the blocks keep of them, as of a batch of one."""

    seen: int
    states: list[State]


class Cache:
    """Room for `rows` sequences of up to `capacity` tokens each, taken once and written in place.

    Each row has its own length, and one that is not continued goes on later as if the others had not. What a layer
    keeps is its own matter (Layer.init_state): keys and values, in rings under sliding windows; past inputs of FIRs;
    modes; matrices.
    seen: tokens so far, by row. Raises UserError where a sequence is to have more than `capacity`.
    """

    def __init__(self, model: Model, rows: int, capacity: int):
        self.model, self.capacity = model, capacity
        # of one slot more: where a row that does not go on is written all the same
        self.states = model.init_state(rows, capacity + 1)
        self.seen = [0] * rows
        self._graph: torch.cuda.CUDAGraph | None = None
        self._capturable = model.embedding.weight.is_cuda

    @torch.no_grad()
    def prefill(self, row: int, tokens: Tensor, chunk: int = PREFILL) -> Tensor:
        """Have a row read tokens (length,), so many at once; the logits (vocab,) after the last."""
        self._make_room([row], len(tokens))
        states = self._views(row)
        for part in tokens.split(chunk):
            x, after = self.model.prefill(part[None], states)
            tree_map(_keep, states, after)
        return self.model.logits(x[0, -1])

    @torch.no_grad()
    def step(self, tokens: Tensor, going: Sequence[int] | None = None) -> Tensor:
        """Have rows read one token each, of tokens (rows,); the logits (rows, vocab) after it.

        going: the rows that do, if not all; the others' logits mean nothing. On a GPU the step is compiled and captured
        once, and the next may overwrite its logits.
        """
        rows = range(len(self.seen)) if going is None else going
        self._make_room(rows, 1)
        mask = torch.zeros(len(self.seen), dtype=torch.bool)
        mask[list(rows)] = True
        take = self._replay if self._capturable else self._take
        return take(tokens, mask.to(tokens.device))

    def _replay(self, tokens: Tensor, going: Tensor) -> Tensor:
        if self._graph is None:
            self._tokens, self._going = tokens.clone(), torch.zeros_like(going)
            take = torch.compile(self._take, dynamic=False)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # to compile, and with no row going: no state moves
                take(self._tokens, self._going)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph):
                    self._logits = take(self._tokens, self._going)
            except RuntimeError as error:
                print(f"decoding cannot be captured ({str(error).splitlines()[0]}); it is launched.", file=sys.stderr)
                self._capturable = False
                return take(tokens, going)
            self._graph = graph
        self._tokens.copy_(tokens)
        self._going.copy_(going)
        self._graph.replay()
        return self._logits

    def _take(self, tokens: Tensor, going: Tensor) -> Tensor:
        logits, after = self.model.step(tokens, self.states)
        tree_map(lambda old, new: _keep(old, new, going), self.states, after)
        return logits

    def clear(self, row: int) -> None:
        """Have a row begin anew."""
        self.seen[row] = 0
        for leaf in tree_leaves(self.states):
            leaf[row].zero_()

    def save(self, row: int) -> Saved:
        """A copy of a row's state, which later tokens leave as it is."""
        return Saved(self.seen[row], tree_map(torch.clone, self._views(row)))

    def load(self, row: int, saved: Saved) -> None:
        """Have a row go on from what a cache of the same model and capacity saved. Raises UserError for another's."""
        own, given = (tree_flatten(states) for states in (self._views(row), saved.states))
        if own[1] != given[1] or [t.shape for t in own[0]] != [t.shape for t in given[0]]:
            raise UserError("that state is of a cache of another model or capacity; load it into one like its own.")
        for old, new in zip(own[0], given[0], strict=True):
            old.copy_(new)
        self.seen[row] = saved.seen

    def fork(self, row: int, onto: int) -> None:
        """Have another row go on from where this one is; they share nothing."""
        self.load(onto, Saved(self.seen[row], self._views(row)))

    def _views(self, row: int) -> list[State]:
        views: list[State] = tree_map(lambda leaf: leaf[row : row + 1], self.states)
        return views

    def _make_room(self, rows: Sequence[int], tokens: int) -> None:
        for row in rows:
            if self.seen[row] + tokens > self.capacity:
                raise UserError(
                    f"a sequence of {self.seen[row]} tokens cannot have {tokens} more in a cache with room for "
                    f"{self.capacity}; make it larger."
                )
        for row in rows:
            self.seen[row] += tokens


def _keep(old: Tensor, new: Tensor, going: Tensor | None = None) -> None:
    """Write a layer's state into its place, unless the layer has, of the rows that go on if not all do."""
    if new is old:
        return
    if going is not None:
        new = torch.where(going.view(-1, *[1] * (new.ndim - 1)), new, old)
    old.copy_(new)
