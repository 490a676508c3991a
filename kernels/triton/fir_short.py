"""The causal FIR of few taps, which stay in registers; equal to kernels/reference/fir.py.

A program is of some steps and some channels, which lie side by side, and reads its inputs once for every tap, from
memory the first time and then from the cache beside it.
"""

import triton
import triton.language as tl
from torch import Tensor

T, C, WARPS = 64, 64, 8  # others were not timed


@triton.jit
def _place(length, channels, T: tl.constexpr, C: tl.constexpr):
    """Of a program: its sequence, first step, steps (T, 1), channels (1, C) and which of these there are."""
    channel = tl.program_id(1) * C + tl.arange(0, C)[None, :]
    return tl.program_id(2).to(tl.int64), tl.program_id(0) * T, tl.arange(0, T)[:, None], channel, channel < channels


@triton.jit
def _forward(
    x, taps, y, x_batch, x_stride, length, channels, N: tl.constexpr, T: tl.constexpr, C: tl.constexpr
):  # fmt: skip
    sequence, first, step, channel, present = _place(length, channels, T, C)
    x += sequence * x_batch + first.to(tl.int64) * x_stride
    y += (sequence * length + first) * channels
    y_t = tl.zeros([T, C], tl.float32)
    for lag in tl.static_range(N):
        w = tl.load(taps + lag * channels + channel, mask=present, other=0.0)
        t = first + step - lag
        x_t = tl.load(x + (step - lag) * x_stride + channel, mask=present & (t >= 0) & (t < length), other=0.0)
        y_t += w * x_t.to(tl.float32)
    tl.store(y + step * channels + channel, y_t.to(y.dtype.element_ty), mask=present & (first + step < length))


@triton.jit
def _backward(
    x, dy, taps, dx, dtaps, x_batch, x_stride, dy_batch, dy_stride, length, channels,
    N: tl.constexpr, T: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """dx, and dtaps (programs along the tokens, N, channels): what each adds to the gradient in a channel's taps."""
    sequence, first, step, channel, present = _place(length, channels, T, C)
    x += sequence * x_batch + first.to(tl.int64) * x_stride
    dy += sequence * dy_batch + first.to(tl.int64) * dy_stride
    dx += (sequence * length + first) * channels
    dtaps += (sequence * tl.num_programs(0) + tl.program_id(0)) * N * channels + channel
    there = present & (first + step < length)
    x_t = tl.load(x + step * x_stride + channel, mask=there, other=0.0).to(tl.float32)
    dx_t = tl.zeros([T, C], tl.float32)
    for lag in tl.static_range(N):
        w = tl.load(taps + lag * channels + channel, mask=present, other=0.0)
        later = present & (first + step + lag < length)
        dy_t = tl.load(dy + (step + lag) * dy_stride + channel, mask=later, other=0.0).to(tl.float32)
        dx_t += w * dy_t
        tl.store(dtaps + lag * channels, tl.sum(dy_t * x_t, 0)[None, :], mask=present)
    tl.store(dx + step * channels + channel, dx_t.to(dx.dtype.element_ty), mask=there)


def forward(x: Tensor, taps: Tensor) -> Tensor:
    """y (batch, length, channels) of x, whose channels lie side by side, and taps (groups, n)."""
    y, grid, n = x.new_empty(x.shape), _grid(x), taps.shape[1]
    _forward[grid](x, by_lag(taps, x.shape[2]), y, *x.stride()[:2], *x.shape[1:], n, T, C, num_warps=WARPS)
    return y


def backward(x: Tensor, dy: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
    """dx, and dtaps in float32."""
    (batch, _, channels), (groups, n) = x.shape, taps.shape
    dx, grid, made = x.new_empty(x.shape), _grid(x), by_lag(taps, channels)
    dtaps = made.new_empty(batch * grid[0], n, channels)
    _backward[grid](x, dy, made, dx, dtaps, *x.stride()[:2], *dy.stride()[:2], *x.shape[1:], n, T, C, num_warps=WARPS)
    return dx, dtaps.view(-1, n, groups, channels // groups).sum((0, 3)).T


def by_lag(taps: Tensor, channels: int) -> Tensor:
    """(n, channels), so that a lag's of neighbouring channels lie side by side."""
    return taps.float().T.repeat_interleave(channels // len(taps), 1).contiguous()


def _grid(x: Tensor) -> tuple[int, int, int]:
    return triton.cdiv(x.shape[1], T), triton.cdiv(x.shape[2], C), len(x)
