"""Cross-entropy of a linear head by chunks of tokens: no more logits exist at once than those of a chunk.

A chunk's gradients are taken while its logits are there, in the forward pass, and the backward pass only scales them
(Hsu et al. 2024, Liger Kernel): what is kept is as large as the inputs. To the compiler it is one operator. Nothing in
it adds in an order of the device's choice, and nothing waits for the device.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# 0.5 GB of them in float32, of 4096 tokens at a vocabulary of 32k: matmuls of that size fill a GPU
MOST_LOGITS = 2**27


def rows_at_once(tokens: int, vocab: int) -> int:
    """Of how many tokens the logits may exist at once: of all, where these are MOST_LOGITS or fewer."""
    return min(tokens, max(1, MOST_LOGITS // vocab))


def linear_cross_entropy(
    x: Tensor, weight: Tensor, targets: Tensor, cap: float, rows: int, fused: bool = False
) -> Tensor:
    """As kernels/reference/linear_cross_entropy.py, `rows` tokens at a time; differentiable once, in x and weight.

    Matmuls are in x's dtype, under autocast in autocast's. Softmax, loss and the sum of the weight's gradient over
    chunks are in float32 or wider. fused: gradients by kernels/triton/cross_entropy.py.
    """
    if torch.is_autocast_enabled(x.device.type):  # which knows nothing of operators that are not torch's own
        x = x.to(torch.get_autocast_dtype(x.device.type))
    if torch.is_grad_enabled():
        total = _with_gradients(x, weight, targets, cap, rows, fused)[0]
    else:
        narrow, parts = weight.to(x.dtype), zip(x.split(rows), targets.split(rows), strict=True)
        total = torch.stack([_loss(_logits(part, narrow, cap).log_softmax(1), own) for part, own in parts]).sum()
    return total / len(targets)


@torch.library.custom_op("eutectic::linear_cross_entropy", mutates_args=())
def _with_gradients(
    x: Tensor, weight: Tensor, targets: Tensor, cap: float, rows: int, fused: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, summed over tokens, and its gradients in x and in weight."""
    narrow, grad_x = weight.to(x.dtype), torch.empty_like(x)
    total, grad_weight = x.new_zeros((), dtype=_wide(x)), torch.zeros_like(weight, dtype=_wide(x))
    for part, own, into in zip(x.split(rows), targets.split(rows), grad_x.split(rows), strict=True):
        loss, into[:], more = _chunk(part, narrow, own, cap, fused)
        total += loss
        grad_weight += more
    return total, grad_x, grad_weight


@_with_gradients.register_fake
def _(x: Tensor, weight: Tensor, targets: Tensor, cap: float, rows: int, fused: bool) -> tuple[Tensor, Tensor, Tensor]:
    wide = _wide(x)
    return x.new_empty((), dtype=wide), torch.empty_like(x), torch.empty_like(weight, dtype=wide)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, grad_x, grad_weight = output
    ctx.mark_non_differentiable(grad_x, grad_weight)
    ctx.save_for_backward(grad_x, grad_weight)
    ctx.dtype = inputs[1].dtype


@once_differentiable
def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    grad_x, grad_weight = ctx.saved_tensors
    return grad_x * grad, (grad_weight * grad).to(ctx.dtype), None, None, None, None


_with_gradients.register_autograd(_backward, setup_context=_keep)


def _chunk(x: Tensor, weight: Tensor, targets: Tensor, cap: float, fused: bool) -> tuple[Tensor, Tensor, Tensor]:
    """As _with_gradients, of one chunk, all but the loss in x's dtype."""
    if fused:
        from eutectic.kernels.triton.cross_entropy import cross_entropy_  # torch for CPUs has no Triton

        grad = x @ weight.mT
        loss = cross_entropy_(grad, targets, cap).sum()
    else:
        loss, grad = _softmax(_logits(x, weight, cap), targets, cap)
        grad = grad.to(x.dtype)
    return loss, grad @ weight, grad.mT @ x


def _softmax(logits: Tensor, targets: Tensor, cap: float) -> tuple[Tensor, Tensor]:
    """The loss and its gradient in what logits were before the cap. Three floats a logit are held at most."""
    log_p, at = logits.log_softmax(1), targets[:, None]
    loss = _loss(log_p, targets)
    grad = log_p.exp_()
    grad.scatter_(1, at, grad.gather(1, at) - 1)
    if cap:
        grad *= 1 - logits.div_(cap).square_()
    return loss, grad


def _loss(log_p: Tensor, targets: Tensor) -> Tensor:
    return -log_p.gather(1, targets[:, None]).sum()


def _logits(x: Tensor, weight: Tensor, cap: float) -> Tensor:
    logits = (x @ weight.mT).to(_wide(x))
    return logits.div_(cap).tanh_().mul_(cap) if cap else logits


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
