"""Distillation: known systems come back, any filter's error falls with the order, and theory's bounds hold."""

import math

import pytest
import torch
from torch import Tensor

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.hyena_implicit import ImplicitFilter
from eutectic.arch.mixers.rtf import RTF
from eutectic.errors import UserError
from eutectic.inference import distill as distillery
from eutectic.inference import hankel, modal_fit
from eutectic.inference.convert import Modal
from eutectic.inference.distill import distill
from eutectic.kernels import rational
from eutectic.kernels.modal_conv import impulse_response


def order_8(length: int = 512, real: bool = False) -> Tensor:
    """Five channels of four pairs, or of three pairs and two real poles."""
    g = torch.Generator().manual_seed(0)
    angle = torch.linspace(0.3, 2.8, 4 + real, dtype=torch.float64).repeat(5, 1)
    if real:
        angle[:, 0], angle[:, -1] = 0, math.pi
    decay = -0.01 - 0.1 * torch.rand(5, 4 + real, generator=g, dtype=torch.float64)
    residues = torch.randn(5, 4 + real, generator=g, dtype=torch.complex128)
    residues = residues + residues.real.sign()
    return Modal(torch.complex(decay, angle), residues, torch.ones(5, dtype=torch.float64)).response(length)


def implicit(channels: int, length: int) -> Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return ImplicitFilter(channels, length, 33, 1.0)(length)


def rtf(channels: int, length: int) -> Tensor:
    torch.manual_seed(0)
    mixer = RTF(LayerShape(channels, channels, 1, 1, channels, 0, 1, 1.0), order=64)
    with torch.no_grad():
        mixer.denominator.normal_()
        mixer.numerator.normal_()
        return rational.impulse_response(*mixer.coefficients(), length)


def fir(channels: int, length: int, taps: int = 128) -> Tensor:
    """That ends: padded to at least twice its length."""
    h = torch.randn(channels, taps, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.pad(h, (0, length - taps))


@pytest.mark.parametrize("real", [False, True])
def test_a_system_of_order_8_comes_back_as_such(real: bool) -> None:
    h = order_8(real=real)
    modal, report = distill(h, 16, 1e-9)
    assert report.order.tolist() == [8] * 5
    assert report.modes.tolist() == [4 + real] * 5 and modal.log_poles.shape == (5, 4 + real)
    torch.testing.assert_close(modal.response(len(h[0])), h, rtol=0, atol=1e-8)
    assert float(report.error.max()) < 1e-11
    assert bool(report.within_bound.all())


def test_float32_is_taken_and_answered_in_float64() -> None:
    h = order_8()
    modal, report = distill(h.float(), 16, 1e-4)
    assert modal.log_poles.dtype == torch.complex128 and report.order.tolist() == [8] * 5
    torch.testing.assert_close(modal.response(512), h, rtol=0, atol=1e-6)


def test_each_channel_gets_its_own_order_whatever_its_scale() -> None:
    """And a filter of nothing but h_0 gets none."""
    h = torch.zeros(4, 200, dtype=torch.float64)
    t = torch.arange(200, dtype=torch.float64)
    h[0], h[1], h[2, 0] = 1e12 * 0.9**t, 1e-12 * (0.8**t - 2 * (-0.7) ** t), 3.0
    h[3] = 0.95**t * torch.cos(0.5 * t)
    modal, report = distill(h, 8, 1e-6)
    assert report.order.tolist() == [1, 2, 0, 2] and report.modes.tolist() == [1, 2, 0, 1]
    assert (modal.residues != 0).sum(1).tolist() == [1, 2, 0, 1]
    size = h.abs().amax(1, keepdim=True)
    torch.testing.assert_close(modal.response(200) / size, h / size, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["implicit", "rtf", "fir"])
def test_the_error_falls_with_the_order_and_keeps_its_bounds(kind: str) -> None:
    """The upper one only where h has decayed, which implicit filters have not."""
    h = {"implicit": implicit, "rtf": rtf, "fir": fir}[kind](12, 512)
    errors = []
    for order in (2, 4, 8, 16, 32):
        modal, report = distill(h, order, 1e-9)
        errors.append(report.error)
        wrong = (h.double() - modal.response(512)).norm(dim=1)
        torch.testing.assert_close(wrong / h[:, 1:].double().norm(dim=1), report.error, rtol=1e-6, atol=1e-12)
        assert bool((report.error <= report.start).all())
        assert bool((report.lower <= report.peak * (1 + 1e-3)).all())
        assert kind == "implicit" or bool(report.within_bound.all())
        assert float(modal.log_poles.real.max()) < 0
        assert (report.order == order).all() and int(report.modes.max()) <= order
    assert float((report.error / report.start).mean()) < 0.95
    table = torch.stack(errors)
    assert bool((table[1:].mean(1) < 0.97 * table[:-1].mean(1)).all())
    assert bool((table[1:] < table[:-1] * 1.02).all())


@pytest.mark.parametrize("taps", [9, 128])
def test_an_fir_of_few_taps_is_kept_by_as_many_states(taps: int) -> None:
    """Its poles are all at 0, where no mode is: modes on a circle repeat it, far smaller."""
    h = fir(4, 2 * taps, taps)
    _, report = distill(h, taps - 1, 1e-9)
    assert float(report.error.max()) < 1e-3


def test_refinement_finds_displaced_poles() -> None:
    """Pairs, real poles and idle modes; only the right slopes converge to rounding in so few steps."""
    h = order_8(real=True)
    begun = modal_fit.modes_of(hankel.shift_poles(hankel.factor(h, 8).vectors))
    moved = begun.log_poles.clone()
    moved.real *= 1.1
    moved.imag += 0.01 * hankel.is_pair(moved)
    idle = torch.full((5, 1), -1.0 + 0j, dtype=torch.complex128)
    used = torch.cat([begun.used, torch.zeros(5, 1, dtype=torch.bool)], 1)
    start = modal_fit.fitted(h[:, 1:], modal_fit.Modes(torch.cat([moved, idle], 1), used))
    found = modal_fit.refined(h[:, 1:], start, 12)
    size = h[:, 1:].square().sum(1)
    assert float((start.loss / size).min()) > 1e-4
    assert float((found.loss / size).max()) < 1e-25
    torch.testing.assert_close(found.modes.log_poles[:, :-1], begun.log_poles, rtol=0, atol=1e-11)
    assert not found.amplitudes[:, -1].any()


def test_filters_that_have_not_decayed_may_begin_as_ones_that_end() -> None:
    """Kung's poles for these two are unstable; brought into the circle they end at 0.013 and 0.044."""
    _, report = distill(implicit(24, 512)[:2], 32, 1e-9)
    assert float(report.start.max()) < 0.02 and float(report.error.max()) < 0.012


def test_growing_filters_become_stable_ones() -> None:
    h = 1.002 ** torch.arange(300, dtype=torch.float64)[None]
    modal, report = distill(h, 4)
    assert float(modal.log_poles.real.max()) < 0 and float(report.error) <= float(report.start)


def test_parts_are_distilled_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    h = torch.cat([order_8(real=True), order_8()])
    whole = distill(h, 12, 1e-3)
    monkeypatch.setattr(distillery, "CPU_AT_ONCE", 3 * 512)
    parts = distill(h, 12, 1e-3)
    assert torch.equal(parts[1].order, whole[1].order)
    torch.testing.assert_close(parts[0].response(512), whole[0].response(512), rtol=0, atol=1e-7)


def test_what_cannot_be_distilled_is_refused() -> None:
    h = torch.randn(3, 100)
    for order in (0, 50):
        with pytest.raises(UserError, match=f"filters of 100 taps cannot be distilled to an order of up to {order}; "):
            distill(h, order)
    h[1, 7] = torch.nan
    with pytest.raises(UserError, match="channel 1 of the filter is not finite"):
        distill(h, 4)


def test_poles_that_would_fall_together_are_kept_apart() -> None:
    """Left to itself, refinement takes a pair to the real axis in one of these channels, to no gain."""
    t = torch.arange(128, dtype=torch.float64)
    h = torch.randn(24, 128, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.98**t
    rounding, errors = [], []
    for cancel in (math.inf, 30.0):
        modal, report = distill(h, 4, 1e-12, cancel=cancel)
        turned = torch.complex(modal.log_poles.real, modal.log_poles.exp().angle())
        exact = modal.response(128)
        single = impulse_response(turned.to(torch.complex64), modal.residues.to(torch.complex64), 128)
        single[:, 0] += modal.skip
        rounding.append(float(((single - exact).norm(dim=1) / exact.norm(dim=1)).max()))
        errors.append(float(report.error.mean()))
    assert rounding[0] > 1e-3 and rounding[1] < 1e-4
    assert errors[1] < 1.01 * errors[0]
