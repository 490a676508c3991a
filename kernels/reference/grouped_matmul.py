"""The oracle of a matmul in groups: every row by a copy of its group's matrix."""

import torch
from torch import Tensor


def grouped_matmul(x: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """y_i = x_i W_g(i), for rows that are sorted by group.

    x (rows, d_in), weights (groups, d_in, d_out), counts (groups,) of each group's rows. Returns (rows, d_out).
    """
    group = torch.arange(len(weights), device=x.device).repeat_interleave(counts, output_size=len(x))
    return torch.einsum("ni,nio->no", x, weights[group])
