"""The oracle of a rational transfer function: its difference equation, and its companion form."""

import torch
from torch import Tensor


def difference_equation(u: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """y_t = sum_i b_i u_{t-i} - sum_i a_i y_{t-i} for i = 1..n, from rest.

    u, y (batch, length, channels); a, b (channels, n), of A(z) y = B(z) u with a monic A.
    """
    batch, length, channels = u.shape
    n = a.shape[1]
    u_past = [u.new_zeros(batch, channels)] * n + list(u.unbind(1))
    y = [u.new_zeros(batch, channels)] * n
    for t in range(n, n + length):
        terms = [b[:, i - 1] * u_past[t - i] - a[:, i - 1] * y[t - i] for i in range(1, n + 1)]
        y.append(torch.stack(terms).sum(0))
    return torch.stack(y[n:], 1)


def recurrence(u: Tensor, a: Tensor, b: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """y_t = sum_i b_i w_{t-i} with w_t = u_t - sum_i a_i w_{t-i}: the same after the last n of w, and the last n then.

    past (batch, n, channels), oldest first.
    """
    rows = []
    for token in u.unbind(1):
        latest = past.flip(1)
        rows.append((b.T * latest).sum(1))
        past = torch.cat([past[:, 1:], (token - (a.T * latest).sum(1))[:, None]], 1)
    return torch.stack(rows, 1), past


def companion(a: Tensor) -> Tensor:
    """(channels, n, n): -a in the first row and ones below the diagonal (Parnichkun et al. 2024, section 2)."""
    n = a.shape[1]
    shift = torch.diag(torch.ones(n - 1, dtype=a.dtype), -1)
    return torch.cat([-a[:, None], shift[1:].expand(len(a), -1, -1)], 1)
