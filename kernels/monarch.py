"""The causal convolution as products of Monarch matrices (Fu et al. 2023, Monarch Mixer).

The Fourier matrix of N = n1 n2 points is Monarch (Dao et al. 2022): with positions j = j1 n2 + j2 and frequencies
k = k1 + n1 k2 its factors are one block of n1 by n1 for every j2 and, after a permutation, a block of n2 by n2 for each
k1, in which the twiddle factors are. Its inverse has the transposed blocks. All is in real numbers, and of a real
sequence's frequencies only those with k1 up to n1 / 2 are computed: the others are their conjugates.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad


def causal_conv(x: Tensor, h: Tensor) -> Tensor:
    """y_t = sum_{s<=t} h_{t-s} x_s for x (batch, length, channels) and h (channels, taps); matmuls in x's dtype.

    The product of the transforms is causal because x and h are zero beyond their lengths up to N: as polynomials, their
    product's degree stays below N (Fu et al. 2023, section 4). The filter's spectrum, shared by a batch, is by FFT.
    """
    batch, length, channels = x.shape
    n1, n2 = points(length, h.shape[1])
    rows, half = -(-length // n2), n1 // 2 + 1
    first, second = (block.to(x.dtype) for block in _blocks(n1, n2, rows, x.device))
    x = pad(x, (0, 0, 0, rows * n2 - length)).view(batch, rows, n2 * channels)
    x = (first @ x).view(batch, 2, half, n2, channels).permute(2, 1, 3, 0, 4)
    real, imag = (second @ x.reshape(half, 2 * n2, -1)).view(half, 2, n2, batch, channels).unbind(1)
    a, b = (part.to(real.dtype) for part in _filter_spectrum(h[:, :length], n1, n2))
    y = torch.stack([real * a - imag * b, real * b + imag * a], 1).flatten(1, 2).flatten(2)
    y = (second.mT @ y).view(half, 2, n2, batch, channels).permute(3, 1, 0, 2, 4)
    y = first.T @ y.reshape(batch, 2 * half, n2 * channels)
    return y.view(batch, rows * n2, channels)[:, :length]


def points(length: int, taps: int) -> tuple[int, int]:
    """n1, even, and n2, a power of two: at least length + taps - 1 points, n1 near to 4 n2, where fewest FLOPs are."""
    needed = length + min(length, taps) - 1
    n2 = 2 ** max(0, ((needed - 1).bit_length() - 2) // 2)
    return 2 * -(-needed // (2 * n2)), n2


def matmul_flops(length: int, taps: int) -> int:
    """Per channel of one sequence: both transforms' first factors, at 4 (n1 / 2 + 1) for each position of whole rows of
    n2, and their second factors, at 8 n2^2 for each of n1 / 2 + 1 blocks.
    """
    n1, n2 = points(length, taps)
    half, rows = n1 // 2 + 1, -(-length // n2)
    return 2 * (4 * half * rows * n2 + 8 * half * n2**2)


def _blocks(n1: int, n2: int, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The factors' blocks, (2 half, rows) and (half, 2 n2, 2 n2), real parts above and before imaginary ones."""
    k1 = torch.arange(n1 // 2 + 1, device=device)
    j2 = torch.arange(n2, device=device)
    first = _turns(k1[:, None] * torch.arange(rows, device=device), n1)
    cos, sin = _turns(j2 * (k1[:, None, None] + n1 * j2[:, None]), n1 * n2)
    second = torch.cat([torch.cat([cos, sin], 2), torch.cat([-sin, cos], 2)], 1)
    return torch.cat([first[0], -first[1]]), second


def _turns(k: Tensor, n: int) -> tuple[Tensor, Tensor]:
    angle = (k % n).double() * (2 * math.pi / n)
    return angle.cos(), angle.sin()


def _filter_spectrum(h: Tensor, n1: int, n2: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts (half, n2, 1, channels), over N, and twice where the conjugate frequency is left out."""
    half = n1 // 2 + 1
    spectrum = torch.fft.fft(h, n1 * n2).unflatten(1, (n2, n1))[..., :half].permute(2, 1, 0)[:, :, None]
    weight = torch.full((half, 1, 1, 1), 2 / (n1 * n2), dtype=h.dtype, device=h.device)
    weight[:: half - 1] /= 2
    return spectrum.real * weight, spectrum.imag * weight
