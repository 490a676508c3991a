"""The oracle of the gated delta rule: the recurrence, step by step, exact in float64."""

import torch
from torch import Tensor


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = a_t (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T, y_t = S_t^T q_t (Yang et al. 2025, 3.1, with S^T here).

    q, k (batch, length, heads, d_k), v (batch, length, heads, d_v), beta and log_decay (batch, length, heads).
    Returns y (batch, length, heads, d_v) and the last S (batch, heads, d_k, d_v).
    """
    state = v.new_zeros(len(v), v.shape[2], k.shape[3], v.shape[3]) if initial is None else initial
    identity = torch.eye(k.shape[3], dtype=k.dtype, device=k.device)
    rows = []
    for t in range(v.shape[1]):
        key, rate = k[:, t, :, :, None], beta[:, t, :, None, None]
        transition = log_decay[:, t, :, None, None].exp() * (identity - rate * key * key.mT)
        state = transition @ state + rate * key * v[:, t, :, None, :]
        rows.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]))
    return torch.stack(rows, 1), state
