"""Matmuls of sorted rows with one matrix per group, as mixtures of experts have them: no row is padded or dropped.

In bfloat16 on a GPU it is one kernel. Elsewhere it is a matmul per group, which the compiler sees as one operator,
since groups' sizes are data and shapes must not depend on data.
"""

from typing import Any

import torch
from torch import Tensor

# torch's kernel wants rows that start at multiples of 16 bytes
ALIGNMENT = 8


def grouped_matmul(x: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """As kernels/reference/grouped_matmul.py; x and weights of one dtype."""
    aligned = weights.shape[1] % ALIGNMENT == 0 and weights.shape[2] % ALIGNMENT == 0
    if x.is_cuda and x.dtype == torch.bfloat16 and aligned:
        return torch._grouped_mm(x, weights, offs=counts.cumsum(0, dtype=torch.int32))
    return _opaque(x, weights, counts) if torch.compiler.is_compiling() else _by_group(x, weights, counts)


def _by_group(x: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    return torch.cat([rows @ w for rows, w in zip(x.split(counts.tolist()), weights, strict=True)])


@torch.library.custom_op("eutectic::grouped_matmul", mutates_args=())
def _opaque(x: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    return _by_group(x, weights, counts)


@torch.library.custom_op("eutectic::grouped_outer", mutates_args=())
def _outer(x: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    """x' y of each group, (groups, d_in, d_out): the gradient of its matrix."""
    sizes = counts.tolist()
    return torch.stack([a.mT @ b for a, b in zip(x.split(sizes), y.split(sizes), strict=True)])


@_opaque.register_fake
def _(x: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    return x.new_empty(len(x), weights.shape[2])


@_outer.register_fake
def _(x: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    return x.new_empty(len(counts), x.shape[1], y.shape[1])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    x, weights, counts = ctx.saved_tensors
    return _opaque(grad, weights.mT, counts), _outer(x, grad, counts), None


_opaque.register_autograd(_backward, setup_context=_keep)
