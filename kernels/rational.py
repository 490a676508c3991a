"""The filter of a rational transfer function, without states along the sequence; equal to the oracle of that name.

H(z) = (b_1 z^-1 + ... + b_n z^-n) / (1 + a_1 z^-1 + ... + a_n z^-n), one a channel; a and b are (channels, n).
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from eutectic.kernels import long_conv


def inverse_series(a: Tensor, length: int) -> Tensor:
    """g (channels, length), the first coefficients of 1 / (1 + a_1 z^-1 + ...), by Newton's iteration.

    g (2 - a g) is right to twice as many coefficients as g (Brent and Kung 1978). This is the impulse response itself,
    of which 1 / A at the roots of unity would be the periodic sum; it grows where a pole is outside the unit circle.
    """
    monic = pad(a, (1, 0), value=1.0)
    g, right = torch.ones_like(monic[:, :1]), 1
    while right < length:
        right *= 2
        # a g^2 has 2 right - 2 coefficients
        spectrum = torch.fft.rfft(g, 2 * right)
        spectrum = spectrum * (2 - spectrum * torch.fft.rfft(monic[:, :right], 2 * right))
        g = torch.fft.irfft(spectrum, 2 * right)[:, :right]
    return g[:, :length]


def impulse_response(a: Tensor, b: Tensor, length: int) -> Tensor:
    """h (channels, length) with h_0 = 0 and h_t = sum_i b_i g_{t-i}."""
    delayed = pad(b, (1, 0))[:, :length]
    return long_conv.fft(inverse_series(a, length).T[None], pad(delayed, (0, length - delayed.shape[1])))[0].T


def prefill(u: Tensor, a: Tensor, b: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """The convolution of u (batch, length, channels) with the impulse response after a state, and the state after u.

    past (batch, n, channels): the last n of w_t = u_t - sum_i a_i w_{t-i}, the state of the companion form, oldest
    first. It is brought about again from rest, by the n inputs u = w + sum_i a_i w that lead to it.
    """
    n, length = a.shape[1], u.shape[1]
    lead = long_conv.fft(past, pad(a, (1, -1), value=1.0))
    w = long_conv.fft(torch.cat([lead, u.to(lead.dtype)], 1), inverse_series(a, n + length))
    y = long_conv.fft(w, pad(b, (1, length - 1)))
    return y[:, n:], w[:, length:]


def step(u: Tensor, a: Tensor, b: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """One token, u (batch, channels), of the companion form: y = b w, then w moves on by u - a w."""
    a, b = a.flip(1).T, b.flip(1).T
    w = u - (past * a).sum(1)
    return (past * b).sum(1), torch.cat([past[:, 1:], w[:, None]], 1)
