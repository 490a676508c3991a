"""The contract of a sequence mixer."""

import abc
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class MixerFlops:
    """Forward FLOPs of one mixer over one sequence; a multiply-add is two.

    projection: matmuls from and to the model's width. core: the mixing of positions, as its convention charges it.
    core_full: the same with causal attention not halved (equal to core where nothing is halved).
    matmul: the part of projection + core_full that is matmuls, as torch's FlopCounterMode sees it.
    """

    projection: int
    core: int
    core_full: int
    matmul: int


class Mixer(nn.Module, abc.ABC):
    """Maps (batch, length, d_model) to the same shape, causally, and says what that costs."""

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    @abc.abstractmethod
    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """FLOPs over one sequence of this length; conv_algorithm is recurrence, chunked or fft."""

    @abc.abstractmethod
    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        """Bytes one sequence's decoding state takes after `length` tokens."""

    @abc.abstractmethod
    def init_state(self, batch: int) -> Any:
        """The state before the first token."""

    @abc.abstractmethod
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token: x (batch, d_model) and the state so far to y (batch, d_model) and the state after it."""
