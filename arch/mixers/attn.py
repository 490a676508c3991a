"""Causal multi-head, grouped-query or multi-query attention with rotary positions.

`n_kv_heads` of the model chooses among the three (Vaswani 2017; Su 2021; Shazeer 2019; Ainslie 2023).
qk_norm: RMSNorm of each query and key head (Henry et al. 2020).
"""

import torch
from torch import Tensor

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import linear, rms_norm, rotary_angles, rotate
from eutectic.kernels import dispatch


class Attention(Mixer):
    """y = W_out softmax(q k' / sqrt(d_head)) v, over all that is past."""

    card = Card(
        paper="Vaswani et al. 2017; rotary positions Su et al. 2021; grouped queries Ainslie et al. 2023",
        equation="y_t = sum_{s<=t} softmax_s(q_t k_s / sqrt(d_head)) v_s",
        state="2 L d n_kv_heads / n_heads",
        time="L^2",
        oracle="transformers LlamaForCausalLM",
    )
    window: int | None = None

    def __init__(self, shape: LayerShape, *, qk_norm: bool = False):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.d_head = shape.n_heads, shape.n_kv_heads, shape.d_head
        self.rope_base = shape.rope_base
        self.d_kv = self.n_kv_heads * self.d_head
        self.qkv = linear(shape.d_model, shape.d_inner + 2 * self.d_kv)
        self.out = linear(shape.d_inner, shape.d_model, shape.out_scale)
        self.q_norm, self.k_norm = (rms_norm(self.d_head, shape.norm_eps) if qk_norm else None for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self._out(dispatch.attention(*self._heads(x, 0), self.window))

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: keys, rotated, and values, each (batch, kv heads, those kept, d_head), and the tokens seen."""
        past_keys, past_values, seen = state or self.init_state(len(x))
        q, k, v = self._heads(x, seen)
        keys, values = torch.cat([past_keys, k], 2), torch.cat([past_values, v], 2)
        y = dispatch.attention(q, keys, values, self.window)
        seen += x.shape[1]
        first = keys.shape[2] - self._kept(seen)
        return self._out(y), (keys[:, :, first:], values[:, :, first:], seen)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The same as a prefill of one token: attention has no other recurrence."""
        y, state = self.prefill(x[:, None], state)
        return y[:, 0], state

    def _heads(self, x: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v of x (batch, length, d_model) from position `first` on, each (batch, its heads, length, d_head)."""
        q, k, v = self.qkv(x).split([self.n_heads * self.d_head, self.d_kv, self.d_kv], -1)
        q, k, v = (t.unflatten(-1, (-1, self.d_head)).transpose(1, 2) for t in (q, k, v))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        positions = torch.arange(first, first + x.shape[1], device=x.device)
        cos, sin = rotary_angles(positions, self.d_head, self.rope_base, q.dtype)
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def _out(self, y: Tensor) -> Tensor:
        return self.out(y.transpose(1, 2).flatten(2))

    def _kept(self, length: int) -> int:
        """Keys that a token after `length` may still see."""
        return length if self.window is None else min(length, self.window - 1)

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """Two matmuls of length^2 d_inner, or of the band of a window; causal, both are halved where they are square.

        The oracle computes the square and masks it, so torch's counter sees 4 length^2 d_inner with a window, too.
        """
        projection = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        band = min(length, self.window or length)
        d_inner = self.out.in_features
        causal = 4 * d_inner * length * band - 2 * d_inner * band**2
        return MixerFlops(projection, causal, 4 * d_inner * length * band, projection + 4 * d_inner * length**2)

    def init_state(self, batch: int) -> State:
        empty = self.qkv.weight.new_zeros(batch, self.n_kv_heads, 0, self.d_head)
        return empty, empty, 0

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=2 * self._kept(length) * self.d_kv)
