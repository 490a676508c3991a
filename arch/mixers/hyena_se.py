"""Hyena-SE, the gated convolution with short explicit filters (Ku et al. 2025, StripedHyena 2; Evo 2)."""

import math

import torch
from torch import Tensor

from eutectic.arch.base import Card, LayerShape, State, StateSize
from eutectic.arch.gated_conv import GatedConv
from eutectic.arch.layers import exempt, short_conv_step
from eutectic.errors import UserError
from eutectic.kernels import dispatch


class HyenaSE(GatedConv):
    """y = W_out(q * (h conv (k * v))), with q, k, v = FIR3(W_in x) and h of `taps` learned taps.

    Neighbouring channels share a filter, `group` of them or, where that does not divide the width, as many as their
    greatest common divisor. Taps start as N(0, 1 / taps), so that the convolution keeps the variance.
    """

    card = Card(
        paper="Ku et al. 2025, StripedHyena 2 (Hyena-SE)",
        equation="y = W_out(q * (h conv (k * v))), h of 7 taps a group of channels",
        state="6 d of the inner filter's past + 6 d of the FIR",
        time="L",
        oracle="the formula in float64, torch's conv1d",
    )

    def __init__(self, shape: LayerShape, *, taps: int = 7, group: int = 16):
        super().__init__(shape)
        if taps < 1 or group < 1:
            raise UserError(f"a Hyena filter cannot have {taps} taps for a group of {group}; give 1 or more of each.")
        self.n_taps = taps
        groups = shape.d_inner // math.gcd(shape.d_inner, group)
        self.taps = exempt(torch.randn(groups, taps) * taps**-0.5)

    def filter(self) -> Tensor:
        """h (groups, taps)."""
        return self.taps

    def mix_after(self, q: Tensor, k: Tensor, v: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the last taps - 1 products of k and v, (batch, taps - 1, d_inner)."""
        y, state = dispatch.fir(k * v, self.filter(), state)
        return q * y, state

    def mix_step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = short_conv_step(k * v, self.per_channel(), state)
        return q * y, state

    def per_channel(self) -> Tensor:
        """h (d_inner, taps)."""
        h = self.filter()
        return h.repeat_interleave(self.d_inner // len(h), 0)

    def mix_flops(self, length: int, conv_algorithm: str) -> tuple[int, int]:
        """Whatever is asked for, the direct sum: 2 per tap, token and channel, and two gates."""
        return length * self.d_inner * (2 * self.n_taps + 2), 0

    def init_mix(self, batch: int, capacity: int) -> State:
        return self.qkv.weight.new_zeros(batch, self.n_taps - 1, self.d_inner)

    def mix_size(self, length: int) -> StateSize:
        return StateSize(cached=(self.n_taps - 1) * self.d_inner)
