"""The rational transfer function's filter against its difference equation, in values and gradients, in float64."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.kernels import long_conv, rational
from eutectic.kernels.reference.rational import companion, difference_equation
from eutectic.kernels.reference.state_space import recurrence


def _inputs(length: int, order: int, size: float = 0.8, channels: int = 3) -> list[torch.Tensor]:
    """u, a and b, with a's poles within a circle of radius `size`."""
    g = torch.Generator().manual_seed(length + order)
    u = torch.randn(2, length, channels, generator=g, dtype=torch.float64)
    a, b = torch.randn(2, channels, order, generator=g, dtype=torch.float64)
    # sum |a_i| < 1 keeps the poles within the unit circle, and a_i r^i moves them to within r
    a = a / a.abs().sum(1, keepdim=True) * size ** torch.arange(1, order + 1)
    return [u, a, b]


def _conv(u: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return long_conv.fft(u, rational.impulse_response(a, b, u.shape[1]))


def _same(got: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance * float(expected.detach().abs().max() + 1))


def _same_gradients(got: torch.Tensor, expected: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    weight = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad((got * weight).sum(), inputs, materialize_grads=True),
        torch.autograd.grad((expected * weight).sum(), inputs, materialize_grads=True),
        strict=True,
    ):
        _same(one, other)


@settings(max_examples=15, deadline=None)
@given(length=st.integers(1, 150), order=st.integers(1, 20), size=st.sampled_from([0.1, 0.9, 1.0, 1.05]))
def test_it_is_the_difference_equation(length: int, order: int, size: float) -> None:
    inputs = [t.requires_grad_() for t in _inputs(length, order, size)]
    expected = difference_equation(*inputs)
    got = _conv(*inputs)
    _same(got, expected)
    _same_gradients(got, expected, inputs)


@settings(max_examples=15, deadline=None)
@given(length=st.integers(2, 150), order=st.integers(1, 20), data=st.data())
def test_it_goes_on_from_a_state(length: int, order: int, data: st.DataObject) -> None:
    u, a, b = inputs = [t.requires_grad_() for t in _inputs(length, order)]
    cut = data.draw(st.integers(1, length - 1))
    start = torch.zeros(2, order, 3, dtype=torch.float64)
    first, past = rational.prefill(u[:, :cut], a, b, start)
    second, past = rational.prefill(u[:, cut:], a, b, past)
    expected, got = difference_equation(u, a, b), torch.cat([first, second], 1)
    _same(got, expected)
    rows, state = [], start
    for t in range(length):
        y, state = rational.step(u[:, t], a, b, state)
        rows.append(y)
    _same(torch.stack(rows, 1), expected)
    _same(past, state)
    _same_gradients(got, expected, inputs)


def test_both_are_the_companion_form() -> None:
    """x_{t+1} = A x_t + B u_t, y_t = C x_t, with B = e_1 and C = b."""
    u, a, b = _inputs(60, 5)
    e1 = torch.eye(5, dtype=torch.float64)[0].expand(3, 5)
    after, last = recurrence(u, companion(a), e1, b)
    y = torch.nn.functional.pad(after[:, :-1], (0, 0, 1, 0))
    _same(_conv(u, a, b), y)
    _same(rational.prefill(u, a, b, torch.zeros(2, 5, 3, dtype=torch.float64))[1], last.transpose(1, 2).flip(1))


def test_float32_is_close_over_a_long_sequence() -> None:
    inputs = _inputs(5000, 64, 0.999)
    expected = _conv(*inputs)
    got = _conv(*(t.float() for t in inputs))
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()
