"""Sliding-window attention in O(length * window): blocks of a window's length see themselves and the block before."""

import torch
from torch import Tensor
from torch.nn import functional as F


def blocked(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """As kernels/reference/attention.py with a window, for q as long as k (Beltagy et al. 2020, Longformer, 3.1)."""
    batch, heads, length, dim = q.shape
    n_blocks = -(-length // window)
    groups = heads // k.shape[1]
    # grouped heads become batch, as do blocks: (batch * kv heads, blocks, groups * window or 2 window, dim)
    q, k, v = (F.pad(t, (0, 0, 0, n_blocks * window - length)) for t in (q, k, v))
    queries = q.view(batch, -1, groups, n_blocks, window, dim).transpose(2, 3).flatten(0, 1)
    keys, values = (_with_block_before(t.flatten(0, 1).view(-1, n_blocks, window, dim)) for t in (k, v))
    lag = torch.arange(window, 2 * window, device=q.device)[:, None] - torch.arange(2 * window, device=q.device)
    seen = ((lag >= 0) & (lag < window)).repeat(n_blocks, 1, 1)
    seen[0, :, :window] = False
    y = F.scaled_dot_product_attention(queries, keys[:, :, None], values[:, :, None], seen[:, None])
    return (
        y.view(batch, -1, n_blocks, groups, window, dim).transpose(2, 3).reshape(batch, heads, -1, dim)[:, :, :length]
    )


def _with_block_before(x: Tensor) -> Tensor:
    """(rows, blocks, window, dim) -> (rows, blocks, 2 window, dim), zeros before the first."""
    return torch.cat([F.pad(x[:, :-1], (0, 0, 0, 0, 1, 0)), x], 2)
