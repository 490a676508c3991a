"""The three forms of a filter into each other: round trips at 1e-10 in float64, and refusals where they cannot be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eutectic.errors import UserError
from eutectic.inference import convert, hankel
from eutectic.inference.convert import Modal, Rational
from eutectic.kernels import modal_conv, rational
from eutectic.kernels.reference.rational import difference_equation

CHANNELS = 3
LENGTH = 300


@st.composite
def apart(draw: st.DrawFn, most_pairs: int = 3) -> Modal:
    """Filters of well-separated poles: pairs by their angles, and at most one real pole of either sign."""
    pairs = draw(st.integers(0, most_pairs))
    real = [sign for sign in (0.0, math.pi) if draw(st.booleans())] or ([0.0] if not pairs else [])
    g = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    shape = (CHANNELS, pairs + len(real))
    size = 0.5 + 0.45 * torch.rand(shape, generator=g, dtype=torch.float64)
    slots = (torch.arange(pairs) + 0.6 + 0.4 * torch.rand(CHANNELS, pairs, generator=g, dtype=torch.float64)) / (
        pairs + 1
    )
    angle = torch.cat([math.pi * slots, torch.tensor(real, dtype=torch.float64).expand(CHANNELS, -1)], 1)
    residues = torch.randn(shape, generator=g, dtype=torch.complex128)
    residues = residues / residues.abs() * (0.5 + torch.rand(shape, generator=g, dtype=torch.float64))
    residues.imag[:, pairs:] = 0
    residues.real[:, pairs:] += residues.real[:, pairs:].sign()
    return Modal(torch.complex(size.log(), angle), residues, torch.randn(CHANNELS, generator=g, dtype=torch.float64))


def order(modal: Modal) -> int:
    """Of its first channel."""
    return int(sum(2 if 0 < float(angle) < math.pi else 1 for angle in modal.log_poles[0].imag))


def same(got: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


def same_modes(got: Modal, expected: Modal) -> None:
    """In whichever order."""
    assert got.log_poles.shape == expected.log_poles.shape
    distance = (got.log_poles.exp()[:, None] - expected.log_poles.exp()[..., None]).abs()
    pick = distance.argmin(2)
    same(got.log_poles.gather(1, pick).exp(), expected.log_poles.exp())
    same(got.residues.gather(1, pick), expected.residues)
    same(got.skip, expected.skip)


@settings(max_examples=40, deadline=None)
@given(modal=apart())
def test_modal_to_rational_and_back(modal: Modal) -> None:
    form = convert.modal_to_rational(modal)
    same(form.response(LENGTH), modal.response(LENGTH))
    same_modes(convert.rational_to_modal(form), modal)
    again = convert.modal_to_rational(convert.rational_to_modal(form))
    n = order(modal)
    same(again.a[:, :n], form.a[:, :n])
    same(again.b[:, :n], form.b[:, :n])
    assert not form.a[:, n:].any() and not form.b[:, n:].any()


@settings(max_examples=40, deadline=None)
@given(modal=apart())
def test_responses_give_either_form_back(modal: Modal) -> None:
    h, n = modal.response(LENGTH), order(modal)
    same_modes(convert.response_to_modal(h, n), modal)
    form, expected = convert.response_to_rational(h, n), convert.modal_to_rational(modal)
    for got, wanted in zip(form, (expected.h_0, expected.a[:, :n], expected.b[:, :n]), strict=True):
        same(got, wanted)


def test_real_modes_stay_half_as_many() -> None:
    log_poles = torch.tensor([[0.9, -0.5, 0.2]], dtype=torch.float64)
    poles = log_poles.clone()
    modal = Modal(poles.abs().log(), torch.tensor([[1.0, 2.0, -3.0]], dtype=torch.float64), torch.zeros(1))
    form = convert.modal_to_rational(modal)
    assert form.a.shape == (1, 3)
    same(form.a[0], torch.tensor([-1.6, 0.73, -0.09], dtype=torch.float64), 1e-15)  # (1 - .9x)(1 - .5x)(1 - .2x)
    same(form.response(50), modal.response(50), 1e-13)


def test_a_negative_real_pole_in_float32_counts_once() -> None:
    """Its angle is pi but for 9e-8."""
    log_poles = torch.tensor([[-0.5 + 1j * math.pi, -0.3 + 1j]], dtype=torch.complex64)
    modal = Modal(log_poles, torch.ones_like(log_poles), torch.zeros(1))
    form = convert.modal_to_rational(modal, 1e-5)
    assert form.a[0, 3] == 0 and form.a[0, 2] != 0
    same(form.response(100).float(), modal.response(100), 1e-6)
    assert float(hankel.modal_values(*modal[:2])[0, 3]) < 1e-12


def test_the_rational_form_is_the_kernels_and_the_modal_one_too() -> None:
    """By the difference equation, from rest, of inputs."""
    g = torch.Generator().manual_seed(0)
    u = torch.randn(2, 60, CHANNELS, generator=g, dtype=torch.float64)
    modal = _eight_poles()
    h_0, a, b = convert.modal_to_rational(modal)
    y = difference_equation(u, a, b) + h_0 * u
    same(modal_conv.naive(u, *modal[:2]) + modal.skip * u, y, 1e-12)


def test_states_move_with_their_forms() -> None:
    """Both forms go on alike from a state that one of them left."""
    g = torch.Generator().manual_seed(0)
    u = torch.randn(2, 60, CHANNELS, generator=g, dtype=torch.float64)
    modal = _eight_poles()
    modal.residues[0, 0], modal.residues.imag[1, 1], modal.log_poles.imag[1, 1] = 0, 0, 0
    form = convert.modal_to_rational(modal)
    rest = torch.zeros(2, 8, CHANNELS, dtype=torch.float64)
    _, past = rational.prefill(u[:, :40], form.a, form.b, rest)
    _, state = modal_conv.prefill(u[:, :40], *modal[:2], None)
    used = modal.residues != 0
    same(convert.state_to_modal(past, form, modal), state * used, 1e-11)
    y, _ = rational.prefill(u[:, 40:], form.a, form.b, convert.state_to_rational(state * used, modal, form))
    expected, _ = rational.prefill(u[:, 40:], form.a, form.b, past)
    same(y, expected, 1e-11)


def test_many_poles_around_the_circle_convert_as_rtf_has_them() -> None:
    """64 coefficients, normal, of poles within the unit circle; multiplied as they come, factors would cancel."""
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, CHANNELS, 64, generator=g, dtype=torch.float64)
    form = Rational(torch.ones(CHANNELS, dtype=torch.float64), a / a.abs().sum(1, keepdim=True), b)
    modal = convert.rational_to_modal(form)
    same(modal.response(LENGTH), form.response(LENGTH))
    again = convert.modal_to_rational(modal)
    same(again.a[:, :64], form.a)
    same(again.b[:, :64], form.b)


def test_small_roots_come_out_as_exactly_as_large_ones() -> None:
    """Polished: the companion matrix' eigenvalues alone are up to 7e-14 off here."""
    g = torch.Generator().manual_seed(0)
    size = 0.01 + 0.97 * torch.rand(200, 6, generator=g, dtype=torch.float64)
    turn = (torch.arange(6) + 0.2 + 0.6 * torch.rand(200, 6, generator=g, dtype=torch.float64)) / 6
    modal = Modal(torch.complex(size.log(), math.pi * turn), torch.ones_like(size) + 0j, torch.zeros(200).double())
    found = convert.rational_to_modal(convert.modal_to_rational(modal), 1e-4).log_poles.exp()
    poles = modal.log_poles.exp()
    assert float(((found[:, None] - poles[..., None]).abs().amin(2) / poles.abs()).max()) < 1e-14


def test_slow_poles_convert_where_transforms_would_lose_them() -> None:
    """Two pairs that remember 1 and 256 steps, as StripedHyena's begin: kernels/rational.py is 1e-2 off or more."""
    log_poles = torch.tensor([[-1 + 1j, -1 / 256 + 0.006j]], dtype=torch.complex128)
    modal = Modal(log_poles, torch.ones_like(log_poles), torch.zeros(1, dtype=torch.float64))
    h_0, a, b = form = convert.modal_to_rational(modal)
    expected = modal.response(2048)
    same(form.response(2048), expected)
    assert float((rational.impulse_response(a, b, 2048) - expected)[:, 1:].abs().max()) > 1e-2
    assert float(h_0) == 2


def test_poles_at_zero_that_nothing_uses_are_left_out() -> None:
    start = Rational(torch.tensor([3.0]), torch.zeros(1, 4), torch.zeros(1, 4))  # as RTF begins
    modal = convert.rational_to_modal(start)
    assert not modal.residues.any()
    same(modal.response(5), torch.tensor([[3.0, 0, 0, 0, 0]], dtype=torch.float64), 0)
    assert not convert.modal_to_rational(modal).a.any()


def test_fir_is_rational_but_not_modal() -> None:
    h = torch.zeros(1, 60, dtype=torch.float64)
    h[0, :6] = torch.tensor([1.0, -0.5, 0.3, 0.2, -0.7, 0.4])
    form = convert.response_to_rational(h, 5)
    same(form.response(60), h)
    same(form.b, h[:, 1:6], 1e-9)
    for refused in (lambda: convert.response_to_modal(h, 5), lambda: convert.rational_to_modal(form)):
        with pytest.raises(UserError, match="channel 0 cannot be converted"):
            refused()


@settings(max_examples=60, deadline=None)
@given(gap=st.floats(-9, 0), seed=st.integers(0, 10**6), modes=st.integers(2, 6))
def test_any_answer_is_right_and_the_rest_is_refused(gap: float, seed: int, modes: int) -> None:
    """Two poles as close as may be, others anywhere: within ten tolerances of what they were, or a UserError."""
    g = torch.Generator().manual_seed(seed)
    log_poles = torch.complex(
        torch.log(0.99 * torch.rand(1, modes, generator=g, dtype=torch.float64)),
        math.pi * torch.rand(1, modes, generator=g, dtype=torch.float64),
    )
    log_poles[0, 1] = (log_poles[0, 0].exp() * (1 - 10**gap)).log()
    modal = Modal(log_poles, torch.randn(1, modes, generator=g, dtype=torch.complex128), torch.zeros(1).double())
    tolerance = 1e-6
    try:
        form = convert.modal_to_rational(modal, tolerance)
        same(form.response(LENGTH), modal.response(LENGTH), 10 * tolerance)
        found = convert.rational_to_modal(form, tolerance)
    except UserError as error:
        assert "channel 0 cannot be converted" in str(error)
        return
    distance = (found.log_poles.exp()[:, None] - modal.log_poles.exp()[..., None]).abs()
    pick = distance.argmin(2)
    same(found.log_poles.gather(1, pick).exp(), modal.log_poles.exp(), 10 * tolerance)
    same(found.residues.gather(1, pick), modal.residues, 10 * tolerance)


def test_close_poles_are_refused_with_the_channel() -> None:
    double = torch.tensor([[-0.5, 0.06], [-1.0, 0.25]], dtype=torch.float64)  # channel 1: (1 - z^-1 / 2)^2
    form = Rational(torch.zeros(2), double, torch.ones(2, 2))
    with pytest.raises(UserError, match=r"channel 1 cannot be converted: poles.*too close.*keep the rational form"):
        convert.rational_to_modal(form)
    convert.rational_to_modal(Rational(*(part[:1] for part in form)))
    near_one = torch.linspace(-0.001, -0.02, 12, dtype=torch.float64)[None]
    with pytest.raises(UserError, match=r"channel 0 cannot be converted: its poles are too close to 1.*fewer modes"):
        convert.modal_to_rational(Modal(near_one, torch.ones_like(near_one), torch.zeros(1)))


def test_unstable_poles_are_refused_with_the_channel() -> None:
    log_poles = torch.tensor([[-0.1], [0.02]], dtype=torch.float64)
    with pytest.raises(UserError, match=r"channel 1 has an unstable pole of size 1\.02020"):
        convert.modal_to_rational(Modal(log_poles, torch.ones(2, 1), torch.zeros(2)))
    unstable = Rational(torch.zeros(2), torch.tensor([[-0.5], [1.0]]), torch.ones(2, 1))
    with pytest.raises(UserError, match="channel 1 has an unstable pole of size 1;"):
        convert.rational_to_modal(unstable)
    h = 1.01 ** torch.arange(100, dtype=torch.float64)[None]
    with pytest.raises(UserError, match=r"channel 0 has an unstable pole of size 1\.01;"):
        convert.response_to_modal(h, 1)


def test_wrong_orders_are_refused() -> None:
    h = _eight_poles().response(LENGTH)
    for to in (convert.response_to_modal, convert.response_to_rational):
        with pytest.raises(UserError, match="its response is not of order 7"):
            to(h, 7)
        with pytest.raises(UserError, match=r"channel \d cannot be converted: singular value 9 .* give a lower order"):
            to(h, 9)
        with pytest.raises(UserError, match="a response of 300 steps cannot show an order of 150; give 302 steps"):
            to(h, 150)


def _eight_poles() -> Modal:
    g = torch.Generator().manual_seed(3)
    angle = torch.linspace(0.4, 2.7, 4, dtype=torch.float64).repeat(CHANNELS, 1)
    log_poles = torch.complex(-0.05 - 0.2 * torch.rand(CHANNELS, 4, generator=g, dtype=torch.float64), angle)
    residues = torch.randn(CHANNELS, 4, generator=g, dtype=torch.complex128)
    return Modal(log_poles, residues, torch.ones(CHANNELS, dtype=torch.float64))
