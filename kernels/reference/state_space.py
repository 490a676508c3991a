"""The oracle of time-invariant state spaces: the dense recurrence, and the zero-order hold that leads to it."""

import torch
from torch import Tensor


def zero_order_hold(a: Tensor, b: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """e^{dt A} and A^{-1} (e^{dt A} - I) B, of x' = A x + B u with u held over steps of dt.

    a (channels, n, n), b (channels, n), dt (channels,). Gu et al. 2022, S4D, section 2 (ZOH).
    """
    held = torch.matrix_exp(dt[:, None, None] * a)
    identity = torch.eye(a.shape[-1], dtype=a.dtype)
    return held, torch.linalg.solve(a, (held - identity) @ b[..., None])[..., 0]


def recurrence(u: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """y_t = C x_t, x_t = A x_{t-1} + B u_t, and the last x.

    u (batch, length, channels), a (channels, n, n), b and c (channels, n), x (batch, channels, n), zeros at first.
    """
    x = torch.zeros(u.shape[0], *b.shape, dtype=b.dtype) if initial is None else initial
    rows = []
    for t in range(u.shape[1]):
        x = torch.einsum("cij,bcj->bci", a, x) + b * u[:, t, :, None]
        rows.append((c * x).sum(-1))
    return torch.stack(rows, 1), x
