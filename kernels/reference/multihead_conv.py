"""The oracle of the multi-head long convolution, in the two forms that it can be read in (Massaroli et al. 2023, 4)."""

import torch
from torch import Tensor


def outer_product_conv(q: Tensor, k: Tensor, v: Tensor, h: Tensor) -> Tensor:
    """y_t = (sum_{s<=t} h_{t-s} k_s v_s')' q_t: each of a head's dim^2 products is convolved with its one filter.

    q, k, v (batch, length, heads, dim); h (heads, length). Returns q's shape.
    """
    rows = []
    for t in range(q.shape[1]):
        lagged = h[:, : t + 1].flip(1)
        z = torch.einsum("hs,bshi,bshj->bhij", lagged, k[:, : t + 1], v[:, : t + 1])
        rows.append(torch.einsum("bhij,bhi->bhj", z, q[:, t]))
    return torch.stack(rows, 1)


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, poles: Tensor, residues: Tensor, skip: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t,n = p_n S_{t-1,n} + k_t v_t', y_t = (Re sum_n R_n S_t,n + D k_t v_t')' q_t: by modes, after a state.

    poles, residues (heads, n), D (heads), S (batch, heads, n, dim, dim), zeros at first. Returns y and the last S.
    """
    zeros = poles.new_zeros(len(q), *poles.shape, k.shape[3], v.shape[3])
    state, rows = zeros if initial is None else initial, []
    for t in range(q.shape[1]):
        own = k[:, t, :, :, None] * v[:, t, :, None, :]
        state = poles[..., None, None] * state + own[:, :, None]
        z = (residues[..., None, None] * state).sum(2).real + skip[:, None, None] * own
        rows.append(torch.einsum("bhij,bhi->bhj", z, q[:, t]))
    return torch.stack(rows, 1), state


def masked_attention(q: Tensor, k: Tensor, v: Tensor, h: Tensor) -> Tensor:
    """y_t = sum_{s<=t} h_{t-s} (q_t . k_s) v_s: linear attention under a Toeplitz mask. Shapes as above."""
    lag = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])
    mask = torch.where(lag >= 0, h[:, lag.clamp(min=0)], 0.0)
    return torch.einsum("bthi,bshi,hts,bshj->bthj", q, k, mask, v)
