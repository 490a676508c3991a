"""Hankel singular values: how much of a filter no fewer states could keep.

The Hankel matrix of a filter is H_ij = h_{1+i+j}: what inputs of the past do to outputs of the future. Its rank is the
filter's order (Kronecker), its singular values sigma_1 >= sigma_2 >= ... bound what is lost by an order of d: no filter
of order d is nearer than sigma_{d+1} in H-infinity (Adamyan, Arov and Krein 1971), and balanced truncation is within
2 (sigma_{d+1} + sigma_{d+2} + ...) (Glover 1984). h_0 is the direct term, which needs no state and is no part of it.

order: the number of real states, the degree of a rational form. A pair of conjugate poles has order 2 and takes one
complex mode; a real pole has order 1 and takes one mode, too, complex with angle 0 or pi where others are complex.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCKS, SETTLED = 6, 1e-10  # of the Krylov space; change of its values, beside the largest, that ends it
SHIFT, SMALL = 1e-12, 1e-15  # beside squared lengths of 1
ROUNDED = 1e-12  # of a sum of squares is not told from rounding


class Factors(NamedTuple):
    """The k largest singular values (channels, k), falling, and the left vectors of H (channels, size, k).

    rest (channels,): no less than the sum of the other singular values.
    """

    values: Tensor
    vectors: Tensor
    rest: Tensor

    def tails(self) -> Tensor:
        """(channels, k + 1), at d: no less than the sum of all singular values after the first d."""
        summed = pad(self.values, (0, 1)).flip(1).cumsum(1).flip(1)
        return summed + self.rest[:, None]


def product(h: Tensor, x: Tensor) -> Tensor:
    """H x of h (channels, length) and every row of x (channels, k, size), size = length // 2: by FFTs, without H."""
    size = x.shape[2]
    spectrum = torch.fft.rfft(h[:, None, 1 : 2 * size], 2 * size)
    return torch.fft.irfft(spectrum * torch.fft.rfft(x, 2 * size).conj(), 2 * size)[..., :size]


def dense(h: Tensor) -> Tensor:
    """H (channels, size, size) itself, size = length // 2: the oracle."""
    size = h.shape[1] // 2
    return h[:, 1 : 2 * size].unfold(1, size, 1)


def factor(h: Tensor, rank: int, seed: int = 0) -> Factors:
    """The `rank` largest singular values and vectors of the Hankel matrices of h (channels, length), in float64.

    H is of size length // 2, so that it holds nothing but what is in h: a filter's continuation is left open. One that
    ends with h is padded with zeros to twice its length. As H is symmetric, its singular vectors are its eigenvectors,
    found in the Krylov space H^i X of a random block X (Musco and Musco 2015), no larger than BLOCKS blocks. Values are
    never too large; they are settled, or close, where they fall, and too small by some percent where they do not.
    """
    h = h.double()
    channels, size = len(h), h.shape[1] // 2
    rank = min(rank, size)
    g = torch.Generator().manual_seed(seed)
    start = torch.randn(size, rank, generator=g, dtype=h.dtype).to(h.device)
    basis = _orthonormal(start).expand(channels, -1, -1)
    image = product(h, basis.mT)
    projected, values = image @ basis, h.new_zeros(channels, rank)
    while True:
        before, (ritz, turn) = values, symmetric(projected)
        values = ritz[:, :rank].abs()
        known = basis.shape[2]
        if known >= min(size, BLOCKS * rank) or bool(((values - before).abs() <= SETTLED * values[:, :1]).all()):
            break
        block = image.mT[..., : size - known]
        block = _orthonormal(block - basis @ (basis.mT @ block))
        # what rounding left of the known directions goes the second time
        block = _orthonormal(block - basis @ (basis.mT @ block), (SMALL,))
        basis, image = torch.cat([basis, block], 2), product(h, block.mT)
        rows = image @ basis
        projected = torch.cat([torch.cat([projected, rows[..., :known].mT], 2), rows], 1)
    return Factors(values, basis @ turn[..., :rank], _rest(h, values))


def _orthonormal(x: Tensor, shifts: tuple[float, ...] = (SHIFT, SHIFT, SMALL)) -> Tensor:
    """An orthonormal basis (..., size, k) of x's columns by Cholesky factors, of which a GPU does many at once.

    Fukaya et al. 2020: a shift makes any Gram matrix definite, at the cost of further passes. What is lost in the
    shift even so comes out shorter than 1, which makes singular values smaller, not larger.
    """
    rows = x.mT / x.mT.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    for shift in shifts:
        triangle = torch.linalg.cholesky_ex(rows @ rows.mT + shift * eye)[0]
        rows = torch.linalg.solve_triangular(triangle, rows, upper=False)
    return rows.mT


def _rest(h: Tensor, values: Tensor) -> Tensor:
    """No less than the sum of the other singular values, by their number and the sum of their squares.

    Where rounding hides that sum, they are far smaller than the first, and the last value is settled and above them.
    """
    size = h.shape[1] // 2
    missing = size - values.shape[1]
    weight = size - (torch.arange(1, 2 * size, device=h.device) - size).abs()
    total = (weight * h[:, 1 : 2 * size].square()).sum(1)
    energy = total - values.square().sum(1)
    return torch.where(energy > ROUNDED * total, (missing * energy).clamp(min=0).sqrt(), missing * values[:, -1])


def symmetric(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of small symmetric x, from the largest in size, and vectors; on the CPU, which is faster at these."""
    values, vectors = torch.linalg.eigh(x.cpu())
    order = values.abs().argsort(-1, descending=True)
    vectors = vectors.take_along_dim(order[..., None, :], -1)
    return values.take_along_dim(order, -1).to(x.device), vectors.to(x.device)


def shift_poles(vectors: Tensor) -> Tensor:
    """Poles (channels, d), complex, of Kung's realization from the first d singular vectors (channels, size, d).

    Kung 1978: the observability matrix U sigma^1/2, one row down, is itself times A, in least squares. sigma is a
    change of coordinates and drops out of A's eigenvalues.
    """
    upper, last = vectors[:, :-1], vectors[:, -1]
    a = upper.mT @ vectors[:, 1:]
    # (U^T U - u u^T)^-1 = I + u u^T / (1 - u^T u), u being the last row
    room = (1 - last.square().sum(1)).clamp(min=torch.finfo(a.dtype).eps)
    a = a + last[:, :, None] * (last[:, None] @ a) / room[:, None, None]
    return torch.linalg.eigvals(a.cpu()).to(a.device)


def is_pair(log_poles: Tensor) -> Tensor:
    """Where a mode stands for two conjugate poles; its angle is a multiple of pi where it stands for a real one."""
    if not log_poles.is_complex():
        return torch.zeros_like(log_poles, dtype=torch.bool)
    return log_poles.imag.sin().abs() > 4 * torch.finfo(log_poles.real.dtype).eps


class Balanced(NamedTuple):
    """x_{t+1} = A x_t + B u_t, y_t = C x_t, whose Gramians are both diag(sigma): sigma, B, C (channels, n), A real."""

    values: Tensor
    a: Tensor
    b: Tensor
    c: Tensor

    def truncated(self, order: int) -> "Balanced":
        """Balanced truncation: the first `order` states alone."""
        return Balanced(self.values[:, :order], self.a[:, :order, :order], self.b[:, :order], self.c[:, :order])

    def frequency_response(self, z: Tensor) -> Tensor:
        """C (z - A)^-1 B (channels, points) at z (points,), complex."""
        eye = torch.eye(self.a.shape[1], dtype=z.dtype, device=z.device)
        inner = z[:, None, None] * eye - self.a[:, None]
        x = torch.linalg.solve(inner, self.b[:, None, :, None].to(z.dtype))
        return (self.c[:, None, None].to(z.dtype) @ x)[..., 0, 0]


def modal_values(log_poles: Tensor, residues: Tensor) -> Tensor:
    """Hankel singular values (channels, n) of modal filters, falling, in float64; n counts two for every complex mode.

    Exact for the infinite filter, also where poles coincide; a mode that is one real pole leaves a zero at the end.
    """
    return symmetric(_in_orthonormal_basis(log_poles, residues)[0])[0].abs()


def balance(log_poles: Tensor, residues: Tensor) -> Balanced:
    """The balanced realization of modal filters, (channels, n) as modal_values; states of sigma 0 are left at 0."""
    hankel, shifted, first = _in_orthonormal_basis(log_poles, residues)
    values, turn = symmetric(hankel)
    sizes = values.abs()
    kept = sizes > torch.finfo(sizes.dtype).eps * sizes[:, :1]
    scale = torch.where(kept, sizes, 1.0).rsqrt() * kept
    signs = torch.where(values < 0, -1.0, 1.0)
    a = (signs * scale)[..., None] * (turn.mT @ shifted @ turn) * scale[:, None]
    c = (first[:, None] @ turn)[:, 0] * scale
    return Balanced(sizes, a, signs * c, c)


def _in_orthonormal_basis(log_poles: Tensor, residues: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The Hankel operator, the operator of one step later, and the response h_1, h_2, ..., in an orthonormal basis.

    The basis (Takenaka and Malmquist 1925; Kautz 1954) spans the powers p^t of the poles p; as functions of z, for a
    real pole phi(z) = (1 - p^2)^1/2 / (1 - p z), for a pair
    ((1 - |p|^2) / 2)^1/2 |1 -+ p| (1 +- z) / ((1 - p z) (1 - p* z)), each times (z - p) / (1 - p* z) of all poles
    before. It factors the controllability Gramian 1 / (1 - p_i p_j*) without cancellation: with phi at the poles,
    H = Re sum_n R_n p_n phi(p_n) phi(p_n)^T, and its eigenvalues are those of both Gramians' product, in signs and all.
    """
    wide = torch.complex128
    log_poles, residues, pairs = log_poles.to(wide), residues.to(wide), is_pair(log_poles)
    p = torch.where(pairs, log_poles.exp(), log_poles.exp().real)
    z, q = p[:, :, None], p[:, None]  # at the poles z, for the poles q
    room = -torch.expm1(2 * log_poles.real)[:, None]
    alone, both = 1 - q.conj() * z, (1 - q.conj() * z) * (1 - q * z)
    passed = torch.where(pairs[:, None], (z - q) * (z - q.conj()) / both, (z - q) / alone)
    before = torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1].cumprod(-1)], -1)
    plus, minus = (((room / 2).sqrt() * (1 - s * q).abs() * (1 + s * z) / both) for s in (1, -1))
    first = torch.where(pairs[:, None], plus, room.sqrt() / alone) * before
    phi = torch.cat([first, torch.where(pairs[:, None], minus, 0) * before], -1)
    if not bool(pairs.any()):
        phi = first
    weight = residues * p
    hankel, shifted = ((phi.mT * w[:, None] @ phi).real for w in (weight, weight * p))
    return hankel, shifted, (weight[:, None] @ phi)[:, 0].real
