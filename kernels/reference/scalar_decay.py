"""The oracle of a matrix state under a scalar decay: the recurrence, step by step, exact in float64."""

import torch
from torch import Tensor


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = a_t S_{t-1} + k_t v_t^T, y_t = S_t^T q_t (Dao and Gu 2024, eq. 1, with h as S^T, B as k, C as q).

    q, k (batch, length, groups, d_k), v (batch, length, heads, d_v), log_decay (batch, length, heads).
    Returns y (batch, length, heads, d_v) and the last S (batch, heads, d_k, d_v).
    """
    q, k = (x.repeat_interleave(v.shape[2] // x.shape[2], 2) for x in (q, k))
    state = v.new_zeros(len(v), v.shape[2], k.shape[3], v.shape[3]) if initial is None else initial
    rows = []
    for t in range(v.shape[1]):
        state = log_decay[:, t, :, None, None].exp() * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        rows.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]))
    return torch.stack(rows, 1), state
