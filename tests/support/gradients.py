"""Comparison of a fast form with its oracle, in values and in gradients."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn


def assert_equal(
    got: Sequence[Tensor], expected: Sequence[Tensor], inputs: Sequence[Tensor], tolerance: float = 1e-9
) -> None:
    """Values to `tolerance`, and to ten times that the gradients of one random sum of all outputs in all inputs."""
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    weights = [torch.randn_like(x) for x in expected]
    for a, b in zip(*(_gradients(outputs, weights, inputs) for outputs in (got, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=10 * tolerance)


def outcome(run: Callable[..., Tensor], inputs: Sequence[Tensor], absolute: bool = False) -> list[Tensor]:
    """y of the inputs, and the gradients in them of a random sum of y, the same for every run, in any precision.

    absolute: of what is all made positive, which of sums of products gives the sums of their terms' sizes.
    """
    size = torch.abs if absolute else torch.clone
    inputs = [size(t.detach()).requires_grad_() for t in inputs]
    y = run(*inputs)
    weight = size(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16())
    return [y.detach(), *torch.autograd.grad(y, inputs, weight.to(y))]


def by_paths(layer: nn.Module, x: Tensor, paths: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """By each forced implementation: what a layer makes of x, and the gradients of a random sum of it in x and all
    parameters."""
    x, outcomes = x.requires_grad_(), []
    weight = torch.randn(x.shape)
    for path in paths:
        monkeypatch.setenv("EUTECTIC_KERNELS", path)
        y = layer(x)
        outcomes.append([y, *torch.autograd.grad(y, [x, *layer.parameters()], weight)])
    return outcomes


def assert_near(got: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    """Each to a relative error in L2."""
    for a, b in zip(got, expected, strict=True):
        error, size = float((a.to(b) - b).detach().norm()), float(b.detach().norm())
        assert error <= tolerance * size, f"{error:.1e} of {size:.1e}"


def assert_to_rounding(
    got: Sequence[Tensor],
    single: Sequence[Tensor],
    expected: Sequence[Tensor],
    tolerance: float,
    terms: Sequence[Tensor] | None = None,
) -> None:
    """As assert_near; where the terms of a sum cancel, to ten times what the oracle, `single`, loses in float32, or to
    float32's rounding of the terms, whose sizes add up to `terms`: the oracle may be lucky."""
    for a, b, c, t in zip(got, single, expected, terms or [torch.zeros(())] * len(expected), strict=True):
        error, lost = float((a - c).detach().norm()), float((b - c).detach().norm())
        allowed = max(tolerance * float(c.detach().norm()), 10 * lost, 2**-24 * float(t.norm()))
        assert error <= allowed, f"{error:.1e}, where {lost:.1e} are lost"


def _gradients(outputs: Sequence[Tensor], weights: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    loss = torch.stack([(x * w).sum() for x, w in zip(outputs, weights, strict=True)]).sum()
    return torch.autograd.grad(loss, inputs)
