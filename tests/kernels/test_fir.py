"""The blocked FIR against the formula, in values and gradients, in float64; in parts; and in float32."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.kernels import fir
from eutectic.kernels.reference.fir import grouped_fir


def _inputs(length: int, n: int, groups: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(length)
    x = torch.randn(2, length, 6, generator=g, dtype=torch.float64)
    return [x, torch.randn(groups, n, generator=g, dtype=torch.float64)]


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 70), n=st.sampled_from([1, 2, 7, 16]), groups=st.sampled_from([1, 2, 6]))
def test_blocks_equal_the_formula(length: int, n: int, groups: int) -> None:
    inputs = [t.requires_grad_() for t in _inputs(length, n, groups)]
    got, expected = fir.blocked(*inputs, None)[0], grouped_fir(*inputs)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@settings(max_examples=20, deadline=None)
@given(first=st.integers(1, 40), second=st.integers(1, 40), n=st.sampled_from([1, 3, 16]))
def test_parts_equal_the_whole(first: int, second: int, n: int) -> None:
    x, taps = _inputs(first + second, n, 2)
    expected = grouped_fir(x, taps)
    a, past = fir.blocked(x[:, :first], taps, None)
    b, past = fir.blocked(x[:, first:], taps, past)
    torch.testing.assert_close(torch.cat([a, b], 1), expected, rtol=1e-12, atol=1e-12)
    padded = torch.nn.functional.pad(x, (0, 0, n - 1, 0))
    assert torch.equal(past, padded[:, first + second :])


@pytest.mark.parametrize("length", [1, 127, 300])
def test_float32_is_accurate(length: int) -> None:
    x, taps = _inputs(length, 128, 3)
    got = fir.blocked(x.float(), taps.float(), None)[0]
    expected = grouped_fir(x, taps)
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()
