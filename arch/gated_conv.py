"""What the Hyena family shares: projections to queries, keys and values, each with a short FIR, and the one out."""

import abc
import math

import torch
from torch import Tensor, nn

from eutectic.arch.base import LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, identity_taps, linear, short_conv, short_conv_step

FIR_TAPS = 3
FASTEST, SLOWEST, FLOOR = 0.3, 1.5, 1e-2


class GatedConv(Mixer):
    """y = W_out mix(q, k, v) with q, k, v = FIR3(W_in x) (Poli et al. 2023, 3.2), each (batch, length, d_inner).

    The FIRs start as the identity. State: their past inputs, (batch, 2, 3 d_inner), and that of mix.
    """

    def __init__(self, shape: LayerShape):
        super().__init__()
        self.d_inner = shape.d_inner
        self.qkv = linear(shape.d_model, 3 * shape.d_inner)
        self.out = linear(shape.d_inner, shape.d_model, shape.out_scale)
        self.fir = exempt(identity_taps(3 * shape.d_inner, FIR_TAPS))

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.mix_after(q, k, v, None)[0]

    @abc.abstractmethod
    def mix_after(self, q: Tensor, k: Tensor, v: Tensor, state: State | None) -> tuple[Tensor, State]:
        """mix after the tokens that `state` has seen, and the state after."""

    @abc.abstractmethod
    def mix_step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        """mix_after of one token: q, k, v (batch, d_inner)."""

    @abc.abstractmethod
    def init_mix(self, batch: int, capacity: int) -> State:
        """The state of mix before the first token, with room for `capacity` if it grows with them."""

    @abc.abstractmethod
    def mix_size(self, length: int) -> StateSize:
        """What the state of mix holds after `length` tokens of one sequence."""

    @abc.abstractmethod
    def mix_flops(self, length: int, conv_algorithm: str) -> tuple[int, int]:
        """FLOPs of mix over one sequence, all of them and those of matmuls that torch's FlopCounterMode sees."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = short_conv(self.qkv(x), self.fir, None)[0].chunk(3, -1)
        return self.out(self.mix(q, k, v))

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        past, mixed = state or (None, None)
        qkv, past = short_conv(self.qkv(x), self.fir, past)
        q, k, v = qkv.chunk(3, -1)
        y, mixed = self.mix_after(q, k, v, mixed)
        return self.out(y), (past, mixed)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, mixed = state
        qkv, past = short_conv_step(self.qkv(x), self.fir, past)
        q, k, v = qkv.chunk(3, -1)
        y, mixed = self.mix_step(q, k, v, mixed)
        return self.out(y), (past, mixed)

    def init_state(self, batch: int, capacity: int) -> State:
        past = self.qkv.weight.new_zeros(batch, FIR_TAPS - 1, self.qkv.out_features)
        return past, self.init_mix(batch, capacity)

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=3 * self.d_inner * (FIR_TAPS - 1)) + self.mix_size(length)

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The core is the FIRs at 2 per tap, token and channel of q, k and v, and what mix_flops derives."""
        projection = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        mixing, matmul = self.mix_flops(length, conv_algorithm)
        core = mixing + length * 3 * self.d_inner * 2 * FIR_TAPS
        return MixerFlops(projection, core, core, projection + matmul)


class LongConv(GatedConv):
    """A GatedConv of mix(q, k, v) = q * (h conv u + D u), u = k * v, with long filters h that have no modal form."""

    skip: nn.Parameter

    @abc.abstractmethod
    def impulse_response(self, length: int) -> Tensor:
        """h (d_inner, length), in float32 at least, without D."""


def gated(q: Tensor, u: Tensor, y: Tensor, skip: Tensor) -> Tensor:
    """q * (y + D u), in u's dtype."""
    return q * (y.to(u.dtype) + skip.to(u.dtype) * u)


def decay_window(t: Tensor, channels: int, max_length: int) -> Tensor:
    """exp(-alpha t) (tokens, channels), alpha evenly from the slowest to the fastest channel.

    As safari's and M2-BERT's: windows decay to FLOOR in the shares SLOWEST and FASTEST of max_length.
    """
    slow, fast = (-math.log(FLOOR) / share for share in (SLOWEST, FASTEST))
    alpha = torch.linspace(slow, fast, channels, device=t.device, dtype=t.dtype)
    return torch.exp(-alpha * t[:, None] / (max_length - 1))
