"""Causal grouped-query attention with rotary positions (Vaswani 2017; Su 2021; Ainslie 2023)."""

import torch
from torch import Tensor

from eutectic.arch.base import Mixer, MixerFlops
from eutectic.arch.layers import linear, rotary_angles, rotate
from eutectic.config import ModelConfig
from eutectic.kernels import dispatch

State = tuple[Tensor, Tensor]


class Attention(Mixer):
    def __init__(self, model: ModelConfig, out_scale: float):
        super().__init__()
        self.n_heads, self.n_kv_heads = model.n_heads, model.n_kv_heads
        self.d_head, self.rope_base = model.d_model // model.n_heads, model.rope_base
        self.d_kv = self.n_kv_heads * self.d_head
        self.qkv = linear(model.d_model, model.d_model + 2 * self.d_kv)
        self.out = linear(model.d_model, model.d_model, out_scale)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, d_model = x.shape
        q, k, v = self._heads(x)
        cos, sin = rotary_angles(torch.arange(length, device=x.device), self.d_head, self.rope_base)
        y = dispatch.attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        return self.out(y.transpose(1, 2).reshape(batch, length, d_model))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v of x (batch, length, d_model), each (batch, its heads, length, d_head)."""
        q, k, v = self.qkv(x).split([self.n_heads * self.d_head, self.d_kv, self.d_kv], -1)
        q, k, v = (t.unflatten(-1, (-1, self.d_head)).transpose(1, 2) for t in (q, k, v))
        return q, k, v

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        projection = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        full = 4 * length**2 * self.n_heads * self.d_head
        return MixerFlops(projection, full // 2, full, projection + full)

    def state_bytes(self, length: int, dtype: torch.dtype) -> int:
        return 2 * length * self.d_kv * dtype.itemsize

    def init_state(self, batch: int) -> State:
        empty = self.qkv.weight.new_zeros(batch, self.n_kv_heads, 0, self.d_head)
        return empty, empty

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        q, k, v = self._heads(x[:, None])
        position = torch.tensor([state[0].shape[2]], device=x.device)
        cos, sin = rotary_angles(position, self.d_head, self.rope_base)
        keys = torch.cat([state[0], rotate(k, cos, sin)], 2)
        values = torch.cat([state[1], v], 2)
        groups = self.n_heads // self.n_kv_heads
        scores = rotate(q, cos, sin) @ keys.repeat_interleave(groups, 1).transpose(-1, -2) * self.d_head**-0.5
        y = scores.softmax(-1) @ values.repeat_interleave(groups, 1)
        return self.out(y.flatten(1)), (keys, values)
