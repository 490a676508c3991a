"""The causal convolution with a given long filter by FFT, equal to causal_conv of kernels/reference/modal_conv.py."""

import torch
from torch import Tensor


def fft(x: Tensor, h: Tensor) -> Tensor:
    """y_t = sum_{s<=t} h_{t-s} x_s for x (batch, length, channels) and h (channels, length), in h's dtype.

    Transforms are of twice the length, so that nothing wraps around, and in float32 or wider: there are no others on
    every device.
    """
    length = x.shape[1]
    spectrum = torch.fft.rfft(x.to(h.dtype), 2 * length, dim=1) * torch.fft.rfft(h.T, 2 * length, dim=0)
    return torch.fft.irfft(spectrum, 2 * length, dim=1)[:, :length]


def step(past: Tensor, h: Tensor) -> Tensor:
    """The last y (batch, channels) alone: the inputs so far, past (batch, length, channels), dotted with the filter."""
    return torch.einsum("bsc,cs->bc", past.to(h.dtype), h.flip(1))
