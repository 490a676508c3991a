"""StripedHyena's operator as a differentiable op on the GPU: its matrices, and the launches of modal_passes.py."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from eutectic.kernels.modal_conv import parts, powers, product, read_out
from eutectic.kernels.triton.fir_gate import fir_gate_backward
from eutectic.kernels.triton.modal_passes import backward, enter, enter_back, forward, scan

ROWS = 16  # of a state at least: what a tensor core multiplies at once


class Tile(NamedTuple):
    """Of a kernel: a program is a warp, for one channel and N segments, which issues loads `stages` chunks ahead."""

    N: int
    stages: int


# as timed on an H100
TILES = {enter: Tile(16, 2), enter_back: Tile(16, 2), forward: Tile(16, 3), backward: Tile(32, 3)}
CHUNK = 32
LONGEST = 32  # chunks of a segment
PROGRAMS = 2048  # that keep a GPU busy


def chunks_of_segment(channels: int, batch: int, length: int) -> int:
    """A power of two, as large as leaves a GPU programs enough, and a tensor core rows, and fits the length evenly."""
    in_all = triton.cdiv(length, CHUNK)
    most = batch * in_all // TILES[enter].N * min(channels, PROGRAMS) // PROGRAMS
    chunks = 1 << (max(1, min(LONGEST, in_all, most)).bit_length() - 1)
    while in_all % chunks and chunks > 4:
        chunks //= 2
    return chunks


class Matrices(NamedTuple):
    """Of every channel, T = CHUNK the steps and R the rows of a state: h (D, T), into (D, R, T), out (D, T, R) and
    decay (D, R, R)."""

    h: Tensor
    into: Tensor
    out: Tensor
    decay: Tensor


def matrices(log_poles: Tensor, residues: Tensor, skip: Tensor) -> Matrices:
    """Rows of a state are modes' real parts, then their imaginary parts, then zeros. The skip is a part of h_0."""
    steps = torch.arange(CHUNK + 1, device=log_poles.device)
    every = powers(log_poles, steps)
    weighted = product(every, parts(residues[..., None]))
    h = weighted[0][..., :-1].sum(1)
    h = torch.cat([h[:, :1] + skip[:, None], h[:, 1:]], 1)
    into = torch.cat([part[..., :-1].flip(-1) for part in every], 1)
    out = read_out(weighted)[..., 1:].transpose(1, 2)
    over = [torch.diag_embed(part[..., -1]) for part in every]
    decay = over[0]
    if len(over) == 2:
        decay = torch.cat([torch.cat([over[0], -over[1]], 2), torch.cat([over[1], over[0]], 2)], 1)
    fill = rows(into.shape[1]) - into.shape[1]
    return Matrices(
        h,
        F.pad(into, (0, 0, 0, fill)).contiguous(),
        F.pad(out, (0, fill)).contiguous(),
        F.pad(decay, (0, fill, 0, fill)),
    )


def rows(used: int) -> int:
    return max(ROWS, triton.next_power_of_2(used))


def gated_modal_conv(qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor) -> Tensor:
    """y (channels, batch, length) of qkv (3 channels, batch, length), as kernels/reference/gated_modal_conv.py.

    qkv in float32 or bfloat16, and y like it; all else in float32.
    """
    made = matrices(log_poles, residues, skip)
    initial = made.decay.new_zeros(qkv.shape[1], *made.decay.shape[:2])
    chunks = chunks_of_segment(len(skip), *qkv.shape[1:])
    return _op(qkv, fir, *made, _jump(log_poles, chunks), initial, 0, chunks)[0]


def prefill(
    qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor, initial: Tensor, lead: int
) -> tuple[Tensor, Tensor]:
    """gated_modal_conv after other tokens: y (channels, batch, length), and the state after it.

    qkv (3 channels, batch, lead + length) begins with the `lead` inputs of before that the FIRs still see: 0 or 2.
    initial: the modes' state before, (batch, channels, n), real or complex as residues. length: a multiple of CHUNK.
    """
    made = matrices(log_poles, residues, skip)
    length, n = qkv.shape[2] - lead, residues.shape[1]
    chunks = chunks_of_segment(len(skip), qkv.shape[1], length)
    while length % (chunks * CHUNK):
        chunks //= 2
    state = torch.cat(parts(initial), 2)
    state = F.pad(state, (0, made.decay.shape[2] - state.shape[2]))
    y, state, *_ = _op(qkv, fir, *made, _jump(log_poles, chunks), state, lead, chunks)
    last = state[..., : 2 * n].unflatten(2, (2, n)) if residues.is_complex() else state[..., :n]
    return y, torch.complex(last[:, :, 0], last[:, :, 1]) if residues.is_complex() else last


@torch.no_grad()
def _jump(log_poles: Tensor, chunks: int) -> Tensor:
    """(1 or 2, channels, n): the parts of the modes' decay over a segment, for whose gradients `decay` stands."""
    steps = torch.full((1,), CHUNK * chunks, device=log_poles.device)
    return torch.stack([part[..., 0] for part in powers(log_poles, steps)])


@torch.library.custom_op("eutectic::gated_modal_conv", mutates_args=())
def _op(
    qkv: Tensor, fir: Tensor, h: Tensor, into: Tensor, out: Tensor, decay: Tensor, jump: Tensor, initial: Tensor,
    lead: int, chunks: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """y, the state after, the gated input, and the states before each chunk."""
    launch = _Launch(qkv, decay, lead, chunks)
    y = qkv.new_empty(launch.shape)
    u = torch.empty_like(y)
    left = launch.new_states()
    launch(enter, qkv, fir, u, into, decay, left)
    before, last = launch.scan(left, jump, initial, back=False)
    saved = u.new_empty(launch.streams, chunks, *initial.shape[1:])
    launch(forward, qkv, fir, u, h, into, out, decay, before, y, saved)
    return y, last, u, saved


@torch.library.custom_op("eutectic::gated_modal_conv_backward", mutates_args=())
def _backward_op(
    dy: Tensor, dlast: Tensor, u: Tensor, saved: Tensor,
    qkv: Tensor, fir: Tensor, h: Tensor, into: Tensor, out: Tensor, decay: Tensor, jump: Tensor,
    lead: int, chunks: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    launch = _Launch(qkv, decay, lead, chunks)
    g, left = torch.empty_like(u), launch.new_states()
    launch(enter_back, qkv, fir, dy, g, out, decay, left)
    after, dinitial = launch.scan(left, jump, dlast, back=True)
    dq, du = torch.empty_like(u), torch.empty_like(u)
    groups, T, R = launch.groups(backward), CHUNK, decay.shape[2]
    by_group = [decay.new_empty(groups, len(h), *size) for size in ((T, T), (R, T), (T, R), (R, R))]
    launch(backward, g, u, h, into, out, decay, saved, after, dy, dq, du, *by_group)
    dh, dinto, dout, ddecay = (part.sum(0) for part in by_group)
    dqkv, dfir = fir_gate_backward(qkv, fir, dq, du, lead)
    return dqkv, dfir, dh.sum(2), dinto, dout, ddecay, dinitial


class _Launch:
    """Starts kernels that are cut alike."""

    def __init__(self, qkv: Tensor, decay: Tensor, lead: int, chunks: int):
        self.shape = D, batch, length = qkv.shape[0] // 3, qkv.shape[1], qkv.shape[2] - lead
        self.segments = triton.cdiv(length, CHUNK * chunks)
        self.streams, self.decay = batch * self.segments, decay
        self._even, self._lead = length == self.segments * chunks * CHUNK, lead
        self._sizes = D, batch * length, length, chunks, self.segments, self.streams

    def __call__(self, kernel: Any, *tensors: Tensor) -> None:
        tile = TILES[kernel]
        kernel[(self.shape[0] * self.groups(kernel),)](
            *tensors, *self._sizes, self._lead, self._even and self.streams % tile.N == 0,
            CHUNK, tile.N, self.decay.shape[1], num_warps=1, num_stages=tile.stages,
        )  # fmt: skip

    def groups(self, kernel: Any) -> int:
        """Of segments, each a program's."""
        return triton.cdiv(self.streams, TILES[kernel].N)

    def new_states(self) -> Tensor:
        return self.decay.new_empty(self.streams, *self.decay.shape[:2])

    def scan(self, left: Tensor, jump: Tensor, initial: Tensor, back: bool) -> tuple[Tensor, Tensor]:
        before, last = torch.zeros_like(left), torch.zeros_like(initial)  # rows that are no mode stay zero
        D, R = self.decay.shape[:2]
        modes, is_complex = jump.shape[2], bool(jump.shape[0] == 2)
        fixed = {"M": triton.next_power_of_2(modes), "R": R, "COMPLEX": is_complex, "BACK": back}
        fixed["G"] = min(64, triton.next_power_of_2(self.segments))
        scan[(D, len(initial))](left, jump, initial, before, last, D, self.segments, modes, **fixed, num_warps=1)
        return before, last


@_op.register_fake
def _(qkv, fir, h, into, out, decay, jump, initial, lead, chunks):
    y = qkv.new_empty(len(h), qkv.shape[1], qkv.shape[2] - lead)
    streams = y.shape[1] * -(-y.shape[2] // (CHUNK * chunks))
    return y, torch.empty_like(initial), torch.empty_like(y), y.new_empty(streams, chunks, *decay.shape[:2])


@_backward_op.register_fake
def _(dy, dlast, u, saved, qkv, fir, h, into, out, decay, jump, lead, chunks):
    return tuple(torch.empty_like(x) for x in (qkv, fir, h, into, out, decay, dlast))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, _, ctx.lead, ctx.chunks = inputs
    ctx.save_for_backward(*output[2:], *tensors)


def _differentiate(ctx: Any, dy: Tensor, dlast: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *grads, dinitial = _backward_op(dy.contiguous(), dlast.contiguous(), *ctx.saved_tensors, ctx.lead, ctx.chunks)
    return *grads, None, dinitial, None, None


_op.register_autograd(_differentiate, setup_context=_keep)
