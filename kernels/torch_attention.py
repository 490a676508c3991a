"""Causal attention by torch's scaled_dot_product_attention."""

from contextlib import nullcontext

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
        return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
