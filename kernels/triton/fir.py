"""The causal FIR whose channels share filters in groups as a differentiable op: of few taps in registers, of more on
tensor cores; equal to kernels/reference/fir.py."""

from typing import Any

import torch
from torch import Tensor

from eutectic.kernels.fir import FEW_TAPS
from eutectic.kernels.triton import fir_grouped, fir_short


@torch.library.custom_op("eutectic::fir", mutates_args=())
def fir(x: Tensor, taps: Tensor) -> Tensor:
    """y of x (batch, length, channels) in float32 or bfloat16, and like it; taps (groups, n),
    n up to MOST_TAPS of kernels/fir.py."""
    return _form(taps).forward(_in_rows(x), taps.contiguous())


@torch.library.custom_op("eutectic::fir_backward", mutates_args=())
def _backward_op(x: Tensor, dy: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
    dx, dtaps = _form(taps).backward(_in_rows(x), _in_rows(dy), taps.contiguous())
    return dx, dtaps.to(taps.dtype).contiguous()


def _form(taps: Tensor) -> Any:
    return fir_short if taps.shape[1] <= FEW_TAPS else fir_grouped


def _in_rows(x: Tensor) -> Tensor:
    """x with its channels side by side; the steps may be any stride apart, as those of a part of a projection are."""
    return x if x.stride(2) == 1 else x.contiguous()


@fir.register_fake
def _(x, taps):
    return x.new_empty(x.shape)


@_backward_op.register_fake
def _(x, dy, taps):
    return x.new_empty(x.shape), torch.empty_like(taps)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
    x, taps = ctx.saved_tensors
    return _backward_op(x, dy, taps)


fir.register_autograd(_differentiate, setup_context=_keep)
