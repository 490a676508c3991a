"""Causal attention by torch's scaled_dot_product_attention."""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from eutectic.kernels import window_attention
from eutectic.kernels.reference.attention import visible

# a GPU's, the fastest first: torch takes the first that can, and not cuDNN's where sums must be in a fixed order
BACKENDS = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def attend(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """As kernels/reference/attention.py."""
    queries, keys = q.shape[2], k.shape[2]
    grouped = q.shape[1] != k.shape[1]
    if queries != keys:
        seen = visible(queries, keys, window, q.device)
        return scaled_dot_product_attention(q, k, v, seen, enable_gqa=grouped)
    if window and window < queries:
        return window_attention.blocked(q, k, v, window)
    with sdpa_kernel(BACKENDS, set_priority=True) if q.is_cuda else nullcontext():
        y = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    return _OneLayout.apply(y) if q.is_cuda and q.dtype.itemsize == 2 else y  # cuDNN takes no other


class _OneLayout(torch.autograd.Function):
    """Has gradients lie in memory as the output does, (batch, length, heads, dim).

    Torch (2.11) keeps cuDNN's plan of a backward pass by the shapes and strides of all but this gradient: one that lay
    otherwise than the first of its shape would be misread, silently.
    """

    @staticmethod
    def forward(ctx: object, y: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def backward(ctx: object, dy: Tensor) -> Tensor:
        return dy.transpose(1, 2).contiguous().transpose(1, 2)
