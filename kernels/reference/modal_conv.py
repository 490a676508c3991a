"""The oracle of the modal (IIR) long convolution, readable as the formula and exact in float64."""

import torch
from torch import Tensor


def modal_filter(poles: Tensor, residues: Tensor, length: int) -> Tensor:
    """Impulse response h_t = Re(sum_n R_n p_n^t), t = 0..length-1 (StripedHyena's modal form).

    poles, residues: (channels, n) real or complex. Returns (channels, length), real.
    """
    t = torch.arange(length, device=poles.device)
    return (residues[..., None] * poles[..., None] ** t).sum(-2).real


def recurrence(x: Tensor, poles: Tensor, residues: Tensor, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """S_t = p S_{t-1} + x_t, y_t = Re(sum_n R_n S_t): the convolution with that filter after a state, and the last S.

    x (batch, length, channels), S (batch, channels, n), zeros at first. y is like x.
    """
    state = poles.new_zeros(len(x), *poles.shape) if initial is None else initial
    rows = []
    for token in x.unbind(1):
        state = poles * state + token[..., None]
        rows.append((residues * state).sum(-1).real)
    return torch.stack(rows, 1), state


def causal_conv(x: Tensor, h: Tensor) -> Tensor:
    """y_t = sum_{s<=t} h_{t-s} x_s for x (batch, length, channels) and h (channels, length)."""
    length = x.shape[1]
    lag = torch.arange(length, device=x.device)[:, None] - torch.arange(length, device=x.device)[None, :]
    toeplitz = torch.where(lag >= 0, h[:, lag.clamp(min=0)], 0.0)
    return torch.einsum("cts,bsc->btc", toeplitz, x)
