"""Which implementation of an op runs where; arch/ asks here and nowhere else."""

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from eutectic.kernels import modal_conv
from eutectic.kernels.reference.attention import causal_attention

ModalConv = Callable[[Tensor, Tensor, Tensor], Tensor]
MODAL_CONVS: dict[str, ModalConv] = {
    "naive": modal_conv.naive,
    "fft": modal_conv.fft,
    "chunked": modal_conv.chunked,
}


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal grouped-query attention; shapes as kernels/reference/attention.py.

    float64 is for oracles and takes the reference, which torch's FLOP counter can also read.
    """
    if q.dtype.itemsize == 8:
        return causal_attention(q, k, v)
    return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
