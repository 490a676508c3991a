"""Hyena-SE's operator as a differentiable op on the GPU: its three FIRs of three taps, gates and the FIR of few taps
between them in one pass forward and two back; equal to kernels/reference/gated_fir.py.

A program is of some steps and some channels, which lie side by side, and goes through the lags with what the FIRs have
yet to see in registers. The first pass back leaves the gradients in q after its FIR and in u = k * v, the second takes
them through the FIRs.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from eutectic.kernels.triton.fir_short import by_lag

T, C, WARPS = 64, 32, 16  # four channels a thread, whose taps fit its registers; not yet timed


@triton.jit
def _part(x, part, width, length, T: tl.constexpr):
    """x (batch, length, width), from the program's first step of its sequence and the first channel of a part."""
    return x + (tl.program_id(2).to(tl.int64) * length + tl.program_id(0) * T) * width + part


@triton.jit
def _at(x, shift, width, length, channel, present, T: tl.constexpr):
    """(T, C), float32: the program's steps of x, moved by shift; zeros beyond the sequence."""
    step = tl.arange(0, T)[:, None] + shift
    t = tl.program_id(0) * T + step
    return tl.load(x + step * width + channel, mask=present & (t >= 0) & (t < length), other=0.0).to(tl.float32)


@triton.jit
def _put(x, value, width, length, channel, present, T: tl.constexpr):
    step = tl.arange(0, T)[:, None]
    there = present & (tl.program_id(0) * T + step < length)
    tl.store(x + step * width + channel, value.to(x.dtype.element_ty), mask=there)


@triton.jit
def _three(fir, D, channel, present):
    """The three taps of channels; fir points to their part of (3, 3 D)."""
    w0 = tl.load(fir + channel, mask=present, other=0.0)
    w1 = tl.load(fir + 3 * D + channel, mask=present, other=0.0)
    return w0, w1, tl.load(fir + 6 * D + channel, mask=present, other=0.0)


@triton.jit
def _queries(q, fir, D, length, channel, present, T: tl.constexpr):
    """q after its FIR."""
    w0, w1, w2 = _three(fir, D, channel, present)
    z = w0 * _at(q, 0, 3 * D, length, channel, present, T) + w1 * _at(q, -1, 3 * D, length, channel, present, T)
    return z + w2 * _at(q, -2, 3 * D, length, channel, present, T)


@triton.jit
def _between_gates(
    qkv, fir, taps, y, dy, dq, du, dtaps, length, D,
    BACK: tl.constexpr, N: tl.constexpr, T: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """y; BACK: instead dq and du, the gradients in q after its FIR and in u, and dtaps (programs along the tokens, N,
    D): what each adds to the gradient in a channel's taps."""
    channel = tl.program_id(1) * C + tl.arange(0, C)[None, :]
    present = channel < D
    q, k, v = (_part(qkv, 0, 3 * D, length, T), _part(qkv, D, 3 * D, length, T), _part(qkv, 2 * D, 3 * D, length, T))
    w0, w1, w2 = _three(fir, D, channel, present)
    k0, k1, k2 = _three(fir + D, D, channel, present)
    v0, v1, v2 = _three(fir + 2 * D, D, channel, present)
    q_t = _queries(q, fir, D, length, channel, present, T)
    if BACK:
        dy, dq, du = _part(dy, 0, D, length, T), _part(dq, 0, D, length, T), _part(du, 0, D, length, T)
        dtaps += (tl.program_id(2).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)) * N * D + channel
        dy_t = _at(dy, 0, D, length, channel, present, T)
        dconv = dy_t * q_t
    conv = tl.zeros([T, C], tl.float32)
    k_a, k_b = _at(k, 0, 3 * D, length, channel, present, T), _at(k, -1, 3 * D, length, channel, present, T)
    v_a, v_b = _at(v, 0, 3 * D, length, channel, present, T), _at(v, -1, 3 * D, length, channel, present, T)
    for lag in tl.static_range(N):
        k_c = _at(k, -2 - lag, 3 * D, length, channel, present, T)
        v_c = _at(v, -2 - lag, 3 * D, length, channel, present, T)
        u = (k0 * k_a + k1 * k_b + k2 * k_c) * (v0 * v_a + v1 * v_b + v2 * v_c)
        conv += tl.load(taps + lag * D + channel, mask=present, other=0.0) * u
        if BACK:
            tl.store(dtaps + lag * D, tl.sum(dconv * u, 0)[None, :], mask=present)
        k_a, k_b = k_b, k_c
        v_a, v_b = v_b, v_c
    if not BACK:
        _put(_part(y, 0, D, length, T), q_t * conv, D, length, channel, present, T)
    else:
        _put(dq, dy_t * conv, D, length, channel, present, T)
        du_t = tl.zeros([T, C], tl.float32)
        q_b, q_c = _at(q, -1, 3 * D, length, channel, present, T), _at(q, -2, 3 * D, length, channel, present, T)
        for lag in tl.static_range(N):
            q_a = _at(q, lag, 3 * D, length, channel, present, T)
            dconv = _at(dy, lag, D, length, channel, present, T) * (w0 * q_a + w1 * q_b + w2 * q_c)
            du_t += tl.load(taps + lag * D + channel, mask=present, other=0.0) * dconv
            q_b, q_c = q_a, q_b
        _put(du, du_t, D, length, channel, present, T)


@triton.jit
def _through_firs(
    qkv, fir, dq, du, dqkv, dfir, length, D, T: tl.constexpr, C: tl.constexpr
):  # fmt: skip
    """dqkv, and dfir (programs along the tokens, 3, 3 D): what each adds to the gradient in the three taps."""
    channel = tl.program_id(1) * C + tl.arange(0, C)[None, :]
    present, width = channel < D, 3 * D
    q, k, v = _part(qkv, 0, width, length, T), _part(qkv, D, width, length, T), _part(qkv, 2 * D, width, length, T)
    dq, du, dqkv = _part(dq, 0, D, length, T), _part(du, 0, D, length, T), _part(dqkv, 0, width, length, T)
    dfir += (tl.program_id(2).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)) * 3 * width + channel
    k0, k1, k2 = _three(fir + D, D, channel, present)
    v0, v1, v2 = _three(fir + 2 * D, D, channel, present)
    q_t, k_t = _at(q, 0, width, length, channel, present, T), _at(k, 0, width, length, channel, present, T)
    v_t = _at(v, 0, width, length, channel, present, T)
    k_b, k_c = _at(k, -1, width, length, channel, present, T), _at(k, -2, width, length, channel, present, T)
    v_b, v_c = _at(v, -1, width, length, channel, present, T), _at(v, -2, width, length, channel, present, T)
    dq_t, dk_t = tl.zeros([T, C], tl.float32), tl.zeros([T, C], tl.float32)
    dv_t = tl.zeros([T, C], tl.float32)
    for lag in tl.static_range(3):
        taps, dtaps = fir + lag * width + channel, dfir + lag * width
        k_a, v_a = _at(k, lag, width, length, channel, present, T), _at(v, lag, width, length, channel, present, T)
        du_lag = _at(du, lag, D, length, channel, present, T)
        dz_q = _at(dq, lag, D, length, channel, present, T)
        dz_k = du_lag * (v0 * v_a + v1 * v_b + v2 * v_c)
        dz_v = du_lag * (k0 * k_a + k1 * k_b + k2 * k_c)
        dq_t += tl.load(taps, mask=present, other=0.0) * dz_q
        dk_t += tl.load(taps + D, mask=present, other=0.0) * dz_k
        dv_t += tl.load(taps + 2 * D, mask=present, other=0.0) * dz_v
        tl.store(dtaps, tl.sum(dz_q * q_t, 0)[None, :], mask=present)
        tl.store(dtaps + D, tl.sum(dz_k * k_t, 0)[None, :], mask=present)
        tl.store(dtaps + 2 * D, tl.sum(dz_v * v_t, 0)[None, :], mask=present)
        k_b, k_c = k_a, k_b
        v_b, v_c = v_a, v_b
    _put(dqkv, dq_t, width, length, channel, present, T)
    _put(dqkv + D, dk_t, width, length, channel, present, T)
    _put(dqkv + 2 * D, dv_t, width, length, channel, present, T)


@torch.library.custom_op("eutectic::gated_fir", mutates_args=())
def gated_fir(qkv: Tensor, fir: Tensor, taps: Tensor) -> Tensor:
    """y (batch, length, channels) of qkv (batch, length, 3 channels), float32 or bfloat16, and like it.

    fir (3 channels, 3). taps (groups, n), n up to FEW_TAPS of kernels/fir.py.
    """
    qkv, (D, grid) = qkv.contiguous(), _cut(qkv)
    y = qkv.new_empty(*qkv.shape[:2], D)
    made = by_lag(fir, 3 * D), by_lag(taps, D)
    _between_gates[grid](qkv, *made, y, y, y, y, y, y.shape[1], D, False, taps.shape[1], T, C, num_warps=WARPS)
    return y


@torch.library.custom_op("eutectic::gated_fir_backward", mutates_args=())
def _backward_op(qkv: Tensor, dy: Tensor, fir: Tensor, taps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    qkv, dy, (D, grid), (groups, n) = qkv.contiguous(), dy.contiguous(), _cut(qkv), taps.shape
    short, long, programs, length = by_lag(fir, 3 * D), by_lag(taps, D), grid[0] * grid[2], dy.shape[1]
    dq, du, dqkv = torch.empty_like(dy), torch.empty_like(dy), torch.empty_like(qkv)
    dtaps, dfir = long.new_empty(programs, n, D), short.new_empty(programs, 3, 3 * D)
    _between_gates[grid](qkv, short, long, dy, dy, dq, du, dtaps, length, D, True, n, T, C, num_warps=WARPS)
    _through_firs[grid](qkv, short, dq, du, dqkv, dfir, length, D, T, C, num_warps=WARPS)
    dtaps = dtaps.view(-1, n, groups, D // groups).sum((0, 3)).T
    return dqkv, dfir.sum(0).T.contiguous().to(fir.dtype), dtaps.contiguous().to(taps.dtype)


def _cut(qkv: Tensor) -> tuple[int, tuple[int, int, int]]:
    """Channels, and programs along steps, channels and sequences."""
    batch, length, width = qkv.shape
    return width // 3, (triton.cdiv(length, T), triton.cdiv(width // 3, C), batch)


@gated_fir.register_fake
def _(qkv, fir, taps):
    return qkv.new_empty(*qkv.shape[:2], qkv.shape[2] // 3)


@_backward_op.register_fake
def _(qkv, dy, fir, taps):
    return qkv.new_empty(qkv.shape), fir.new_empty(fir.shape), taps.new_empty(taps.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    qkv, fir, taps = ctx.saved_tensors
    return _backward_op(qkv, dy, fir, taps)


gated_fir.register_autograd(_differentiate, setup_context=_keep)
