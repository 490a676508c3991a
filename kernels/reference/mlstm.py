"""The oracle of the mLSTM's cell: the paper's stabilised recurrence, step by step, exact in float64."""

import torch
from torch import Tensor


def recurrence(q: Tensor, k: Tensor, v: Tensor, log_input: Tensor, log_forget: Tensor) -> Tensor:
    """h (batch, length, heads, d_v), before the output gate (Beck et al. 2024, eq. 15-17 and 19-21).

    q (scaled by d_k^-1/2), k (batch, length, heads, d_k), v (batch, length, heads, d_v), gates' logarithms (batch,
    length, heads). Cell C, normaliser n and stabiliser m start at zero. The stabilised C and n are exp(-m) times the
    true ones, so that the bound 1 on |n q| is exp(-m) here.
    """
    cell = v.new_zeros(len(v), v.shape[2], k.shape[3], v.shape[3])
    normaliser, m = cell[..., 0], cell[..., 0, 0]
    rows = []
    for t in range(v.shape[1]):
        before, m = m, torch.maximum(log_forget[:, t] + m, log_input[:, t])
        enters = (log_input[:, t] - m).exp()[..., None] * k[:, t]
        stays = (log_forget[:, t] + before - m).exp()[..., None]
        cell = stays[..., None] * cell + enters[..., :, None] * v[:, t, :, None, :]
        normaliser = stays * normaliser + enters
        scale = torch.maximum((normaliser * q[:, t]).sum(-1).abs(), (-m).exp())
        rows.append(torch.einsum("bhkv,bhk->bhv", cell, q[:, t]) / scale[..., None])
    return torch.stack(rows, 1)
