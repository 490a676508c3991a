"""The multi-head long convolution with modal filters, chunked; equal to kernels/reference/multihead_conv.py.

In a head, y_t = sum_{s<=t} h_{t-s} (q_t . k_s) v_s (Massaroli et al. 2023, 4): linear attention whose decay mask is the
Toeplitz matrix of a filter h_t = Re(sum_n R_n p_n^t) + D [t = 0], which has a finite state: sum_s p_n^{t-s} k_s v_s'.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.kernels.modal_conv import Parts, parts, powers, product, read_out, toeplitz
from eutectic.kernels.scan import Elements, associative_scan

CHUNK = 64
AT_ONCE = 512  # tokens of a prefill


def chunked(
    q: Tensor, k: Tensor, v: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor, chunk: int = CHUNK
) -> Tensor:
    """y of q, k, v (batch, length, heads, dim), filters' log p and R (heads, n), real or complex, and D (heads).

    Masked matmuls within chunks and, for each mode, a (dim, dim) state between them: no product k_s v_s' of a single
    token is formed. Chunks are padded with zeros in front, which change nothing.
    """
    length = q.shape[1]
    chunk = min(chunk, length)
    n_chunks = -(-length // chunk)
    q, k, v = (_blocks(x, n_chunks, chunk) for x in (q, k, v))
    decays = powers(log_poles, torch.arange(chunk + 1, device=q.device))
    weighted = product(decays, parts(residues[..., None]))
    h = weighted[0][..., :-1].sum(1)
    h = torch.cat([h[:, :1] + skip[:, None], h[:, 1:]], 1)
    y = (toeplitz(h).to(q.dtype) * (q @ k.mT)) @ v
    if n_chunks > 1:
        into = torch.cat([part[..., :-1].flip(-1) for part in decays], 1)
        ends = (_spread(k[:, :-1], into).mT @ v[:, :-1]).unflatten(3, (into.shape[1], -1)).to(h.dtype)
        before = _states_after(ends, tuple(part[..., -1] for part in decays)).flatten(3, 4).to(q.dtype)
        later = _spread(q[:, 1:], read_out(weighted)[..., 1:]) @ before
        y = torch.cat([y[:, :1], y[:, 1:] + later], 1)
    return y.transpose(2, 3).flatten(1, 2)[:, -length:]


def prefill(
    q: Tensor, k: Tensor, v: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor, initial: Tensor | None
) -> tuple[Tensor, Tensor]:
    """chunked() after the tokens that left the state `initial`, and the state after these.

    A state is (batch, heads, n or 2n, dim of k, dim of v): its modes' real parts, then their imaginary parts. A part of
    the tokens at a time, so that what each of them adds to each mode is not there of all at once.
    """
    found, state = [], initial
    for part in zip(q.split(AT_ONCE, 1), k.split(AT_ONCE, 1), v.split(AT_ONCE, 1), strict=True):
        y, state = _advance(*part, log_poles, residues, skip, state)
        found.append(y)
    assert state is not None
    return torch.cat(found, 1), state


def _advance(
    q: Tensor, k: Tensor, v: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor, initial: Tensor | None
) -> tuple[Tensor, Tensor]:
    length = q.shape[1]
    y = chunked(q, k, v, log_poles, residues, skip)
    decays = powers(log_poles, torch.arange(length + 1, device=q.device))
    into = torch.cat([part[..., :-1].flip(-1) for part in decays], 1)
    keys = _spread(k.transpose(1, 2).to(into.dtype), into)
    state = (keys.mT @ v.transpose(1, 2).to(into.dtype)).to(into.dtype).unflatten(2, (into.shape[1], -1))
    if initial is None:
        return y, state
    out = read_out(product(decays, parts(residues[..., None])))[..., 1:].to(q.dtype)
    y = y + (_spread(q.transpose(1, 2), out) @ initial.flatten(2, 3).to(q.dtype)).transpose(1, 2)
    kept = product(tuple(part[..., -1, None, None] for part in decays), initial.split(log_poles.shape[1], 2))
    return y, state + torch.cat(kept, 2)


def _blocks(x: Tensor, n_chunks: int, chunk: int) -> Tensor:
    """(batch, length, heads, dim) to (batch, chunks, heads, chunk, dim)."""
    padded = F.pad(x, (0, 0, 0, 0, n_chunks * chunk - x.shape[1], 0))
    return padded.unflatten(1, (n_chunks, chunk)).transpose(2, 3)


def _spread(x: Tensor, weights: Tensor) -> Tensor:
    """x (..., heads, t, dim) weighed in every row of (heads, rows, t): (..., heads, t, rows dim)."""
    return (x[..., None, :] * weights.mT[..., None].to(x.dtype)).flatten(-2)


def _states_after(ends: Tensor, jump: Parts) -> Tensor:
    """S_j = p^T S_{j-1} + E_j, for ends E (batch, chunks, heads, n or 2n, dim, dim) and the parts of p^T (heads, n)."""
    decay = tuple(part[:, :, None, None].expand(1, ends.shape[1], -1, -1, 1, 1) for part in jump)
    width = len(jump)

    def combine(earlier: Elements, later: Elements) -> Elements:
        moved = product(later[:width], earlier[width:])
        return (
            *product(later[:width], earlier[:width]),
            *(m + end for m, end in zip(moved, later[width:], strict=True)),
        )

    return torch.cat(associative_scan(combine, (*decay, *ends.split(jump[0].shape[1], 3)), 1)[width:], 3)
