"""The contract of a layer's two halves: a sequence mixer, which mixes positions, and a channel mixer.

A mixer's constructor takes a LayerShape and, keyword-only and with defaults, the options that a layout may set:
`swa(window=128)` calls `SlidingWindow(shape, window=128)`.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

# what a layer carries between tokens: nested tuples of tensors, batch first; integers among them count tokens
State = Any


@dataclass(frozen=True)
class LayerShape:
    """What a layer is told of its model.

    d_model: width of the residual stream. d_inner: channels that are mixed, n_heads heads of them; d_model, or its
    share where several mixers stand side by side. layer: from 0. out_scale: of the initial output projection.
    """

    d_model: int
    d_inner: int
    n_heads: int
    n_kv_heads: int
    d_ffn: int
    layer: int
    n_layers: int
    out_scale: float
    n_modes: int = 8
    poles: str = "complex"
    rope_base: float = 10_000.0
    norm_eps: float = 1e-6

    @property
    def d_head(self) -> int:
        return self.d_inner // self.n_heads


@dataclass(frozen=True)
class MixerFlops:
    """Forward FLOPs of one mixer over one sequence; a multiply-add is two.

    projection: matmuls from and to the model's width. core: the mixing of positions, as its convention charges it.
    core_full: the same with causal attention not halved (equal to core where nothing is halved).
    matmul: the matmuls of one sequence that torch's FlopCounterMode sees in float64: of projection, of core_full where
    it is computed as charged by `chunked`, and of filters that a batch shares, which core leaves out.
    """

    projection: int
    core: int
    core_full: int
    matmul: int


@dataclass(frozen=True)
class StateSize:
    """Reals that one sequence's decoding state holds: `cached` in the model's dtype, `wide` in float32 at least."""

    cached: int = 0
    wide: int = 0

    @property
    def dim(self) -> int:
        return self.cached + self.wide

    def bytes(self, dtype: torch.dtype) -> int:
        return self.cached * dtype.itemsize + self.wide * max(4, dtype.itemsize)

    def __add__(self, other: "StateSize") -> "StateSize":
        return StateSize(self.cached + other.cached, self.wide + other.wide)


@dataclass(frozen=True)
class Card:
    """What docs/zoo.md says of a mixer. L: length, d: channels, d_head: of a head, W: window, n: state's order.

    paper: authors, year, title or name. equation: the map, in the paper's symbols, with its number. state: numbers kept
    per layer. time: of a forward pass in L. oracle: what public code, or which literal formula, tests hold it to.
    """

    paper: str
    equation: str
    state: str
    time: str
    oracle: str


class Layer(nn.Module, abc.ABC):
    """Maps (batch, length, d_model) to the same shape, causally, in parallel or token by token.

    card: for docs/zoo.md. penalty: a scalar that the last forward pass adds to the loss, in training mode.
    """

    card: ClassVar[Card]
    penalty: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.prefill(x, None)[0]

    @abc.abstractmethod
    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """forward of x (batch, length, d_model) after the tokens that `state` has seen, and the state after it.

        A state that grows with the tokens is written in place, and of rows that have seen equally many. The state after
        None, the start, has no room for more.
        """

    @abc.abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One token: x (batch, d_model) and the state so far to y (batch, d_model) and the state after it.

        Its rows may have seen different numbers of tokens. One that grows is written in place.
        """

    @abc.abstractmethod
    def init_state(self, batch: int, capacity: int) -> State:
        """The state before the first token, all zeros, with room for `capacity` tokens if it grows with them."""

    @abc.abstractmethod
    def state_size(self, length: int) -> StateSize:
        """What one sequence's state holds after `length` tokens: the size of the real tensors, but for the integers."""


class Mixer(Layer):
    """A sequence mixer."""

    @abc.abstractmethod
    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """FLOPs over one sequence of this length.

        conv_algorithm names how long convolutions and recurrences are charged: `recurrence`, `chunked` or `fft`. What
        has no such algorithm is charged by the one it has, which its docstring names.
        """


class ChannelMixer(Layer):
    """A channel mixer; most see one position at a time and keep no state."""

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    @abc.abstractmethod
    def flops(self, length: int) -> int:
        """Matmul FLOPs over one sequence of this length: those done, where only some of the parameters act."""

    def active_params(self) -> int:
        """Parameters that act on one token."""
        return sum(p.numel() for p in self.parameters())

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        return self(x), ()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self(x[:, None])[:, 0], ()

    def init_state(self, batch: int, capacity: int) -> State:
        return ()

    def state_size(self, length: int) -> StateSize:
        return StateSize()
