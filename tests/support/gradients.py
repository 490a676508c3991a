"""Comparison of a fast form with its oracle, in values and in gradients."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

DRAWS = 8  # of inputs as rounding might have them


def assert_equal(
    got: Sequence[Tensor], expected: Sequence[Tensor], inputs: Sequence[Tensor], tolerance: float = 1e-9
) -> None:
    """Values to `tolerance`, and to ten times that the gradients of one random sum of all outputs in all inputs."""
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    weights = [torch.randn_like(x) for x in expected]
    for a, b in zip(*(_gradients(outputs, weights, inputs) for outputs in (got, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=10 * tolerance)


def outcome(run: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """y of the inputs, and the gradients in them of a random sum of y, the same for every run, in any precision."""
    inputs = [t.detach().requires_grad_() for t in inputs]
    y = run(*inputs)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    return [y.detach(), *torch.autograd.grad(y, inputs, weight.to(y))]


def assert_apart(run: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """NaN in the last sequence of the first of the inputs (batch, length, channels) shows in that sequence of y, and
    reaches no other, of y or of that input's gradient."""
    x, *rest = inputs
    spoilt = x.clone()
    spoilt[-1, x.shape[1] // 3] = torch.nan
    pairs = list(zip(outcome(run, inputs)[:2], outcome(run, [spoilt, *rest])[:2], strict=True))
    assert pairs[0][1][-1].isnan().any()
    for before, after in pairs:
        assert not before.isnan().any() and torch.equal(before[:-1], after[:-1])


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
    oracle: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    inputs: Sequence[Tensor],
    tolerance: float,
) -> None:
    """As assert_near; where the terms of a sum cancel, to ten times what rounding its terms makes of it.

    That is how far the oracle's outcome, of inputs in float64, is moved by one part in 2^23 of each input, at random:
    the root of the mean square over DRAWS, which no sum escapes by luck, as it may the rounding of one order of adding.
    """
    expected = [t.detach() for t in oracle(inputs)]
    errors = [float((a.detach() - b).norm()) for a, b in zip(got, expected, strict=True)]
    if all(error <= tolerance * float(b.norm()) for error, b in zip(errors, expected, strict=True)):
        return
    g = torch.Generator().manual_seed(0)
    squares = [0.0] * len(expected)
    for _ in range(DRAWS):
        moved = oracle(
            [t.detach() * (1 + 2**-23 * (2 * torch.rand(t.shape, generator=g) - 1).double()) for t in inputs]
        )
        squares = [s + float((a.detach() - b).norm()) ** 2 for s, a, b in zip(squares, moved, expected, strict=True)]
    for error, b, square in zip(errors, expected, squares, strict=True):
        lost = (square / DRAWS) ** 0.5
        assert error <= max(tolerance * float(b.norm()), 10 * lost), f"{error:.1e}, where {lost:.1e} are lost"


def _gradients(outputs: Sequence[Tensor], weights: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    loss = torch.stack([(x * w).sum() for x, w in zip(outputs, weights, strict=True)]).sum()
    return torch.autograd.grad(loss, inputs)
