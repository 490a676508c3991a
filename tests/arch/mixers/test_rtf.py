"""RTF against its companion form, and against what the paper evaluates at the roots of unity, in float64."""

import pytest
import torch
from zoo import perturb

from eutectic.arch.base import LayerShape
from eutectic.arch.layers import short_conv
from eutectic.arch.mixers.rtf import RTF
from eutectic.errors import UserError
from eutectic.kernels import rational
from eutectic.kernels.reference.rational import companion, difference_equation
from eutectic.kernels.reference.state_space import recurrence


def _shape(d_model: int = 16, d_inner: int = 16) -> LayerShape:
    return LayerShape(d_model, d_inner, 2, 2, 24, 0, 2, 0.5)


@pytest.mark.parametrize(
    ("d_model", "d_inner", "order", "stable"), [(16, 16, 64, True), (8, 4, 1, True), (6, 12, 5, False)]
)
def test_it_is_the_companion_form(d_model: int, d_inner: int, order: int, stable: bool) -> None:
    torch.manual_seed(1)
    mixer = perturb(RTF(_shape(d_model, d_inner), order=order, stable=stable).double()).requires_grad_(False)
    x = torch.randn(2, 131, d_model, dtype=torch.float64)
    q, k, v = short_conv(mixer.qkv(x), mixer.fir, None)[0].chunk(3, -1)
    u = k * v
    first = torch.eye(order, dtype=torch.float64)[0].expand(d_inner, order)
    a = mixer.denominator
    if stable:
        a = torch.where(a.norm(1, -1, keepdim=True) > 1, a / a.norm(1, -1, keepdim=True), a)
    after, _ = recurrence(u, companion(a), first, mixer.numerator)
    # x_{t+1} = A x_t + B u_t, y_t = C x_t + h_0 u_t
    y = torch.nn.functional.pad(after[:, :-1], (0, 0, 1, 0))
    scale = float(y.abs().max())
    torch.testing.assert_close(y, difference_equation(u, a, mixer.numerator), rtol=0, atol=1e-11 * scale)
    expected = mixer.out(q * (y + mixer.skip * u))
    scale = float(expected.abs().max())
    torch.testing.assert_close(mixer(x), expected, rtol=0, atol=1e-10 * scale)
    assert (mixer.float()(x.float()) - expected).abs().max() < 1e-4 * scale


def test_at_the_roots_of_unity_it_is_the_papers_up_to_periods() -> None:
    """FFT(b) / FFT(a) over L points is the response of b (I - A^L)^-1, or this response summed over periods of L."""
    torch.manual_seed(0)
    n, length = 3, 40
    a = torch.randn(2, n, dtype=torch.float64)
    a /= 1.2 * a.abs().sum(1, keepdim=True)
    b = torch.randn(2, n, dtype=torch.float64)
    spectrum = torch.fft.rfft(torch.nn.functional.pad(b, (1, 0)), length)
    paper = torch.fft.irfft(spectrum / torch.fft.rfft(torch.nn.functional.pad(a, (1, 0), value=1.0), length), length)
    periods = rational.impulse_response(a, b, 30 * length).view(2, 30, length).sum(1)
    torch.testing.assert_close(paper, periods, rtol=1e-10, atol=1e-12)
    around = torch.eye(n, dtype=torch.float64) - torch.linalg.matrix_power(companion(a), length)
    corrected = torch.linalg.solve(around, b[:, None], left=False)[:, 0]
    ours = rational.impulse_response(a, corrected, length)
    torch.testing.assert_close(paper[:, 1:], ours[:, 1:], rtol=1e-10, atol=1e-12)


def test_it_starts_as_the_paper_says() -> None:
    torch.manual_seed(0)
    mixer = RTF(_shape(d_inner=4096)).requires_grad_(False)
    assert mixer.denominator.shape == mixer.numerator.shape == (4096, 64)
    assert not mixer.denominator.any() and not mixer.numerator.any()
    assert mixer.skip.mean() == pytest.approx(0, abs=0.06)
    assert mixer.skip.std() == pytest.approx(1, rel=0.05)


def test_stable_is_stable_and_else_as_the_paper() -> None:
    torch.manual_seed(0)
    free, stable = RTF(_shape(), order=6, stable=False), RTF(_shape(), order=6)
    for mixer in (free, stable):
        torch.nn.init.normal_(mixer.denominator, generator=torch.Generator().manual_seed(1))
    radius = [torch.linalg.eigvals(companion(m.coefficients()[0])).abs().amax() for m in (free, stable)]
    assert radius[0] > 1.5
    assert radius[1] <= 1 + 1e-6
    torch.nn.init.constant_(stable.denominator, 1 / 7)
    assert torch.equal(stable.coefficients()[0], stable.denominator)


def test_flops_by_hand() -> None:
    mixer = RTF(_shape(), order=4)
    # 128 tokens, 16 channels: 18 of the FIRs, two gates, h_0
    rest = 128 * 16 * (18 + 2 + 2)
    assert mixer.flops(128, "recurrence").core == 128 * 16 * 2 * 8 + rest
    fft = 16 * (2 * 2.5 * 256 * 8 + 6 * 129) + rest
    assert mixer.flops(128, "fft").core == mixer.flops(128, "chunked").core == fft
    assert mixer.flops(128, "fft").projection == 2 * 128 * 4 * 16 * 16


def test_it_refuses_no_order() -> None:
    with pytest.raises(UserError, match="rtf"):
        RTF(_shape(), order=0)
