"""The oracle of linear attention with a decay per key channel, readable as its recurrence and exact in float64."""

import torch
from torch import Tensor


def vector_decay(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial: Tensor | None = None, bonus: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = diag(a_t) S_{t-1} + k_t v_t' and y_t = S_t' q_t (Yang et al. 2024, GLA, 4.1).

    q, k, log_decay = log a <= 0 (batch, length, heads, d_k), v (batch, length, heads, d_v). initial: S before the first
    token, (batch, heads, d_k, d_v), zero where None. With a bonus u (heads, d_k) the token itself is read apart from
    the state, y_t = (S_{t-1} + diag(u) k_t v_t')' q_t (Peng et al. 2024, RWKV-6). Returns y and the last S.
    """
    state = q.new_zeros(*q.shape[0::2], k.shape[3], v.shape[3]) if initial is None else initial
    rows = []
    for t in range(q.shape[1]):
        own = k[:, t, :, :, None] * v[:, t, :, None]
        after = log_decay[:, t, :, :, None].exp() * state + own
        read = after if bonus is None else state + bonus[..., None] * own
        rows.append((q[:, t, :, :, None] * read).sum(-2))
        state = after
    return torch.stack(rows, 1), state
