"""DeltaNet: linear attention that corrects what its state holds for a key (Schlag et al. 2021; Yang et al. 2024).

The state is a fast-weight memory that each token moves, by one step of gradient descent at its own learning rate beta,
towards v for its key k. Linear weights start as this package's do: the paper leaves them open.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import (
    exempt,
    l2_norm,
    linear,
    rms_norm,
    short_conv,
    short_conv_step,
    uniform_taps,
    wide,
)
from eutectic.kernels import delta_rule, plain

TAPS = 4


class DeltaNet(Mixer):
    """y = W_out of the heads' RMSNorm(S_t^T q_t); q, k, v = silu(FIR4(W x)), q and k of unit length, beta = sigmoid.

    Queries are scaled by 1 / sqrt(d_head), which the norm after them takes out again but for its epsilon. From the FIR
    to unit length all is in float32 at least: the norms make much of the rounding of what is small.
    """

    card = Card(
        paper="Yang et al. 2024, Parallelizing Linear Transformers with the Delta Rule",
        equation="S_t = (I - beta_t k_t k_t') S_{t-1} + beta_t k_t v_t', y_t = S_t' q_t",
        state="d d_head + 9 d of the FIR",
        time="L d_head",
        oracle="the recurrence in float64; flash-linear-attention's naive delta_rule",
    )

    def __init__(self, shape: LayerShape):
        super().__init__()
        self.n_heads, self.d_head = shape.n_heads, shape.d_head
        self.qkv = linear(shape.d_model, 3 * shape.d_inner)
        self.beta = linear(shape.d_model, shape.n_heads)
        self.fir = exempt(uniform_taps(3 * shape.d_inner, TAPS))
        self.norm = rms_norm(shape.d_head, shape.norm_eps)
        self.out = linear(shape.d_inner, shape.d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the FIR's inputs (batch, 3, 3 d_inner) and S (batch, heads, d_head, d_head)."""
        past, memory = state or (None, None)
        qkv, beta = self.qkv(x), self._beta(x)
        convolved, past = short_conv(wide(qkv), self.fir, past)
        q, k, v = (part.to(qkv.dtype) for part in self._heads(convolved))
        y, memory = plain.delta_rule(q, k, v, beta, torch.zeros_like(beta), memory)
        return self._out(y), (past.to(qkv.dtype), memory)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, memory = state
        qkv, beta = self.qkv(x), self._beta(x)
        convolved, past = short_conv_step(wide(qkv), self.fir, past)
        y, memory = delta_rule.step(*self._heads(convolved), beta, torch.zeros_like(beta), memory)
        return self._out(y.to(qkv.dtype)), (past.to(qkv.dtype), memory)

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v (..., heads, d_head) of what the FIR gives (..., 3 d_inner)."""
        q, k, v = F.silu(qkv).unflatten(-1, (3, self.n_heads, self.d_head)).unbind(-3)
        return l2_norm(q) * self.d_head**-0.5, l2_norm(k), v

    def _beta(self, x: Tensor) -> Tensor:
        return wide(self.beta(x)).sigmoid()

    def _out(self, y: Tensor) -> Tensor:
        return self.out(self.norm(y).flatten(-2))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """Per token FIR of 2 TAPS on each of q, k, v, and the delta rule as kernels/delta_rule.py charges it.

        Its chunked form stands for fft, too. The decay that the rule could have is charged, though it is 1 here.
        """
        n_heads, d_head = self.n_heads, self.d_head
        weights = self.qkv.weight.numel() + self.beta.weight.numel() + self.out.weight.numel()
        projection = 2 * length * weights
        core = delta_rule.flops(length, n_heads, d_head, d_head, conv_algorithm)
        core += length * self.qkv.out_features * 2 * TAPS
        return MixerFlops(projection, core, core, projection + delta_rule.matmul_flops(length, n_heads, d_head, d_head))

    def init_state(self, batch: int, capacity: int) -> State:
        past = self.qkv.weight.new_zeros(batch, TAPS - 1, self.qkv.out_features)
        return past, wide(past.new_zeros(batch, self.n_heads, self.d_head, self.d_head))

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=(TAPS - 1) * self.qkv.out_features, wide=self.n_heads * self.d_head**2)
