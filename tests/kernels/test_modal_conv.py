"""The fast forms of the modal convolution against the oracle, in values and gradients, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.kernels import modal_conv
from eutectic.kernels.reference.modal_conv import causal_conv, modal_filter


def _inputs(length: int, complex_poles: bool) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(length)
    x = torch.randn(2, length, 3, generator=g, dtype=torch.float64)
    decay = -torch.rand(3, 4, generator=g, dtype=torch.float64) * 0.5
    real, imag = torch.randn(2, 3, 4, generator=g, dtype=torch.float64)
    if not complex_poles:
        return [x, decay, real]
    return [
        x,
        torch.complex(decay, torch.rand(3, 4, generator=g, dtype=torch.float64)),
        torch.complex(real, imag),
    ]


def test_oracle_is_the_recurrence() -> None:
    x, log_poles, residues = _inputs(37, complex_poles=True)
    state, rows = torch.zeros(2, 3, 4, dtype=torch.complex128), []
    for t in range(37):
        state = state * log_poles.exp() + x[:, t, :, None]
        rows.append((state * residues).sum(-1).real)
    y = causal_conv(x, modal_filter(log_poles.exp(), residues, 37))
    torch.testing.assert_close(y, torch.stack(rows, 1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["naive", "fft", "chunked"])
@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 400), complex_poles=st.booleans())
def test_forms_equal_the_oracle(form: str, length: int, complex_poles: bool) -> None:
    inputs = [t.requires_grad_() for t in _inputs(length, complex_poles)]
    x, log_poles, residues = inputs
    expected = causal_conv(x, modal_filter(log_poles.exp(), residues, length))
    got = modal_conv.FORMS[form](*inputs)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    weight = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunk_size_does_not_matter(chunk: int) -> None:
    inputs = _inputs(131, complex_poles=True)
    torch.testing.assert_close(
        modal_conv.chunked(*inputs, chunk=chunk), modal_conv.naive(*inputs), rtol=1e-11, atol=1e-11
    )


def _recurrence(
    x: torch.Tensor, log_poles: torch.Tensor, residues: torch.Tensor, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = []
    for t in range(x.shape[1]):
        state = state * log_poles.exp() + x[:, t, :, None]
        rows.append((state * residues).sum(-1).real)
    return torch.stack(rows, 1), state


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 150), complex_poles=st.booleans())
def test_prefill_goes_on_from_a_state(length: int, complex_poles: bool) -> None:
    """Values and gradients of the outputs and of the state after, in the inputs and in the state before."""
    x, log_poles, residues = _inputs(length, complex_poles)
    initial = torch.randn(2, 3, 4, dtype=residues.dtype, generator=torch.Generator().manual_seed(length + 1))
    inputs = [t.requires_grad_() for t in (x, log_poles, residues, initial)]
    expected = _recurrence(*inputs)
    got = modal_conv.prefill(*inputs)
    weights = [torch.randn_like(t) for t in expected]
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    losses = [sum((y * w).real.sum() for y, w in zip(pair, weights, strict=True)) for pair in (got, expected)]
    for a, b in zip(*(torch.autograd.grad(loss, inputs) for loss in losses), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max() + 1))


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 150), complex_poles=st.booleans())
def test_prefill_starts_from_nothing(length: int, complex_poles: bool) -> None:
    x, log_poles, residues = _inputs(length, complex_poles)
    got = modal_conv.prefill(x, log_poles, residues, None)
    for a, b in zip(got, _recurrence(x, log_poles, residues, torch.zeros_like(residues).repeat(2, 1, 1)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
