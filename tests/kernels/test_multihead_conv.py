"""The chunked multi-head convolution against both forms of the oracle, in values and gradients, whole and in parts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.kernels import multihead_conv
from eutectic.kernels.reference.modal_conv import modal_filter
from eutectic.kernels.reference.multihead_conv import masked_attention, outer_product_conv

HEADS, MODES, DIM = 3, 4, 5


def _inputs(length: int, complex_poles: bool, decay: float = 0.5) -> list[torch.Tensor]:
    """q, k, v, log p, R and D; decays of 0 to `decay` a token."""
    g = torch.Generator().manual_seed(length)
    q, k, v = torch.randn(3, 2, length, HEADS, DIM, generator=g, dtype=torch.float64)
    log_size = -torch.rand(HEADS, MODES, generator=g, dtype=torch.float64) * decay
    real, imag, angle = torch.randn(3, HEADS, MODES, generator=g, dtype=torch.float64)
    skip = torch.randn(HEADS, generator=g, dtype=torch.float64)
    if not complex_poles:
        return [q, k, v, log_size, real, skip]
    return [q, k, v, torch.complex(log_size, angle), torch.complex(real, imag), skip]


def _filter(log_poles: torch.Tensor, residues: torch.Tensor, skip: torch.Tensor, length: int) -> torch.Tensor:
    h = modal_filter(log_poles.exp(), residues, length)
    return torch.cat([h[:, :1] + skip[:, None], h[:, 1:]], 1)


def test_the_oracles_are_each_other_and_the_recurrence() -> None:
    q, k, v, log_poles, residues, skip = _inputs(37, complex_poles=True)
    h = _filter(log_poles, residues, skip, 37)
    outer = outer_product_conv(q, k, v, h)
    torch.testing.assert_close(masked_attention(q, k, v, h), outer, rtol=1e-12, atol=1e-12)
    state, rows = torch.zeros(2, HEADS, MODES, DIM, DIM, dtype=torch.complex128), []
    for t in range(37):
        kv = k[:, t, :, :, None] * v[:, t, :, None]
        state = state * log_poles.exp()[..., None, None] + kv[:, :, None]
        z = (state * residues[..., None, None]).sum(2).real + skip[:, None, None] * kv
        rows.append((z * q[:, t, :, :, None]).sum(2))
    torch.testing.assert_close(torch.stack(rows, 1), outer, rtol=1e-12, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 300), complex_poles=st.booleans(), decay=st.sampled_from([0.1, 2.0, 100.0]))
def test_chunks_equal_the_oracle(length: int, complex_poles: bool, decay: float) -> None:
    inputs = [t.requires_grad_() for t in _inputs(length, complex_poles, decay)]
    q, k, v, *parameters = inputs
    expected = masked_attention(q, k, v, _filter(*parameters, length))
    got = multihead_conv.chunked(*inputs)
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11 * scale)
    weight = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10 * float(b.abs().max()))


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunk_size_does_not_matter(chunk: int) -> None:
    inputs = _inputs(131, complex_poles=True)
    expected = multihead_conv.chunked(*inputs)
    torch.testing.assert_close(multihead_conv.chunked(*inputs, chunk=chunk), expected, rtol=1e-11, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(first=st.integers(1, 150), second=st.integers(1, 150), complex_poles=st.booleans())
def test_parts_equal_the_whole(first: int, second: int, complex_poles: bool) -> None:
    """Values and gradients through the state, and the state itself."""
    inputs = [t.requires_grad_() for t in _inputs(first + second, complex_poles)]
    *qkv, log_poles, residues, skip = inputs
    expected, state = multihead_conv.prefill(*inputs, None)
    before, after = ([x[:, :first] for x in qkv], [x[:, first:] for x in qkv])
    a, half = multihead_conv.prefill(*before, log_poles, residues, skip, None)
    b, whole = multihead_conv.prefill(*after, log_poles, residues, skip, half)
    got = torch.cat([a, b], 1)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(whole, state, rtol=1e-10, atol=1e-9)
    weight, other = torch.randn_like(expected), torch.randn_like(state)
    for x, y in zip(
        torch.autograd.grad((got * weight).sum() + (whole * other).sum(), inputs),
        torch.autograd.grad((expected * weight).sum() + (state * other).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-9 * float(y.abs().max()))


@pytest.mark.parametrize("decay", [0.01, 100.0])
def test_float32_is_accurate(decay: float) -> None:
    inputs = _inputs(700, complex_poles=True, decay=decay)
    expected = multihead_conv.chunked(*inputs)
    single = [x.to(torch.complex64 if x.is_complex() else torch.float32) for x in inputs]
    got = multihead_conv.chunked(*single)
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() < 2e-5 * expected.abs().max()
