"""Attention of one new token to a cache, in torch; as kernels/reference/decode_attention.py."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def masked(q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
    """Over all slots, those beyond a row's length masked: what they hold must be finite."""
    seen = torch.arange(keys.shape[1], device=q.device) < lengths[:, None]
    k, v = keys.transpose(1, 2), values.transpose(1, 2)
    grouped = q.shape[1] != k.shape[1]
    return scaled_dot_product_attention(q[:, :, None], k, v, seen[:, None, None], enable_gqa=grouped)[:, :, 0]
