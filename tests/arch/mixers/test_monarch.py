"""The Monarch sequence mixer against its filter's Toeplitz matrix and the dense Monarch factors, in float64."""

import math

import pytest
import torch
from zoo import perturb

from eutectic.arch.base import LayerShape
from eutectic.arch.layers import short_conv
from eutectic.arch.mixers.monarch import Monarch
from eutectic.errors import UserError
from eutectic.kernels.reference.modal_conv import causal_conv
from eutectic.kernels.reference.monarch import monarch_conv


def _shape(d_model: int = 16, d_inner: int = 16) -> LayerShape:
    return LayerShape(d_model, d_inner, 2, 2, 24, 0, 2, 0.5)


@pytest.mark.parametrize(("d_model", "d_inner", "max_length"), [(16, 16, 1024), (8, 4, 50), (6, 12, 2)])
def test_it_is_the_toeplitz_matrix(d_model: int, d_inner: int, max_length: int) -> None:
    torch.manual_seed(1)
    mixer = perturb(Monarch(_shape(d_model, d_inner), max_length=max_length).double()).requires_grad_(False)
    x = torch.randn(2, 67, d_model, dtype=torch.float64)
    q, k, v = short_conv(mixer.qkv(x), mixer.fir, None)[0].chunk(3, -1)
    # windows fall to 1/100 after 1.5 max_length in the first channel, after 0.3 in the last
    rate = torch.linspace(math.log(100) / 1.5, math.log(100) / 0.3, d_inner, dtype=torch.float64)
    h = torch.zeros(d_inner, 67, dtype=torch.float64)
    for t in range(min(67, max_length)):
        h[:, t] = mixer.taps[:, t] * (-rate * t / (max_length - 1)).exp()
    u = k * v
    y = causal_conv(u, h)
    dense = torch.stack([monarch_conv(row.T, h, 14, 10).T for row in u])
    torch.testing.assert_close(dense, y, rtol=0, atol=1e-11 * float(y.abs().max()))
    expected = mixer.out(q * (y + mixer.skip * u))
    scale = float(expected.abs().max())
    torch.testing.assert_close(mixer(x), expected, rtol=0, atol=1e-11 * scale)
    assert (mixer.float()(x.float()) - expected).abs().max() < 1e-4 * scale


def test_beyond_max_length_it_forgets() -> None:
    """Steps and prefill equal forward where the state is full, and it holds no more than can be seen."""
    torch.manual_seed(2)
    mixer = perturb(Monarch(_shape(), max_length=20).double()).requires_grad_(False)
    x = torch.randn(2, 60, 16, dtype=torch.float64)
    expected = mixer(x)
    first, state = mixer.prefill(x[:, :7], mixer.init_state(2, 60))
    second, state = mixer.prefill(x[:, 7:45], state)
    rows = [first, second]
    for t in range(45, 60):
        y, state = mixer.step(x[:, t], state)
        rows.append(y[:, None])
    torch.testing.assert_close(torch.cat(rows, 1), expected, rtol=0, atol=1e-11 * float(expected.abs().max()))
    assert state[1][0].shape == (2, 20, 16)
    changed = x.clone()
    changed[:, 10] += 1
    difference = (mixer(changed) - expected).abs().amax((0, 2))
    # the FIRs carry it 2 tokens, the filter 19
    assert difference[10 + 2 + 19] > 1e-6
    assert difference[10 + 2 + 19 + 1 :].max() < 1e-12


def test_it_starts_with_energy_one() -> None:
    torch.manual_seed(0)
    mixer = Monarch(_shape(d_inner=512)).requires_grad_(False)
    energy = mixer.filter(1024).square().sum(1)
    assert energy.mean() == pytest.approx(1, rel=0.02)
    assert energy[:64].mean() == pytest.approx(1, rel=0.05)
    assert mixer.skip.std() == pytest.approx(1, rel=0.1)


def test_flops_by_hand() -> None:
    mixer = Monarch(_shape(), max_length=32)
    # 64 tokens, 16 channels; two gates and the skip
    rest = 64 * 16 * 4
    # 32 growing sums and 32 full ones
    assert mixer.flops(64, "recurrence").core == 2 * 16 * (32 * 33 // 2 + 32 * 32) + rest + 64 * 16 * 18
    # 95 points and more: 4 in a row, 24 rows of which 16 have inputs; 13 blocks
    monarch = 16 * (2 * (4 * 13 * 64 + 13 * 8 * 16) + 6 * 4 * 13)
    assert mixer.flops(64, "chunked").core == monarch + rest + 64 * 16 * 18
    assert mixer.flops(64, "fft").core == 16 * (2 * 2.5 * 128 * 7 + 6 * 65) + rest + 64 * 16 * 18
    assert mixer.flops(64, "fft").projection == 2 * 64 * 4 * 16 * 16


def test_it_refuses_one_token() -> None:
    with pytest.raises(UserError, match="monarch"):
        Monarch(_shape(), max_length=1)
