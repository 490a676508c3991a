"""Which implementation of an op runs where; arch/ asks here for ops that have several."""

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from eutectic.kernels import choice, modal_conv, window_attention
from eutectic.kernels.reference.attention import causal_attention, visible

ModalConv = Callable[[Tensor, Tensor, Tensor], Tensor]
MODAL_CONVS: dict[str, ModalConv] = {
    "naive": modal_conv.naive,
    "fft": modal_conv.fft,
    "chunked": modal_conv.chunked,
}


def attention(q: Tensor, k: Tensor, v: Tensor, window: int | None = None) -> Tensor:
    """Causal grouped-query attention; shapes and window as kernels/reference/attention.py.

    float64 is for oracles and takes the reference, which torch's FLOP counter can also read.
    """
    queries, keys = q.shape[2], k.shape[2]
    if q.dtype.itemsize == 8:
        return causal_attention(q, k, v, window)
    grouped = q.shape[1] != k.shape[1]
    if queries != keys:
        seen = visible(queries, keys, window, q.device)
        return scaled_dot_product_attention(q, k, v, seen, enable_gqa=grouped)
    if window and window < queries:
        return window_attention.blocked(q, k, v, window)
    return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)


@torch.compiler.assume_constant_result
def fuses_modal_conv(device: str, dtype: torch.dtype) -> bool:
    """Whether gated_modal_conv is quicker than its parts one by one: in bfloat16 on a GPU."""
    forced = choice.forced()
    if importlib.util.find_spec("triton") is None or forced not in (None, "triton"):
        return False
    fuses = forced == "triton" or (device == "cuda" and dtype == torch.bfloat16)
    if fuses:
        choice.say("gated modal convolution", "one Triton kernel for FIRs, gates and convolution")
    return fuses


def gated_modal_conv(qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor) -> Tensor:
    """As kernels/reference/gated_modal_conv.py, but (channels, batch, length), as kernels/triton/ has it."""
    from eutectic.kernels.triton.gated_modal_conv import gated_modal_conv as fused  # torch for CPUs has no Triton

    return fused(qkv, fir, log_poles, residues, skip)
