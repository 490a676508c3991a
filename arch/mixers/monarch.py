"""Monarch Mixer's causal sequence mixer (Fu et al. 2023, section 4): a gated long convolution as Monarch matrices."""

import torch
from torch import Tensor

from eutectic.arch import ring
from eutectic.arch.base import Card, LayerShape, State, StateSize
from eutectic.arch.gated_conv import GatedConv, decay_window, gated
from eutectic.arch.layers import exempt, wide
from eutectic.errors import UserError
from eutectic.kernels import long_conv, monarch, plain


class Monarch(GatedConv):
    """y = W_out(q * (M^-1 (M h * M u) + D u)), u = k * v, with q, k, v = FIR3(W_in x) and M a Monarch matrix.

    M is the Fourier matrix over as many points as u and h have together, which makes the map causal; h is learned.
    h_t = taps_t exp(-alpha t) for t < max_length, alpha evenly from the slowest to the fastest channel, as the windows
    of the released M2-BERT, whose taps a network computes. Here they are free, for M2-GPT's code is not released; they
    start normal, with an energy of h of 1 in expectation, and D as N(0, 1). Sequences may be longer than max_length: a
    token sees the max_length - 1 before it.
    """

    card = Card(
        paper="Fu et al. 2023, Monarch Mixer: A Simple Sub-Quadratic GEMM-Based Architecture",
        equation="y = W_out(q * (M^-1 (M h * M u) + D u)), u = k * v, M = P_3 diag(B_2) P_2 diag(B_1) P_1",
        state="min(L, max_length) d of the inputs so far + 6 d of the FIR",
        time="L^1.5; max_length for one more token",
        oracle="the Toeplitz matrix and the dense Monarch factors, in float64",
    )

    def __init__(self, shape: LayerShape, *, max_length: int = 1024):
        super().__init__(shape)
        if max_length < 2:
            raise UserError(f"monarch cannot have a max_length of {max_length}; give 2 or more tokens.")
        self.max_length = max_length
        taps = torch.randn(shape.d_inner, max_length)
        self.taps = exempt(taps * self._window(max_length, taps).square().sum(1, keepdim=True) ** -0.5)
        self.skip = exempt(torch.randn(shape.d_inner))

    def filter(self, length: int) -> Tensor:
        """h (d_inner, length or max_length if that is less)."""
        taps = wide(self.taps[:, :length])
        return taps * self._window(taps.shape[1], taps)

    def _window(self, length: int, like: Tensor) -> Tensor:
        """(d_inner, length)."""
        t = torch.arange(length, device=like.device, dtype=torch.float64)
        return decay_window(t, self.d_inner, self.max_length).T.to(like.dtype)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        u = k * v
        return gated(q, u, plain.monarch_conv(u, self.filter(u.shape[1])), self.skip)

    def mix_after(self, q: Tensor, k: Tensor, v: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the last u, a ring (batch, slots, d_inner), and the tokens seen, (batch,)."""
        u = k * v
        past, seen = state or self.init_mix(len(u), u.shape[1])
        whole = ring.extend(past, int(seen[0]), self.max_length, u)
        y = plain.monarch_conv(whole, self.filter(whole.shape[1]))[:, -u.shape[1] :]
        return gated(q, u, y, self.skip), (past, seen + u.shape[1])

    def mix_step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        u = k * v
        past, seen = state
        ring.put(past, seen, self.max_length, u)
        y = long_conv.step(past, self.filter(past.shape[1]), *ring.lags(seen, past))
        return gated(q, u, y, self.skip), (past, seen + 1)

    def mix_flops(self, length: int, conv_algorithm: str) -> tuple[int, int]:
        """Per token and channel, two gates and the skip at 2; and the convolution.

        recurrence: a multiply-add for each input that a token sees. chunked: the Monarch matrices, as in
        monarch.matmul_flops, and a complex product at 6 for each of n2 (n1 / 2 + 1) frequencies. fft: as in
        kernels/long_conv.py. The filter's window and spectrum are shared by a batch and left out.
        """
        taps = min(length, self.max_length)
        n1, n2 = monarch.points(length, taps)
        matmul = self.d_inner * monarch.matmul_flops(length, taps)
        conv = {
            "recurrence": 2 * self.d_inner * (length * taps - taps * (taps - 1) // 2),
            "chunked": matmul + 6 * self.d_inner * n2 * (n1 // 2 + 1),
            "fft": long_conv.flops(self.d_inner, length),
        }[conv_algorithm]
        return conv + 4 * length * self.d_inner, matmul

    def init_mix(self, batch: int, capacity: int) -> State:
        past = self.qkv.weight.new_zeros(batch, ring.slots(capacity, self.max_length), self.d_inner)
        return past, ring.counts(batch, past)

    def mix_size(self, length: int) -> StateSize:
        return StateSize(cached=ring.slots(length, self.max_length) * self.d_inner)
