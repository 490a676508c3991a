"""S4D against the dense state space that the paper starts from, discretized and recurrent in float64."""

import math

import pytest
import torch
from zoo import perturb

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.s4d import S4D
from eutectic.errors import UserError
from eutectic.kernels.reference.state_space import recurrence, zero_order_hold


def _shape(d_model: int = 16, d_inner: int = 16, n_heads: int = 2) -> LayerShape:
    return LayerShape(d_model, d_inner, n_heads, n_heads, 24, 0, 2, 0.5)


def dense(ssm: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A and B discretized, and C, with both of each conjugate pair (Gu et al. 2022, section 3)."""
    half = torch.complex(-ssm.log_decay.exp(), ssm.angle)
    a = torch.diag_embed(torch.cat([half, half.conj()], -1))
    held, b = zero_order_hold(a, torch.ones_like(torch.cat([half, half], -1)), ssm.log_dt.exp())
    c = torch.complex(*ssm.readout.unbind(-1))
    return held, b, torch.cat([c, c.conj()], -1)


@pytest.mark.parametrize(
    ("d_model", "d_inner", "options"),
    [(16, 16, {}), (8, 4, {"d_state": 8, "init": "inv"}), (4, 12, {"d_state": 2})],
)
def test_it_is_the_discretized_state_space(d_model: int, d_inner: int, options: dict) -> None:
    torch.manual_seed(1)
    mixer = perturb(S4D(_shape(d_model, d_inner), **options).double()).requires_grad_(False)
    x = torch.randn(2, 131, d_model, dtype=torch.float64)
    u = mixer.into(x)
    y, _ = recurrence(u.to(torch.complex128), *dense(mixer.ssm))
    assert y.imag.abs().max() < 1e-10 * y.real.abs().max()
    expected = mixer.out(torch.nn.functional.gelu(y.real + mixer.ssm.skip * u))
    torch.testing.assert_close(mixer(x), expected, rtol=1e-9, atol=1e-10 * float(expected.abs().max()))
    single = mixer.float()(x.float())
    assert (single - expected).abs().max() < 1e-4 * expected.abs().max()


def test_it_starts_as_the_paper_says() -> None:
    torch.manual_seed(0)
    ssm = S4D(_shape(d_inner=4096)).requires_grad_(False).ssm
    assert torch.equal(ssm.angle[7], math.pi * torch.arange(32))
    torch.testing.assert_close(-ssm.log_decay.exp(), torch.full((4096, 32), -0.5))
    dt = ssm.log_dt.exp()
    assert dt.min() >= 1e-3 and dt.max() <= 1e-1
    assert dt.log().mean() == pytest.approx(math.log(1e-2), abs=0.06)
    assert ssm.log_dt.std() == pytest.approx(math.log(100) / 12**0.5, rel=0.03)
    assert torch.complex(*ssm.readout.unbind(-1)).abs().square().mean() == pytest.approx(1, rel=0.02)
    assert ssm.skip.mean() == pytest.approx(0, abs=0.06)
    assert ssm.skip.std() == pytest.approx(1, rel=0.05)
    inverse = S4D(_shape(), d_state=4, init="inv").ssm.angle[0]
    torch.testing.assert_close(inverse, torch.tensor([3, 1 / 3]) * 4 / math.pi)


def test_flops_by_hand() -> None:
    mixer = S4D(_shape(), d_state=8)
    # 128 tokens, 16 channels, 4 modes, chunks of 64; the skip is 2 a token and channel
    skip = 2 * 128 * 16
    assert mixer.flops(128, "recurrence").core == 128 * 16 * 4 * 12 + skip
    assert mixer.flops(128, "chunked").core == 16 * (2 * 128 * (64 + 16) + 8 * 4) + skip
    assert mixer.flops(128, "fft").core == 16 * (2 * 2.5 * 256 * 8 + 6 * 129) + skip
    assert mixer.flops(128, "fft").projection == 2 * 128 * 2 * 16 * 16


def test_a_cast_leaves_the_phases_exact() -> None:
    mixer = S4D(_shape())
    before = mixer.ssm.modes()[0]
    mixer.bfloat16()
    assert mixer.out.weight.dtype == torch.bfloat16
    assert torch.equal(mixer.ssm.modes()[0], before)


@pytest.mark.parametrize("options", [{"d_state": 7}, {"d_state": 0}, {"init": "hippo"}])
def test_it_refuses(options: dict) -> None:
    with pytest.raises(UserError, match="s4d"):
        S4D(_shape(), **options)
