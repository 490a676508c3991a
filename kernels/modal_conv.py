"""Fast forms of the modal convolution, equal to kernels/reference/modal_conv.py: FFT and chunked matmul.

The filter is h_t = Re(sum_n R_n p_n^t). Poles are given as log p = decay + i angle (decay < 0), which keeps powers
p^t = exp(t log p) exact at any t.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from eutectic.kernels import long_conv
from eutectic.kernels.reference.modal_conv import causal_conv

CHUNK = 64

# a real number as (it,), a complex one as (its real part, its imaginary part): compilers handle these
Parts = tuple[Tensor, ...]


def impulse_response(log_poles: Tensor, residues: Tensor, length: int) -> Tensor:
    """h (channels, length), real, of log_poles and residues (channels, n), real or complex."""
    t = torch.arange(length, device=log_poles.device, dtype=log_poles.real.dtype)
    return (residues[..., None] * torch.exp(log_poles[..., None] * t)).sum(-2).real


def naive(x: Tensor, log_poles: Tensor, residues: Tensor) -> Tensor:
    """y (batch, length, channels) by the Toeplitz matrix of the whole length: O(length^2)."""
    return causal_conv(x, impulse_response(log_poles, residues, x.shape[1]))


def fft(x: Tensor, log_poles: Tensor, residues: Tensor) -> Tensor:
    """y (batch, length, channels) by FFTs of twice the length, so that nothing wraps around."""
    length = x.shape[1]
    h = impulse_response(log_poles, residues, length)
    spectrum = torch.fft.rfft(x.to(h.dtype), 2 * length, dim=1) * torch.fft.rfft(h.T, 2 * length, dim=0)
    return torch.fft.irfft(spectrum, 2 * length, dim=1)[:, :length]


def chunked(x: Tensor, log_poles: Tensor, residues: Tensor, chunk: int = CHUNK) -> Tensor:
    """y (batch, length, channels): a Toeplitz matmul within chunks, the modes' states passed between them.

    Within a chunk, y_t = sum_{s<=t} h_{t-s} x_s. A chunk leaves the state E = sum_s p^{T-1-s} x_s; the state before
    chunk j is S_j = sum_{i<j} p^{T(j-1-i)} E_i, by doubling over j; it adds Re(R p^{t+1} S_j) to y_t. A length that
    is no multiple of the chunk is padded with zeros in front, which change nothing. Complex numbers are kept as rows
    of real parts and rows of imaginary parts, so that all heavy work is real matmuls, which compilers handle.
    """
    return _chunked(x, log_poles, residues, chunk)[0]


def prefill(x: Tensor, log_poles: Tensor, residues: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor]:
    """chunked() after the tokens that left the modes' state `initial` (batch, channels, n), and the state after x."""
    if initial is None:
        initial = residues.new_zeros(len(x), *residues.shape)
    y, state = _chunked(x, log_poles, residues, CHUNK, tuple(part.permute(1, 2, 0) for part in parts(initial)))
    return y, torch.complex(*state) if len(state) == 2 else state[0]


# by the names that layouts have for them; they agree to rounding
FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"naive": naive, "fft": fft, "chunked": chunked}


def flops(length: int, channels: int, n_modes: int, complex_poles: bool, algorithm: str) -> tuple[int, int]:
    """Of one sequence, by algorithm, and those of chunked()'s matmuls.

    recurrence: per step and mode a complex multiply-add (8) and a real read-out (4), or 2 and 2 where poles are real.
    chunked: 2T of Toeplitz per step, states in and out of chunks at 2 for each of their real rows, and the states'
    recurrence once between chunks. fft: as kernels/long_conv.py.
    """
    rows = n_modes * (1 + complex_poles)
    chunk = min(CHUNK, length)
    n_chunks = -(-length // chunk)
    matmul = 2 * n_chunks * chunk * channels * (chunk + (2 * rows if n_chunks > 1 else 0))
    every = {
        "recurrence": length * channels * n_modes * (12 if complex_poles else 4),
        "chunked": matmul + (n_chunks - 1) * channels * n_modes * (8 if complex_poles else 2),
        "fft": long_conv.flops(channels, length),
    }
    return every[algorithm], matmul


def _chunked(
    x: Tensor, log_poles: Tensor, residues: Tensor, chunk: int, initial: Parts | None = None
) -> tuple[Tensor, Parts]:
    """y, and the state's parts after it (batch, channels, n), where there is one before it, (channels, n, batch)."""
    batch, length, channels = x.shape
    chunk = min(chunk, length)
    n_chunks = -(-length // chunk)
    first = length - (n_chunks - 1) * chunk  # tokens of the first chunk, which zeros stand before
    x = pad(x, (0, 0, chunk - first, 0))
    blocks = x.view(batch, n_chunks, chunk, channels).permute(3, 2, 0, 1).reshape(channels, chunk, -1)
    # p^0 to p^T within chunks, then p^2T, p^4T, ... between them
    doublings = torch.arange(1, max(1, (n_chunks - 1).bit_length()), device=x.device)
    every = powers(log_poles, torch.cat([torch.arange(chunk + 1, device=x.device), chunk << doublings]))
    within = tuple(part[..., : chunk + 1] for part in every)
    weighted = product(within, parts(residues[..., None]))
    y = toeplitz(weighted[0][..., :-1].sum(1)).to(x.dtype) @ blocks
    state: Parts = ()
    if n_chunks > 1 or initial is not None:
        into = torch.cat([part[..., :-1].flip(-1) for part in within], 1)
        ends = (into.to(x.dtype) @ blocks).to(log_poles.real.dtype)
        ends = ends.view(channels, -1, batch, n_chunks)
        if initial is not None:
            moved = product(tuple(part[..., first, None] for part in within), initial)
            ends = ends + pad(torch.cat(moved, 1)[..., None], (0, n_chunks - 1))
        after = _states_after(ends, [part[..., chunk:] for part in every])
        state = tuple(part[..., -1].permute(2, 0, 1) for part in after)
        before = pad(torch.cat(after, 1)[..., :-1], (1, 0))
        y = y + read_out(weighted)[..., 1:].transpose(1, 2).to(x.dtype) @ before.reshape(
            channels, -1, batch * n_chunks
        ).to(x.dtype)
    y = y.view(channels, chunk, batch, n_chunks).permute(2, 3, 1, 0).reshape(batch, -1, channels)[:, -length:]
    if initial is not None:
        own = read_out(weighted)[..., 1 : first + 1].transpose(1, 2) @ torch.cat(initial, 1)
        y = y + pad(own.permute(2, 1, 0), (0, 0, 0, length - first)).to(y.dtype)
    return y, state


def parts(z: Tensor) -> Parts:
    return (z.real, z.imag) if z.is_complex() else (z,)


def product(a: Parts, b: Parts) -> Parts:
    if len(a) == 1:
        return (a[0] * b[0],)
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def powers(log_poles: Tensor, t: Tensor) -> Parts:
    """Parts of p^t, each (channels, n, len(t))."""
    size = torch.exp(log_poles.real[..., None] * t)
    if not log_poles.is_complex():
        return (size,)
    angle = log_poles.imag[..., None] * t
    return size * angle.cos(), size * angle.sin()


def read_out(z: Parts) -> Tensor:
    """(channels, n or 2n, t): what the rows of states, real parts and then imaginary parts, weigh in Re(z S)."""
    return torch.cat([z[0], *(-part for part in z[1:])], 1)


def toeplitz(h: Tensor) -> Tensor:
    """(channels, T, T) with h_{t-s} at row t, column s, zero above the diagonal.

    Windows of the reversed filter with zeros behind are its rows from the last to the first.
    """
    size = h.shape[1]
    return pad(h.flip(1), (0, size - 1)).unfold(1, size, 1).flip(1)


def _states_after(ends: Tensor, jumps: list[Tensor]) -> Parts:
    """Parts of the states after each chunk from what each chunk leaves, (channels, n or 2n, batch, n_chunks).

    Inclusive scan by doubling, S_j += p^{Td} S_{j-d} for d = 1, 2, 4.... jumps: the parts of p^{Td}, each
    (channels, n, number of doublings).
    """
    states = ends.split(jumps[0].shape[1], 1)
    for k in range(jumps[0].shape[2]):
        jump = tuple(part[..., k, None, None] for part in jumps)
        past = tuple(pad(part[..., : -(1 << k)], (1 << k, 0)) for part in states)
        states = tuple(s + moved for s, moved in zip(states, product(jump, past), strict=True))
    return states
