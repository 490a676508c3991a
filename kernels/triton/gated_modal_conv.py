"""StripedHyena's operator as a differentiable op on the GPU: its matrices, and the launches of modal_passes.py."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from eutectic.kernels import modal_conv
from eutectic.kernels.fir import shifted
from eutectic.kernels.modal_conv import parts, powers, product
from eutectic.kernels.triton.fir_gate import fir_gate_backward
from eutectic.kernels.triton.modal_passes import backward, forward

CHUNK = 32
CHUNKS = 16  # of a block: the rows that a tensor core multiplies at once
LEAD = 2  # inputs that FIRs of three taps see before their own
LEAST_MODES = 8  # of which real and imaginary parts are as many columns
# as timed on an H100: of a warp each, and the blocks that loads are issued ahead
PROGRAMS, STAGES = 1024, 3


class Matrices(NamedTuple):
    """Of every channel, T = CHUNK the steps and 2 M the parts of states, real and imaginary side by side: h (D, T),
    into and out (D, T, 2 M), and decay (D, 2 M)."""

    h: Tensor
    into: Tensor
    out: Tensor
    decay: Tensor


def matrices(log_poles: Tensor, residues: Tensor, skip: Tensor) -> Matrices:
    """Real poles have imaginary parts of zero, and so have modes that fill M up. The skip is a part of h_0."""
    fill = max(LEAST_MODES, triton.next_power_of_2(residues.shape[1])) - residues.shape[1]
    every = powers(log_poles, torch.arange(CHUNK + 1, device=log_poles.device))
    weighted = product(every, parts(residues[..., None]))
    h = weighted[0][..., :-1].sum(1)
    h = torch.cat([h[:, :1] + skip[:, None], h[:, 1:]], 1)
    into = _side_by_side([part[..., :-1].flip(-1) for part in every], fill)
    out = _side_by_side([weighted[0][..., 1:], *(-part[..., 1:] for part in weighted[1:])], fill)
    return Matrices(h, into, out, _side_by_side([part[..., -1:] for part in every], fill)[:, 0].contiguous())


def _side_by_side(each: Sequence[Tensor], fill: int) -> Tensor:
    """(D, steps, 2 M) of one or both parts, (D, n, steps)."""
    real = F.pad(each[0].mT, (0, fill))
    return torch.stack([real, F.pad(each[1].mT, (0, fill)) if len(each) == 2 else torch.zeros_like(real)], 3).flatten(2)


def gated_modal_conv(qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor) -> Tensor:
    """y (channels, batch, length) of qkv (3 channels, batch, length), as kernels/reference/gated_modal_conv.py.

    qkv in float32 or bfloat16, and y like it; all else in float32.
    """
    made = matrices(log_poles, residues, skip)
    initial = made.decay.new_zeros(qkv.shape[1], *made.decay.shape)
    return _op(qkv, fir, *made, initial, 0)[0]


def prefill(
    qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor, initial: Tensor
) -> tuple[Tensor, Tensor]:
    """gated_modal_conv after other tokens: y (channels, batch, length), and the state after it.

    qkv (3 channels, batch, 2 + length) begins with the two inputs of before that the FIRs still see. initial: the
    modes' state before, (batch, channels, n), real or complex as residues. Steps that fill no chunk are left to plain
    torch: a chunk with zeros at its end would leave its state decayed.
    """
    length = qkv.shape[2] - LEAD
    whole = length - length % CHUNK
    outputs, state = [], initial
    if whole:
        y, state = _chunks(qkv[..., : LEAD + whole].contiguous(), fir, log_poles, residues, skip, state)
        outputs.append(y)
    if whole < length:
        y, state = _rest(qkv[..., whole:], fir, log_poles, residues, skip, state)
        outputs.append(y)
    return torch.cat(outputs, 2), state


def _chunks(
    qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor, initial: Tensor
) -> tuple[Tensor, Tensor]:
    """prefill of a length that is a multiple of CHUNK."""
    made, n = matrices(log_poles, residues, skip), residues.shape[1]
    fill = made.decay.shape[1] // 2 - n
    state = _side_by_side([part[..., None].flatten(0, 1) for part in parts(initial)], fill).view(*initial.shape[:2], -1)
    y, last, *_ = _op(qkv, fir, *made, state, LEAD)
    each = last.unflatten(2, (-1, 2))[:, :, :n]
    return y, torch.complex(each[..., 0], each[..., 1]) if residues.is_complex() else each[..., 0]


def _rest(
    qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor, initial: Tensor
) -> tuple[Tensor, Tensor]:
    """prefill in torch, in float32."""
    past, x = qkv.permute(1, 2, 0).to(fir.dtype).tensor_split([LEAD], 1)
    q, k, v = shifted(x, fir, past)[0].chunk(3, -1)
    u = k * v
    y, state = modal_conv.prefill(u, log_poles, residues, initial)
    return (q * (y + skip * u)).to(qkv.dtype).permute(2, 0, 1), state


@torch.library.custom_op("eutectic::gated_modal_conv", mutates_args=())
def _op(
    qkv: Tensor, fir: Tensor, h: Tensor, into: Tensor, out: Tensor, decay: Tensor, initial: Tensor, lead: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, the state after, the gated inputs, and the states before each chunk."""
    launch = _Launch(qkv, decay, lead)
    y, u, last = qkv.new_empty(launch.shape), qkv.new_empty(launch.shape), torch.empty_like(initial)
    saved = y.new_empty(launch.saved)
    launch(forward, qkv, fir, h, into, out, decay, initial, y, u, saved, last)
    return y, last, u, saved


@torch.library.custom_op("eutectic::gated_modal_conv_backward", mutates_args=())
def _backward_op(
    dy: Tensor, dlast: Tensor, u: Tensor, saved: Tensor,
    qkv: Tensor, fir: Tensor, h: Tensor, into: Tensor, out: Tensor, decay: Tensor, lead: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    launch = _Launch(qkv, decay, lead)
    dq, du, dinitial = torch.empty_like(u), torch.empty_like(u), torch.empty_like(dlast)
    dh = h.new_empty(launch.groups, *h.shape, CHUNK)
    dinto, dout, ddecay = (t.new_empty(launch.groups, *t.shape) for t in (into, out, decay))
    launch(backward, qkv, fir, h, into, out, decay, u, saved, dy, dlast, dq, du, dh, dinto, dout, ddecay, dinitial)
    dqkv, dfir = fir_gate_backward(qkv, fir, dq, du, lead)
    dh, dinto, dout, ddecay = dh.sum((0, 3)), launch.sum(dinto), launch.sum(dout), launch.sum(ddecay)
    return dqkv, dfir, dh, dinto, dout, ddecay, dinitial


class _Launch:
    """Starts both kernels, which are cut alike: a program for each channel and group of `share` sequences."""

    def __init__(self, qkv: Tensor, decay: Tensor, lead: int):
        self.shape = D, batch, length = qkv.shape[0] // 3, qkv.shape[1], qkv.shape[2] - lead
        share = max(1, batch * D // PROGRAMS)
        self.groups, chunks = triton.cdiv(batch, share), triton.cdiv(length, CHUNK)
        self.saved = D, batch, triton.cdiv(chunks, CHUNKS) * CHUNKS, decay.shape[1]
        self._sizes = D, batch, length, share, chunks
        self._fixed = lead, length % (CHUNKS * CHUNK) == 0, CHUNK, CHUNKS, decay.shape[1] // 2

    def __call__(self, kernel: Any, *tensors: Tensor) -> None:
        grid = (self.groups * self.shape[0],)
        kernel[grid](*tensors, *self._sizes, *self._fixed, num_warps=1, num_stages=STAGES)

    def sum(self, by_group: Tensor) -> Tensor:
        return by_group.sum(0) if self.groups > 1 else by_group[0]


@_op.register_fake
def _(qkv, fir, h, into, out, decay, initial, lead):
    y = qkv.new_empty(len(h), qkv.shape[1], qkv.shape[2] - lead)
    return y, torch.empty_like(initial), torch.empty_like(y), y.new_empty(_Launch(qkv, decay, lead).saved)


@_backward_op.register_fake
def _(dy, dlast, u, saved, qkv, fir, h, into, out, decay, lead):
    return tuple(torch.empty_like(x) for x in (qkv, fir, h, into, out, decay, dlast))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, _, ctx.lead = inputs
    _, last, u, saved = output
    ctx.mark_non_differentiable(u, saved)
    ctx.set_materialize_grads(False)  # or zeros as large as they would be written
    ctx.save_for_backward(last, u, saved, *tensors)


def _differentiate(ctx: Any, dy: Tensor | None, dlast: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    last, u, saved, *tensors = ctx.saved_tensors
    dy = torch.zeros_like(u) if dy is None else dy.contiguous()
    dlast = torch.zeros_like(last) if dlast is None else dlast.contiguous()
    return *_backward_op(dy, dlast, u, saved, *tensors, ctx.lead), None


_op.register_autograd(_differentiate, setup_context=_keep)
