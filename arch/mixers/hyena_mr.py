"""Hyena-MR, the gated convolution with explicit filters of medium length (Ku et al. 2025, StripedHyena 2; Evo 2)."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from eutectic.arch.base import Card, LayerShape, State
from eutectic.arch.gated_conv import LongConv, gated
from eutectic.arch.layers import exempt, short_conv_step, wide
from eutectic.arch.mixers.hyena_se import HyenaSE
from eutectic.kernels import dispatch

# of the groups' rates of decay over the length of the filter, as Evo 2 sweeps them: evenly in log10
LOG_SLOWEST, LOG_FASTEST = -2.0, 2.0
SMALL_START = 1e-5


class HyenaMR(HyenaSE, LongConv):
    """y = W_out(q * (h conv u + D u)), u = k * v: Hyena-SE with longer filters under a decay, and a skip.

    h_t = taps_t exp(-alpha_g t / (taps - 1)) in group g, alpha swept over the groups. As in the authors' code the taps
    start at 1e-5 of Hyena-SE's, else most of what they pass on is noise, and D uniform within 1 / sqrt(taps).
    """

    card = Card(
        paper="Ku et al. 2025, StripedHyena 2 (Hyena-MR)",
        equation="y = W_out(q * (h conv u + D u)), u = k * v, h_t = taps_t exp(-alpha_g t), 128 taps a group g",
        state="127 d of the inner filter's past + 6 d of the FIR",
        time="L",
        oracle="the formula in float64, torch's conv1d",
    )

    def __init__(self, shape: LayerShape, *, taps: int = 128, group: int = 16):
        super().__init__(shape, taps=taps, group=group)
        self.taps.data *= SMALL_START
        self.skip = exempt(torch.empty(shape.d_inner).uniform_(-(taps**-0.5), taps**-0.5))

    def filter(self) -> Tensor:
        """h (groups, taps), in float32 at least."""
        taps = wide(self.taps)
        alpha = torch.logspace(LOG_SLOWEST, LOG_FASTEST, len(taps), device=taps.device, dtype=taps.dtype)
        t = torch.linspace(0, 1, self.n_taps, device=taps.device, dtype=taps.dtype)
        return taps * torch.exp(-alpha[:, None] * t)

    def impulse_response(self, length: int) -> Tensor:
        return pad(self.per_channel(), (0, length - self.n_taps))

    def mix_after(self, q: Tensor, k: Tensor, v: Tensor, state: State | None) -> tuple[Tensor, State]:
        u = k * v
        y, state = dispatch.fir(u, self.filter(), state)
        return gated(q, u, y, self.skip), state

    def mix_step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        u = k * v
        y, state = short_conv_step(u, self.per_channel(), state)
        return gated(q, u, y, self.skip), state

    def mix_flops(self, length: int, conv_algorithm: str) -> tuple[int, int]:
        """recurrence: the direct sum, 2 per tap, token and channel.

        chunked, by which fft is charged too: a block of T = min(taps, length) tokens is a matmul of (T, T + taps - 1)
        with its channels. Besides, two gates and the skip at 2 per token and channel.
        """
        block = min(self.n_taps, length)
        matmul = 2 * -(-length // block) * block * (block + self.n_taps - 1) * self.d_inner
        direct = 2 * self.n_taps * length * self.d_inner
        conv = direct if conv_algorithm == "recurrence" else matmul
        return conv + 4 * length * self.d_inner, matmul
