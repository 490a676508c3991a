"""The causal convolution with a given long filter by FFT, equal to causal_conv of kernels/reference/modal_conv.py."""

import math

import torch
from torch import Tensor


def fft(x: Tensor, h: Tensor) -> Tensor:
    """y_t = sum_{s<=t} h_{t-s} x_s for x (batch, length, channels) and h (channels, length or less), in h's dtype.

    Transforms are of twice the length, so that nothing wraps around, and in float32 or wider: there are no others on
    every device.
    """
    length = x.shape[1]
    spectrum = torch.fft.rfft(x.to(h.dtype), 2 * length, dim=1) * torch.fft.rfft(h.T, 2 * length, dim=0)
    return torch.fft.irfft(spectrum, 2 * length, dim=1)[:, :length]


def step(past: Tensor, h: Tensor) -> Tensor:
    """The last y (batch, channels) alone: the inputs so far, past (batch, length, channels), dotted with the filter."""
    return torch.einsum("bsc,cs->bc", past.to(h.dtype), h.flip(1))


def flops(channels: int, length: int) -> int:
    """Of fft() for one sequence, per channel: a transform of 2 length reals and its inverse at 2.5 n log2 n for n of
    them, and a complex product at 6 for length + 1 frequencies.

    The filter's transform is shared by a batch and left out.
    """
    doubled = 2 * length
    return round(channels * (2 * 2.5 * doubled * math.log2(doubled) + 6 * (length + 1)))
