"""The causal FIR whose channels share filters in groups, in plain torch; equal to kernels/reference/fir.py.

x (batch, length, channels). taps (groups, n), each for equally many neighbouring channels. past (batch, n - 1,
channels): inputs before x, zeros where None. y is in x's dtype; with it comes the new past.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

FEW_TAPS = 8  # which are added up one by one
MOST_TAPS = 128  # of Triton's form


def shifted(x: Tensor, taps: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
    """y_t = sum_s taps_s x_{t-s}, tap by tap."""
    n, length = taps.shape[1], x.shape[1]
    taps = taps.to(x.dtype)
    if len(taps) < x.shape[2]:
        taps = taps.repeat_interleave(x.shape[2] // len(taps), 0)
    padded = F.pad(x, (0, 0, n - 1, 0)) if past is None else torch.cat([past, x], 1)
    y = taps[:, 0] * x
    for lag in range(1, n):
        start = n - 1 - lag
        y = y + taps[:, lag] * padded[:, start : start + length]
    return y, padded[:, length:]


def blocked(x: Tensor, taps: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same by a Toeplitz matmul per block of as many outputs as there are taps (Ku et al. 2025).

    A block of outputs reads its inputs and the n - 1 before them, so each input is read twice; the matmul's free
    dimension is batch x blocks x a group's size. The matrix is rounded to x's dtype, not the taps, so that the sums
    along its diagonals, which are their gradient, are not.
    """
    batch, length, channels = x.shape
    groups, n = taps.shape
    seen = F.pad(x, (0, 0, n - 1, 0)) if past is None else torch.cat([past, x], 1)
    block = min(n, length)
    n_blocks = -(-length // block)
    padded = F.pad(seen, (0, 0, 0, n_blocks * block - length))
    # (batch, blocks, groups, channels of a group, block + n - 1)
    windows = padded.unflatten(2, (groups, -1)).unfold(1, block + n - 1, block)
    y = _toeplitz(taps, block).to(x.dtype) @ windows.permute(2, 4, 0, 1, 3).flatten(2)
    y = y.view(groups, block, batch, n_blocks, -1).permute(2, 3, 1, 0, 4)
    return y.reshape(batch, n_blocks * block, channels)[:, :length], seen[:, length:]


def _toeplitz(taps: Tensor, block: int) -> Tensor:
    """(groups, block, block + n - 1) with taps_s at row t, column t + n - 1 - s.

    Windows of the reversed taps between zeros are its rows from the last to the first.
    """
    n = taps.shape[1]
    return F.pad(taps.flip(1), (block - 1, block - 1)).unfold(1, block + n - 1, 1).flip(1)
