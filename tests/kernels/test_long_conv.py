"""The FFT convolution against the Toeplitz matrix, in values and gradients, in float64; its step; and in float32."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.kernels import long_conv
from eutectic.kernels.reference.modal_conv import causal_conv


def _inputs(length: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(length)
    x = torch.randn(2, length, 3, generator=g, dtype=torch.float64)
    return [x, torch.randn(3, length, generator=g, dtype=torch.float64)]


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 300))
def test_fft_equals_the_toeplitz_matrix(length: int) -> None:
    inputs = [t.requires_grad_() for t in _inputs(length)]
    got, expected = long_conv.fft(*inputs), causal_conv(*inputs)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)
    weight = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 40))
def test_step_is_the_last_output(length: int) -> None:
    x, h = _inputs(length)
    torch.testing.assert_close(long_conv.step(x, h), causal_conv(x, h)[:, -1], rtol=1e-12, atol=1e-12)


def test_bf16_inputs_are_convolved_in_the_filters_precision() -> None:
    x, h = _inputs(1000)
    x = x.bfloat16()
    expected = causal_conv(x.double(), h)
    got = long_conv.fft(x, h.float())
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()
