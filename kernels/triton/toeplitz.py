"""Toeplitz matrices from taps, for tensor cores, and the sums along diagonals that are their gradients."""

import torch
import triton
import triton.language as tl
from torch import Tensor


def padded(taps: Tensor, dtype: torch.dtype, before: int, after: int, copies: int = 1) -> Tensor:
    """(copies, filters, width): taps (filters, n) between zeros for every lag from -before to n + after; copy k is k
    places to the right.

    Rows of a Toeplitz matrix begin one place apart, of which vectors can only be loaded from copies that are, too.
    """
    n = taps.shape[1]
    width = triton.cdiv(before + n + after + copies, 16) * 16
    made = taps.new_zeros(copies, len(taps), width, dtype=dtype)
    for k in range(copies):
        made[k, :, before + k : before + k + n] = taps
    return made


@triton.jit
def toeplitz(taps, copy_stride, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr, COPIES: tl.constexpr):
    """(ROWS, COLUMNS) with the tap at lag `first` + column - row; taps points to lag 0 of a padded filter."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    return tl.load(taps + row % COPIES * copy_stride + (first - row // COPIES * COPIES + column))


@triton.jit
def diagonals(g, T: tl.constexpr):
    """Of g (T, T), for r in [0, T): the sum of g_{t,s} over t - s = r, and that over t - s = r - T."""
    r, s = tl.arange(0, T)[:, None], tl.arange(0, T)[None, :]
    turned = tl.gather(g, (r + s) % T, 0)
    return tl.sum(tl.where(r + s < T, turned, 0.0), 1), tl.sum(tl.where(r + s >= T, turned, 0.0), 1)


@triton.jit
def dot(a, b, added):
    return tl.dot(a, b, added, input_precision="ieee")
