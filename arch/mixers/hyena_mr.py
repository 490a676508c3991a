"""Hyena-MR, the gated convolution with explicit filters of medium length (Ku et al. 2025, StripedHyena 2; Evo 2)."""

import torch
from torch import Tensor

from eutectic.arch.base import Card, LayerShape, State
from eutectic.arch.layers import wide
from eutectic.arch.mixers.hyena_se import HyenaSE
from eutectic.kernels import fir

# of the groups' rates of decay over the length of the filter, as Evo 2 sweeps them: evenly in log10
LOG_SLOWEST, LOG_FASTEST = -2.0, 2.0


class HyenaMR(HyenaSE):
    """Hyena-SE with longer filters under a fixed decay, h_t = taps_t exp(-alpha_g t / (taps - 1)) in group g.

    alpha is swept over the groups. The convolution is a Toeplitz matmul per block of as many tokens as there are taps.
    """

    card = Card(
        paper="Ku et al. 2025, StripedHyena 2 (Hyena-MR)",
        equation="y = W_out(q * (h conv (k * v))), h_t = taps_t exp(-alpha_g t), 128 taps a group g of channels",
        state="127 d of the inner filter's past + 6 d of the FIR",
        time="L",
        oracle="the formula in float64, torch's conv1d",
    )

    def __init__(self, shape: LayerShape, *, taps: int = 128, group: int = 16):
        super().__init__(shape, taps=taps, group=group)

    def filter(self) -> Tensor:
        """h (groups, taps), in float32 at least."""
        taps = wide(self.taps)
        alpha = torch.logspace(LOG_SLOWEST, LOG_FASTEST, len(taps), device=taps.device, dtype=taps.dtype)
        t = torch.linspace(0, 1, self.n_taps, device=taps.device, dtype=taps.dtype)
        return taps * torch.exp(-alpha[:, None] * t)

    def mix_after(self, q: Tensor, k: Tensor, v: Tensor, state: State | None) -> tuple[Tensor, State]:
        y, state = fir.blocked(k * v, self.filter(), state)
        return q * y, state

    def mix_flops(self, length: int, conv_algorithm: str) -> tuple[int, int]:
        """recurrence: the direct sum, 2 per tap, token and channel.

        chunked, by which fft is charged too: a block of T = min(taps, length) tokens is a matmul of (T, T + taps - 1)
        with its channels. Besides, two gates per token and channel.
        """
        block = min(self.n_taps, length)
        matmul = 2 * -(-length // block) * block * (block + self.n_taps - 1) * self.d_inner
        direct = 2 * self.n_taps * length * self.d_inner
        conv = direct if conv_algorithm == "recurrence" else matmul
        return conv + 2 * length * self.d_inner, matmul
