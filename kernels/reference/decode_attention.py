"""The oracle of attention of one new token to a cache, row by row."""

import torch
from torch import Tensor


def decode_attention(q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
    """y (batch, heads, dim) of q (batch, heads, dim), keys and values (batch, slots, kv heads, dim), lengths (batch,).

    Of row b the first lengths_b slots are there, in whatever order; the others may hold anything. Query head i reads
    key-value head i // (heads / kv heads).
    """
    groups = q.shape[1] // keys.shape[2]
    rows = []
    for query, k, v, length in zip(q, keys, values, lengths.tolist(), strict=True):
        k, v = (t[:length].repeat_interleave(groups, 1) for t in (k, v))
        weights = (torch.einsum("hd,shd->hs", query, k) * q.shape[-1] ** -0.5).softmax(-1)
        rows.append(torch.einsum("hs,shd->hd", weights, v))
    return torch.stack(rows)
