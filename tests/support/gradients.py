"""Comparison of a fast form with its oracle, in values and in gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor


def assert_equal(
    got: Sequence[Tensor], expected: Sequence[Tensor], inputs: Sequence[Tensor], tolerance: float = 1e-9
) -> None:
    """Values to `tolerance`, and to ten times that the gradients of one random sum of all outputs in all inputs."""
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    weights = [torch.randn_like(x) for x in expected]
    for a, b in zip(*(_gradients(outputs, weights, inputs) for outputs in (got, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=10 * tolerance)


def _gradients(outputs: Sequence[Tensor], weights: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    loss = torch.stack([(x * w).sum() for x, w in zip(outputs, weights, strict=True)]).sum()
    return torch.autograd.grad(loss, inputs)
