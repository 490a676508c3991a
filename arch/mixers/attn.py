"""Causal multi-head, grouped-query or multi-query attention with rotary positions.

`n_kv_heads` of the model chooses among the three (Vaswani 2017; Su 2021; Shazeer 2019; Ainslie 2023).
qk_norm: RMSNorm of each query and key head (Henry et al. 2020).
"""

import torch
from torch import Tensor

from eutectic.arch import ring
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
        positions = torch.arange(x.shape[1], device=x.device)[None]
        return self._out(dispatch.attention(*self._heads(x, positions), self.window))

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: keys, rotated, and values, rings (batch, slots, kv heads, d_head), and the tokens seen, (batch,)."""
        keys, values, seen = state or self.init_state(len(x), x.shape[1])
        first = int(seen[0])
        q, k, v = self._heads(x, ring.positions(seen, x.shape[1]))
        k = ring.extend(keys, first, self.window, k.transpose(1, 2)).transpose(1, 2)
        v = ring.extend(values, first, self.window, v.transpose(1, 2)).transpose(1, 2)
        return self._out(dispatch.attention(q, k, v, self.window)), (keys, values, seen + x.shape[1])

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        keys, values, seen = state
        q, k, v = (t[:, :, 0] for t in self._heads(x[:, None], seen[:, None]))
        ring.put(keys, seen, self.window, k)
        ring.put(values, seen, self.window, v)
        seen = seen + 1
        y = dispatch.decode_attention(q, keys, values, seen.clamp(max=keys.shape[1]))
        return self.out(y.flatten(1)), (keys, values, seen)

    def _heads(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v (batch, heads, length, d_head) of x (batch, length, d_model) at positions (1 or batch, length)."""
        q, k, v = self.qkv(x).split([self.n_heads * self.d_head, self.d_kv, self.d_kv], -1)
        q, k, v = (t.unflatten(-1, (-1, self.d_head)).transpose(1, 2) for t in (q, k, v))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        cos, sin = (t[:, None] for t in rotary_angles(positions, self.d_head, self.rope_base, q.dtype))
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def _out(self, y: Tensor) -> Tensor:
        return self.out(y.transpose(1, 2).flatten(2))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """Two matmuls of length^2 d_inner, or of the band of a window; causal, both are halved where they are square.

        The oracle computes the square and masks it, so torch's counter sees 4 length^2 d_inner with a window, too.
        """
        projection = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        band = min(length, self.window or length)
        d_inner = self.out.in_features
        causal = 4 * d_inner * length * band - 2 * d_inner * band**2
        return MixerFlops(projection, causal, 4 * d_inner * length * band, projection + 4 * d_inner * length**2)

    def init_state(self, batch: int, capacity: int) -> State:
        like = self.qkv.weight
        shape = batch, ring.slots(capacity, self.window), self.n_kv_heads, self.d_head
        return like.new_zeros(shape), like.new_zeros(shape), ring.counts(batch, like)

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=2 * ring.slots(length, self.window) * self.d_kv)
