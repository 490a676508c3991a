"""The Monarch convolution against the Toeplitz matrix and the dense Monarch factors, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from eutectic.kernels import monarch
from eutectic.kernels.reference.modal_conv import causal_conv
from eutectic.kernels.reference.monarch import fourier, monarch_conv


def _inputs(length: int, taps: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(length + taps)
    return [
        torch.randn(2, length, 3, generator=g, dtype=torch.float64),
        torch.randn(3, taps, generator=g, dtype=torch.float64),
    ]


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 300), taps=st.integers(1, 300))
def test_it_is_the_toeplitz_matrix(length: int, taps: int) -> None:
    x, h = inputs = [t.requires_grad_() for t in _inputs(length, taps)]
    expected = causal_conv(x, torch.nn.functional.pad(h, (0, max(0, length - taps))))
    got = monarch.causal_conv(x, h)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-11 * float(expected.detach().abs().max() + 1))
    weight = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10 * float(other.abs().max() + 1))


@pytest.mark.parametrize(("n1", "n2"), [(2, 1), (6, 2), (8, 4)])
def test_the_dense_factors_are_the_fourier_matrix(n1: int, n2: int) -> None:
    k = torch.arange(n1 * n2, dtype=torch.float64)
    torch.testing.assert_close(fourier(n1, n2), torch.exp(-2j * math.pi * k[:, None] * k / (n1 * n2)))


@pytest.mark.parametrize(("length", "taps"), [(1, 1), (9, 9), (40, 11)])
def test_it_is_the_product_of_the_dense_factors(length: int, taps: int) -> None:
    x, h = _inputs(length, taps)
    got = monarch.causal_conv(x, h)
    expected = torch.stack([monarch_conv(row.T, h, *monarch.points(length, taps)).T for row in x])
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("length", "taps"), [(1, 1), (50, 9), (256, 1024)])
def test_its_matmuls_are_counted(length: int, taps: int) -> None:
    x, h = _inputs(length, taps)
    with FlopCounterMode(display=False) as counter:
        monarch.causal_conv(x[:1], h)
    assert counter.get_total_flops() == 3 * monarch.matmul_flops(length, taps)


def test_it_costs_less_than_the_toeplitz_matrix() -> None:
    """By hand: 2048 points of 1024 positions are 128 x 16, 65 of 128 blocks computed, on 64 rows."""
    assert monarch.points(1024, 1024) == (128, 16)
    assert monarch.matmul_flops(1024, 1024) == 2 * (2 * 130 * 64 * 16 + 65 * 2 * 32**2)
    assert monarch.matmul_flops(1024, 1024) < 0.4 * 2 * 1024**2


def test_float32_is_close_over_a_long_sequence() -> None:
    x, h = _inputs(5000, 1024)
    expected = monarch.causal_conv(x, h)
    assert (monarch.causal_conv(x.float(), h.float()) - expected).abs().max() < 1e-5 * expected.abs().max()
