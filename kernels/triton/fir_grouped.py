"""The causal FIR whose channels share filters in groups, on tensor cores; equal to kernels/reference/fir.py.

A sequence is cut into blocks of T inputs, and a filter into Toeplitz matrices H_d of T by T, with the tap at lag
d T + t - s at row t and column s. A block of inputs X_i, (steps, channels), is read once and adds H_d X_i to the block
of outputs d after it, for d up to REACH, in accumulators that move up as a program walks the blocks. A program is of
one group, whose channels are its columns, and of several segments of sequences side by side; it begins a segment
REACH blocks early. The gradient in x is the same walk from the end, and that in the taps the sums along the diagonals
of dY_i X_{i-d}'.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from eutectic.kernels.fir import MOST_TAPS
from eutectic.kernels.triton.toeplitz import diagonals, dot, padded, toeplitz

T = MOST_TAPS // 2
COLUMNS = 64
# by what fits a multiprocessor of an H100 together, others were not timed
PROGRAMS = 396
LEAST_BLOCKS = 8  # of a segment, before which REACH more are walked


@triton.jit
def _columns(parts, size, WIDTH: tl.constexpr, COLUMNS: tl.constexpr):
    """Of a program: its group, its columns' channels, whether they are of the group, and their streams."""
    group, column = tl.program_id(0) // parts, tl.arange(0, COLUMNS)[None, :]
    in_group = tl.program_id(0) % parts * WIDTH + column % WIDTH
    return group, group * size + in_group, in_group < size, column // WIDTH


@triton.jit
def _tile(x, sequence, block, channel, mask, batch_stride, stride, length, T: tl.constexpr):
    """(T, columns) inputs of a block of each column, zeros beyond the sequence."""
    step = tl.arange(0, T)[:, None]
    at = sequence.to(tl.int64) * batch_stride + (block * T).to(tl.int64) * stride + channel
    t = block * T + step
    return tl.load(x + at + step * stride, mask=mask & (t >= 0) & (t < length), other=0.0)


@triton.jit
def _convolve(
    x, taps, y, x_batch, x_stride, width, parts, size, length, segments, streams, blocks,
    T: tl.constexpr, REACH: tl.constexpr, BACK: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """y (batch, length, channels); BACK: sum_s taps_s x_{t+s} instead."""
    group, channel, present, stream = _columns(parts, size, WIDTH, COLUMNS)
    channels = tl.num_programs(0) // parts * size
    stream += tl.program_id(1) * (COLUMNS // WIDTH)
    sequence, first = stream // segments, stream % segments * blocks
    present = present & (stream < streams)
    taps += group * width + T
    h0, h1 = toeplitz(taps, 0, 0, T, T, 1), toeplitz(taps, 0, T, T, T, 1)
    h2 = toeplitz(taps, 0, 2 * T, T, T, 1)
    if not BACK:
        h0, h1, h2 = h0.T, h1.T, h2.T
    soon, later = tl.zeros([T, COLUMNS], tl.float32), tl.zeros([T, COLUMNS], tl.float32)
    for walked in range(blocks + REACH):
        block = first + (blocks - 1 + REACH - walked if BACK else walked - REACH)
        x_t = _tile(x, sequence, block, channel, present, x_batch, x_stride, length, T)
        y_t = dot(h0, x_t, soon)
        soon = dot(h1, x_t, later)
        if REACH > 1:
            later = dot(h2, x_t, tl.zeros([T, COLUMNS], tl.float32))
        step = tl.arange(0, T)[:, None]
        at = (sequence.to(tl.int64) * length + block * T) * channels + channel
        there = present & (block * T + step < length) & (walked >= REACH)
        tl.store(y + at + step * channels, y_t.to(y.dtype.element_ty), mask=there)


@triton.jit
def _correlate(
    x, dy, dtaps, x_batch, x_stride, dy_batch, dy_stride, n, parts, size, length, blocks, in_all, tiles,
    T: tl.constexpr, REACH: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """dtaps (programs of a group, groups, n): what each adds to the gradient in the taps."""
    group, channel, present, stream = _columns(parts, size, WIDTH, COLUMNS)
    g0, g1, g2 = tl.zeros([T, T], tl.float32), tl.zeros([T, T], tl.float32), tl.zeros([T, T], tl.float32)
    for tile in range(tiles):
        position = (tl.program_id(1) * tiles + tile) * (COLUMNS // WIDTH) + stream
        sequence, block, there = position // blocks, position % blocks, present & (position < in_all)
        dy_t = _tile(dy, sequence, block, channel, there, dy_batch, dy_stride, length, T)
        x_t = _tile(x, sequence, block, channel, there, x_batch, x_stride, length, T)
        g0 = dot(dy_t, x_t.T, g0)
        x_t = _tile(x, sequence, block - 1, channel, there, x_batch, x_stride, length, T)
        g1 = dot(dy_t, x_t.T, g1)
        if REACH > 1:
            x_t = _tile(x, sequence, block - 2, channel, there, x_batch, x_stride, length, T)
            g2 = dot(dy_t, x_t.T, g2)
    lag = tl.arange(0, T)
    part = tl.program_id(1) * parts + tl.program_id(0) % parts
    dtaps += (part * (tl.num_programs(0) // parts) + group) * n
    here, _ = diagonals(g0, T)
    far, before = diagonals(g1, T)
    tl.store(dtaps + lag, here + before, mask=lag < n)
    if REACH > 1:
        _, before = diagonals(g2, T)
        tl.store(dtaps + T + lag, far + before, mask=T + lag < n)


def forward(x: Tensor, taps: Tensor, back: bool = False) -> Tensor:
    """y (batch, length, channels) of x, whose channels lie side by side, and taps (groups, n <= MOST_TAPS).

    back: y_t = sum_s taps_s x_{t+s}, as gradients go.
    """
    cut, y = _Cut(x, taps), x.new_empty(x.shape)
    segments = min(cut.programs() * cut.streams // cut.batch, cut.blocks // LEAST_BLOCKS)
    blocks = triton.cdiv(cut.blocks, max(1, segments))
    segments = triton.cdiv(cut.blocks, blocks)
    made, streams = padded(taps, x.dtype, T, 3 * T), cut.batch * segments
    cut.launch(
        _convolve, triton.cdiv(streams, cut.streams), x, made, y, *x.stride()[:2], made.shape[2],
        cut.parts, cut.size, cut.length, segments, streams, blocks, BACK=back,
    )  # fmt: skip
    return y


def backward(x: Tensor, dy: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
    """dx, and dtaps in float32."""
    cut = _Cut(x, taps)
    tiles = triton.cdiv(cut.batch * cut.blocks, cut.streams * cut.programs())
    programs = triton.cdiv(cut.batch * cut.blocks, cut.streams * tiles)
    dtaps = taps.new_empty(programs * cut.parts, cut.groups, cut.n, dtype=torch.float32)
    cut.launch(
        _correlate, programs, x, dy, dtaps, *x.stride()[:2], *dy.stride()[:2],
        cut.n, cut.parts, cut.size, cut.length, cut.blocks, cut.batch * cut.blocks, tiles,
    )  # fmt: skip
    return forward(dy, taps, back=True), dtaps.sum(0)


class _Cut:
    """How x and filters are cut into blocks of steps, and groups' channels and streams into columns of programs."""

    def __init__(self, x: Tensor, taps: Tensor):
        self.batch, self.length, channels = x.shape
        self.groups, self.n = taps.shape
        self.size = channels // self.groups
        width = min(COLUMNS, triton.next_power_of_2(self.size))
        self.parts = triton.cdiv(self.size, width)
        self.blocks = triton.cdiv(self.length, T)
        self.streams = COLUMNS // width  # side by side
        self._fixed = {"T": T, "REACH": 1 if self.n <= T else 2, "WIDTH": width, "COLUMNS": COLUMNS}

    def programs(self) -> int:
        """Of each part of a group, so that all together fill a GPU once."""
        return max(1, PROGRAMS // (self.groups * self.parts))

    def launch(self, kernel: Any, programs: int, x: Tensor, *arguments: Any, **fixed: Any) -> None:
        warps, stages = 4, 3 if kernel is _convolve else 2
        if x.element_size() > 2:  # products are the registers' work
            warps, stages = 8, 2
        grid = (self.groups * self.parts, programs)
        kernel[grid](x, *arguments, **self._fixed, **fixed, num_warps=warps, num_stages=stages)
