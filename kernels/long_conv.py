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


def step(past: Tensor, h: Tensor, lags: Tensor, there: Tensor) -> Tensor:
    """One y (batch, channels) of inputs past (batch, slots, channels) in any order, each as long ago as lags (batch,
    slots) says, if it is there; h (channels, slots)."""
    return torch.einsum("bsc,bsc->bc", past.to(h.dtype), h.T[lags] * there[..., None])


def flops(channels: int, length: int) -> int:
    """Of fft() for one sequence, per channel: a transform of 2 length reals and its inverse at 2.5 n log2 n for n of
    them, and a complex product at 6 for length + 1 frequencies.

    The filter's transform is shared by a batch and left out.
    """
    doubled = 2 * length
    return round(channels * (2 * 2.5 * doubled * math.log2(doubled) + 6 * (length + 1)))
