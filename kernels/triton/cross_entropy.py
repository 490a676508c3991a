"""Cross-entropy and its gradient in Triton, in place of the logits (Hsu et al. 2024, Liger Kernel): a program has a
row, which it reads twice, for the softmax's normalizer and then for the gradient that it leaves there."""

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST_COLUMNS = 8192  # of a row at once


def cross_entropy_(logits: Tensor, targets: Tensor, cap: float) -> Tensor:
    """The loss of every row of logits (rows, vocab), in float32; logits then hold its gradient in them.

    cap: as in kernels/reference/linear_cross_entropy.py; 0 for none.
    """
    rows, vocab = logits.shape
    losses = torch.empty(rows, device=logits.device, dtype=torch.float32)
    block = min(MOST_COLUMNS, triton.next_power_of_2(vocab))
    cross_entropy_row[(rows,)](
        logits, targets, losses, logits.stride(0), cap, VOCAB=vocab, CAPPED=cap > 0, BLOCK=block, num_warps=8
    )
    return losses


@triton.jit
def cross_entropy_row(
    logits, targets, losses, stride, cap, VOCAB: tl.constexpr, CAPPED: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    target = tl.load(targets + row)
    column = tl.arange(0, BLOCK)
    top = tl.full([BLOCK], -3.0e38, tl.float32)  # minus infinity less itself would be no number
    norm = tl.zeros([BLOCK], tl.float32)
    for first in range(0, VOCAB, BLOCK):
        at = first + column
        z, _ = capped(tl.load(logits + at, mask=at < VOCAB, other=0.0), cap, CAPPED)
        z = tl.where(at < VOCAB, z, float("-inf"))
        higher = tl.maximum(top, z)
        norm = norm * tl.exp(top - higher) + tl.exp(z - higher)
        top = higher
    highest = tl.max(top, 0)
    total = tl.sum(norm * tl.exp(top - highest), 0)  # its logarithm beside the highest would be rounded
    chosen, _ = capped(tl.load(logits + target), cap, CAPPED)
    tl.store(losses + row, highest - chosen + tl.log(total))
    for first in range(0, VOCAB, BLOCK):
        at = first + column
        z, slope = capped(tl.load(logits + at, mask=at < VOCAB, other=0.0), cap, CAPPED)
        gradient = (tl.exp(z - highest) / total - tl.where(at == target, 1.0, 0.0)) * slope
        tl.store(logits + at, gradient.to(logits.dtype.element_ty), mask=at < VOCAB)


@triton.jit
def capped(z, cap, CAPPED: tl.constexpr):
    """cap tanh(z / cap), and its slope."""
    z = z.to(tl.float32)
    slope = tl.full(z.shape, 1.0, tl.float32)
    if CAPPED:
        tanh = 2 * tl.sigmoid(2 * z / cap) - 1
        z, slope = cap * tanh, 1 - tanh * tanh
    return z, slope
