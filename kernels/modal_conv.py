"""Fast forms of the modal convolution, equal to kernels/reference/modal_conv.py: FFT and chunked matmul.

The filter is h_t = Re(sum_n R_n p_n^t). Poles are given as log p = decay + i angle (decay < 0), which keeps powers
p^t = exp(t log p) exact at any t.
"""

import torch
from torch import Tensor

from eutectic.kernels.reference.modal_conv import causal_conv

CHUNK = 64


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
    is no multiple of the chunk is padded behind, where causality makes it harmless.
    """
    batch, length, channels = x.shape
    chunk = min(chunk, length)
    n_chunks = -(-length // chunk)
    x = torch.nn.functional.pad(x, (0, 0, 0, n_chunks * chunk - length))
    blocks = x.view(batch, n_chunks, chunk, channels).permute(3, 2, 0, 1).reshape(channels, chunk, -1)
    y = _toeplitz(impulse_response(log_poles, residues, chunk)).to(x.dtype) @ blocks
    if n_chunks > 1:
        y = y + _from_earlier_chunks(blocks, log_poles, residues, n_chunks)
    y = y.view(channels, chunk, batch, n_chunks).permute(2, 3, 1, 0)
    return y.reshape(batch, n_chunks * chunk, channels)[:, :length]


def _toeplitz(h: Tensor) -> Tensor:
    """(channels, T, T) with h_{t-s} at row t, column s, zero above the diagonal."""
    size = h.shape[1]
    lag = torch.arange(size, device=h.device)[:, None] - torch.arange(size, device=h.device)[None, :]
    return torch.where(lag >= 0, h[:, lag.clamp(min=0)], 0.0)


def _from_earlier_chunks(blocks: Tensor, log_poles: Tensor, residues: Tensor, n_chunks: int) -> Tensor:
    """What chunks before their own add to y. blocks and the result: (channels, T, batch * n_chunks)."""
    channels, chunk, columns = blocks.shape
    t = torch.arange(chunk, device=blocks.device, dtype=log_poles.real.dtype)
    into = torch.exp(log_poles[..., None] * (chunk - 1 - t))
    out = residues[..., None] * torch.exp(log_poles[..., None] * (t + 1))
    states = _real_rows(into).to(blocks.dtype) @ blocks
    states = states.view(channels, -1, columns // n_chunks, n_chunks)
    before = _states_before(states, log_poles * chunk)
    read = _real_rows(out.conj() if out.is_complex() else out).transpose(1, 2)
    return read.to(blocks.dtype) @ before.reshape(channels, -1, columns).to(blocks.dtype)


def _real_rows(z: Tensor) -> Tensor:
    """(channels, n, T) complex to (channels, 2n, T) real: real parts, then imaginary parts."""
    return torch.cat([z.real, z.imag], 1) if z.is_complex() else z


def _states_before(ends: Tensor, log_step: Tensor) -> Tensor:
    """States before each chunk from what each chunk leaves: (channels, n or 2n, batch, n_chunks), both.

    Inclusive scan by doubling, S_j += step^d S_{j-d} for d = 1, 2, 4..., then a shift by one chunk.
    """
    complex_poles = log_step.is_complex()
    n = log_step.shape[1]
    wide = ends.to(log_step.real.dtype)
    real, imag = (wide[:, :n], wide[:, n:]) if complex_poles else (wide, None)
    distance = 1
    while distance < ends.shape[-1]:
        power = torch.exp(log_step * distance)[..., None, None]
        past = torch.nn.functional.pad(real[..., :-distance], (distance, 0))
        if imag is None:
            real = real + power * past
        else:
            past_imag = torch.nn.functional.pad(imag[..., :-distance], (distance, 0))
            real, imag = (
                real + power.real * past - power.imag * past_imag,
                imag + power.real * past_imag + power.imag * past,
            )
        distance *= 2
    states = real if imag is None else torch.cat([real, imag], 1)
    return torch.nn.functional.pad(states[..., :-1], (1, 0))
