"""Hyena with implicit filters against its paper's formula in float64; any length; FLOPs by hand; its start."""

import cmath
import dataclasses
import math

import pytest
import torch
from public import assert_same
from zoo import perturb, stepped

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.hyena_implicit import HyenaImplicit
from eutectic.errors import UserError

SHAPE = LayerShape(d_model=24, d_inner=24, n_heads=4, n_kv_heads=4, d_ffn=48, layer=0, n_layers=2, out_scale=0.5)
SHAPES = [SHAPE, dataclasses.replace(SHAPE, d_inner=4), dataclasses.replace(SHAPE, d_inner=40)]


def _mixer(shape: LayerShape, **options: float) -> HyenaImplicit:
    torch.manual_seed(3)
    return perturb(HyenaImplicit(shape, **options)).double()


def _filter(mixer: HyenaImplicit, length: int, max_length: int, features: int) -> torch.Tensor:
    """h_t = Window(t) FFN(PositionalEncoding(t)) (eq. 7), time by time: features of complex exponentials, and a window
    exp(-alpha t) whose decay runs over channels from 1e-2 in 1.5 of the time span to 1e-2 in 0.3 of it.
    """
    bands, channels = (features - 1) // 2, mixer.d_inner
    parameters = mixer.filter.state_dict()
    rows = []
    for s in range(length):
        t = s / (max_length - 1)
        steps = [1e-4 + i * (bands - 1 - 1e-4) / max(bands - 1, 1) for i in range(bands)]
        z = [cmath.exp(-2j * math.pi * f * s / max_length) for f in steps]
        x = torch.tensor([t, *(e.real for e in z), *(e.imag for e in z)], dtype=torch.float64)
        for layer in range(3):
            x = parameters[f"hidden.{layer}.weight"] @ x + parameters[f"hidden.{layer}.bias"]
            x = torch.sin(parameters["frequency"] * x)
        x = parameters["last.weight"] @ x
        slow, fast = math.log(100) / 1.5, math.log(100) / 0.3
        alphas = [slow + c * (fast - slow) / (channels - 1) for c in range(channels)]
        rows.append(x * torch.tensor([math.exp(-a * t) for a in alphas], dtype=torch.float64))
    return torch.stack(rows)


@pytest.mark.parametrize("options", [{}, {"max_length": 60, "features": 5, "frequency": 1.0}])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_paper(shape: LayerShape, options: dict[str, float]) -> None:
    """Also beyond max_length, where the features go on."""
    mixer = _mixer(shape, **options)
    x = torch.randn(2, 90, 24, dtype=torch.float64)
    h = _filter(mixer, 90, int(options.get("max_length", 2048)), int(options.get("features", 33)))
    u = torch.nn.functional.pad(x @ mixer.qkv.weight.T, (0, 0, 2, 0))
    q, k, v = sum(mixer.fir[:, lag] * u[:, 2 - lag : 92 - lag] for lag in range(3)).chunk(3, -1)
    kv = k * v
    conv = torch.stack([sum(h[t - s] * kv[:, s] for s in range(t + 1)) for t in range(90)], 1)
    with torch.no_grad():
        assert_same(mixer(x), (q * (conv + mixer.skip * kv)) @ mixer.out.weight.T, 1e-9)


def test_steps_beyond_max_length_as_forward() -> None:
    mixer = _mixer(SHAPE, max_length=20)
    x = torch.randn(2, 50, 24, dtype=torch.float64)
    assert_same(stepped(mixer, x), mixer(x), 1e-11)


def test_the_filter_does_not_know_the_sequences_length() -> None:
    mixer = _mixer(SHAPE)
    torch.testing.assert_close(mixer.filter(50), mixer.filter(300)[:, :50], rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [1, 300])
def test_a_float32_filter_is_accurate(length: int) -> None:
    mixer = _mixer(SHAPE)
    exact = mixer.filter(length)
    assert_same(mixer.float().filter(length).double(), exact, 1e-4)


def test_the_filter_stays_in_float32_in_a_bfloat16_model() -> None:
    mixer = _mixer(SHAPE).float()
    exact = mixer.filter(100)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mixer.filter(100), exact)
    mixer = mixer.bfloat16()
    assert mixer.qkv.weight.dtype == torch.bfloat16
    assert torch.equal(mixer.filter(100), exact)


@pytest.mark.parametrize("algorithm", ["recurrence", "chunked", "fft"])
def test_core_flops_by_hand(algorithm: str) -> None:
    """FFTs, FIRs of 3 x 3 taps, two gates and the skip; torch sees the network of 33 features and two inner layers."""
    flops = HyenaImplicit(SHAPE).flops(128, algorithm)
    network = 2 * 128 * (33 * 64 + 2 * 64 * 64 + 64 * 24)
    assert flops.core == 24 * (2 * 2.5 * 256 * 8 + 6 * 129) + 128 * 24 * (18 + 4)
    assert flops.matmul == flops.projection + network


def test_starts_as_the_public_code() -> None:
    torch.manual_seed(0)
    mixer = HyenaImplicit(dataclasses.replace(SHAPE, d_inner=4096))
    assert torch.equal(mixer.filter.frequency, torch.full((64,), 14.0))
    for layer, d_in in zip([*mixer.filter.hidden, mixer.filter.last], [33, 64, 64, 64], strict=True):
        # uniform within 1 / sqrt(d_in)
        assert layer.weight.std().item() == pytest.approx((3 * d_in) ** -0.5, rel=0.05)
        assert layer.weight.abs().max() <= d_in**-0.5
    assert [layer.bias is None for layer in [*mixer.filter.hidden, mixer.filter.last]] == [False] * 3 + [True]
    assert mixer.skip.mean().abs() < 0.1
    assert mixer.skip.std().item() == pytest.approx(1, rel=0.05)
    assert all(p.no_weight_decay and p.lr_scale == 0.1 for p in mixer.filter.parameters())


def test_refuses_features_that_do_not_pair() -> None:
    with pytest.raises(UserError, match="cannot have 4 features"):
        HyenaImplicit(SHAPE, features=4)
    with pytest.raises(UserError, match="a max_length of 1;"):
        HyenaImplicit(SHAPE, max_length=1)
