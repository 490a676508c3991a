"""The oracle of causal grouped-query attention, readable as softmax(q k' / sqrt(d)) v."""

import torch
from torch import Tensor


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q (batch, heads, length, dim), k and v (batch, kv heads, length, dim), heads a multiple of kv heads.

    Query head i reads key-value head i // (heads / kv heads) (Ainslie et al. 2023). Returns q's shape.
    """
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    length = q.shape[2]
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1) @ v
