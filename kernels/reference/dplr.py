"""The oracle of a state whose transition is diagonal plus low rank: the recurrence, step by step, exact in float64."""

import torch
from torch import Tensor


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, log_decay: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = (diag(w_t) + b_t a_t^T) S_{t-1} + k_t v_t^T, y_t = S_t^T q_t (Peng et al. 2025, RWKV-7, with S^T here).

    q, k, a, b, log_decay = log w (batch, length, heads, d_k), v (batch, length, heads, d_v).
    Returns y (batch, length, heads, d_v) and the last S (batch, heads, d_k, d_v).
    """
    state = v.new_zeros(len(v), v.shape[2], k.shape[3], v.shape[3]) if initial is None else initial
    rows = []
    for t in range(v.shape[1]):
        transition = torch.diag_embed(log_decay[:, t].exp()) + b[:, t, :, :, None] * a[:, t, :, None, :]
        state = transition @ state + k[:, t, :, :, None] * v[:, t, :, None, :]
        rows.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]))
    return torch.stack(rows, 1), state
