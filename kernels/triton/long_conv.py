"""The causal convolution with a long filter a channel as Toeplitz matmuls; equal to causal_conv of kernels/reference/.

A sequence is cut into blocks of T outputs. A program is of one channel and of M rows, each a block of a sequence, and
adds up, over K inputs at a time from the rows' last back to their first,

    Y (M, T) += X (M, K) H (K, T)

with H the Toeplitz matrix of the taps at those lags, made from them there and then; rows are in the order of their
blocks, for a program has as many steps as its last row has inputs. The gradient in x is the same forward in time. That
in the taps is, for each number d of blocks between output and input, the sums along the diagonals of sum dY_i' X_{i-d}
over rows. Work grows as length x taps, and is quicker than FFTs up to DIRECT_TAPS of kernels/dispatch.py.

Tensors are (channels, batch, length): a matmul's rows then lie side by side.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from eutectic.kernels.triton.toeplitz import diagonals, dot, padded, toeplitz

# by arithmetic; others were not timed
K = 64
COPIES = 4  # of taps, whose rows are then loaded by 8 bytes, asynchronously and through the cache beside the loads


@triton.jit
def _convolve(
    x, taps, y, copy_stride, width, batch, length, blocks, reach,
    M: tl.constexpr, T: tl.constexpr, K: tl.constexpr, COPIES: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    """y; BACK: sum_s taps_s x_{t+s} instead. reach: steps over which there are taps."""
    channel = tl.program_id(1).to(tl.int64)
    tile = tl.program_id(0) if BACK else tl.num_programs(0) - 1 - tl.program_id(0)  # those of most steps begin first
    row = tile * M + tl.arange(0, M)[:, None]
    block, sequence = row // batch, row % batch
    x += channel * batch * length
    y += channel * batch * length
    taps += channel * width + T
    steps = blocks - tile * M // batch if BACK else (tile * M + M - 1) // batch + 1
    y_t = tl.zeros([M, T], tl.float32)
    for step in range(min(steps * (T // K), reach)):
        t = block * T + (step * K if BACK else T - K - step * K) + tl.arange(0, K)[None, :]
        x_t = tl.load(x + sequence * length + t, mask=(t >= 0) & (t < length), other=0.0)
        if BACK:
            h = toeplitz(taps, copy_stride, step * K, T, K, COPIES).T
        else:
            h = toeplitz(taps, copy_stride, (step + 1) * K - T, K, T, COPIES)
        y_t = dot(x_t, h, y_t)
    t = block * T + tl.arange(0, T)[None, :]
    tl.store(y + sequence * length + t, y_t.to(y.dtype.element_ty), mask=t < length)


@triton.jit
def _correlate(
    x, dy, near, far, batch, length, rows, T: tl.constexpr, K: tl.constexpr
):  # fmt: skip
    """Parts of the gradient in the taps at lags d T + r, r < T: near (channels, d, T) from blocks d apart, and far from
    blocks d + 1 apart."""
    apart, channel = tl.program_id(0), tl.program_id(1).to(tl.int64)
    x += channel * batch * length
    dy += channel * batch * length
    g = tl.zeros([T, T], tl.float32)
    for first in range(apart * batch, rows, K):
        row = first + tl.arange(0, K)[:, None]
        at, t = row % batch * length, row // batch * T + tl.arange(0, T)[None, :]
        dy_t = tl.load(dy + at + t, mask=(row < rows) & (t < length), other=0.0)
        t -= apart * T
        x_t = tl.load(x + at + t, mask=(row < rows) & (t < length), other=0.0)
        g = dot(dy_t.T, x_t, g)
    ahead, behind = diagonals(g, T)
    count = tl.num_programs(0) - 1
    at = (channel * count + apart) * T + tl.arange(0, T)
    if apart < count:
        tl.store(near + at, ahead)
    if apart > 0:
        tl.store(far + at - T, behind)


@torch.library.custom_op("eutectic::long_conv", mutates_args=())
def long_conv(x: Tensor, h: Tensor) -> Tensor:
    """y of x (channels, batch, length), float32 or bfloat16, and like it; h (channels, taps)."""
    return _convolved(x.contiguous(), h, back=False)


@torch.library.custom_op("eutectic::long_conv_backward", mutates_args=())
def _backward_op(x: Tensor, dy: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    x, dy = x.contiguous(), dy.contiguous()
    (channels, batch, length), n, T = x.shape, h.shape[1], _outputs(x)
    count = triton.cdiv(n, T)
    parts = h.new_empty(2, channels, count * T, dtype=torch.float32)
    rows = batch * triton.cdiv(length, T)
    _correlate[(count + 1, channels)](x, dy, *parts, batch, length, rows, T, min(K, T), num_warps=8, num_stages=3)
    return _convolved(dy, h, back=True), parts.sum(0)[:, :n].to(h.dtype).contiguous()


def _convolved(x: Tensor, h: Tensor, back: bool) -> Tensor:
    (channels, batch, length), n, T = x.shape, h.shape[1], _outputs(x)
    k, blocks = min(K, T), triton.cdiv(length, T)
    made = padded(h, x.dtype, T, T + k, COPIES)
    rows = batch * blocks
    M = min(128, max(16, triton.next_power_of_2(triton.cdiv(rows, 2))))  # two programs at least, one of fewer steps
    y = torch.empty_like(x)
    _convolve[(triton.cdiv(rows, M), channels)](
        x, made, y, *made.stride()[:2], batch, length, blocks, (n + T - 2) // k + 1, M, T, k, COPIES, back,
        num_warps=8 if M * T > 8192 else 4, num_stages=3,
    )  # fmt: skip
    return y


def _outputs(x: Tensor) -> int:
    """Of a block; float32's products are the registers' work."""
    return min(128 if x.element_size() == 2 else 64, max(16, triton.next_power_of_2(x.shape[2])))


@long_conv.register_fake
def _(x, h):
    return x.new_empty(x.shape)


@_backward_op.register_fake
def _(x, dy, h):
    return x.new_empty(x.shape), h.new_empty(h.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
    x, h = ctx.saved_tensors
    return _backward_op(x, dy.contiguous(), h)


long_conv.register_autograd(_differentiate, setup_context=_keep)
