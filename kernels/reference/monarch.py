"""The oracle of Monarch matrices: dense, as products of block-diagonal matrices and permutations."""

import math

import torch
from torch import Tensor


def transposition(rows: int, columns: int) -> Tensor:
    """The permutation matrix that takes a flat (rows, columns) matrix to its flat transpose."""
    return torch.eye(rows * columns, dtype=torch.float64)[torch.arange(rows * columns).view(rows, columns).T.flatten()]


def monarch(right: Tensor, left: Tensor) -> Tensor:
    """P2 diag(left) P1 diag(right), of blocks right (n, q, p) and left (m, s, r), n q = m r (Dao et al. 2022).

    P1 deals the n q values out to the m blocks in turn, and P2 collects the blocks' outputs in turn.
    """
    m, s, r = left.shape
    deal, collect = (transposition(a, b).to(left.dtype) for a, b in ((r, m), (m, s)))
    return collect @ torch.block_diag(*left) @ deal @ torch.block_diag(*right)


def fourier(n1: int, n2: int) -> Tensor:
    """The Fourier matrix e^{-2 pi i j k / (n1 n2)} as a Monarch matrix after a permutation."""
    k1, k2 = torch.arange(n1, dtype=torch.float64), torch.arange(n2, dtype=torch.float64)
    right = torch.exp(-2j * math.pi / n1 * k1[:, None] * k1).repeat(n2, 1, 1)
    left = torch.exp(-2j * math.pi / (n1 * n2) * k2 * (k1[:, None, None] + n1 * k2[:, None]))
    return monarch(right, left) @ transposition(n1, n2).to(left.dtype)


def monarch_conv(x: Tensor, h: Tensor, n1: int, n2: int) -> Tensor:
    """M^-1 (M h * M x) (Fu et al. 2023), M = fourier(n1, n2), x and h (channels, length), zero behind up to n1 n2."""
    m = fourier(n1, n2)
    padded = [torch.nn.functional.pad(t, (0, n1 * n2 - t.shape[1])).to(m.dtype) @ m.T for t in (x, h)]
    return torch.linalg.solve(m, (padded[0] * padded[1]).T).T[:, : x.shape[1]].real
