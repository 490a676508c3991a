"""The oracle of causal grouped-query attention, readable as softmax(q k' / sqrt(d)) v."""

import torch
from torch import Tensor


def causal_attention(q: Tensor, k: Tensor, v: Tensor, window: int | None = None) -> Tensor:
    """q (batch, heads, length, dim), k and v (batch, kv heads, past + length, dim), heads a multiple of kv heads.

    Query head i reads key-value head i // (heads / kv heads) (Ainslie et al. 2023). A query sees itself and what was
    before it, the last `window` of that in all where a window is given. Returns q's shape.
    """
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    seen = visible(q.shape[2], k.shape[2], window, q.device)
    return scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v


def visible(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """(queries, keys) of whether the last `queries` of `keys` positions see a key."""
    lag = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)
    return (lag >= 0) & (lag < (window or keys))
