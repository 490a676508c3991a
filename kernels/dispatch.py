"""Which implementation of an op runs where; arch/ asks here for ops that have several."""

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from eutectic.kernels import modal_conv, window_attention
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
