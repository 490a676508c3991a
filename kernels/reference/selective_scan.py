"""The oracle of the selective scan: Mamba's recurrence, step by step, exact in float64."""

import torch
from torch import Tensor


def recurrence(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t, y_t = C_t h_t (Gu and Dao 2023, eq. 2a, 2b and 4, Algorithm 2).

    The input is discretized by Euler's rule, as in the authors' code. x, dt (batch, length, channels), a (channels, n),
    b, c (batch, length, n). Returns y (batch, length, channels) and the last h (batch, channels, n).
    """
    state = x.new_zeros(len(x), *a.shape) if initial is None else initial
    rows = []
    for t in range(x.shape[1]):
        update = torch.einsum("bd,bn->bdn", dt[:, t] * x[:, t], b[:, t])
        state = (dt[:, t, :, None] * a).exp() * state + update
        rows.append(torch.einsum("bdn,bn->bd", state, c[:, t]))
    return torch.stack(rows, 1), state
