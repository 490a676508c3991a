"""Mamba-2's start, weight decay and FLOPs; tests/arch/importers/test_mamba2.py holds it to transformers' model."""

import pytest
import torch
from torch.nn import functional as F

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.mamba2 import Mamba2
from eutectic.arch.model import build
from eutectic.config import ModelConfig, OptimConfig
from eutectic.errors import UserError
from eutectic.train.optim import adamw

SHAPE = LayerShape(d_model=24, d_inner=16, n_heads=2, n_kv_heads=1, d_ffn=48, layer=0, n_layers=2, out_scale=0.5)


def test_starts_as_published() -> None:
    """The authors' code, in a built model: public ports let a generic initialization overwrite A_log and dt_bias."""
    config = ModelConfig("mamba2", 2, 512, 256, 256, 48, 50, channel="none")
    for block in build(config, 0).layers():
        mixer = block.mixer
        assert isinstance(mixer, Mamba2)
        assert (mixer.d_state, mixer.n_heads, mixer.d_head, mixer.n_groups) == (128, 512, 2, 1)
        rates = -mixer.rates()
        assert 1 <= rates.min() < 1.2 and 15.8 < rates.max() <= 16
        assert rates.mean().item() == pytest.approx(8.5, abs=0.6)
        log_steps = F.softplus(mixer.dt_bias).log10()
        assert -3.001 < log_steps.min() < -2.98 and -1.02 < log_steps.max() < -0.999
        assert log_steps.mean().item() == pytest.approx(-2, abs=0.08)
        assert mixer.D.tolist() == [1.0] * 512 and mixer.gain.tolist() == [1.0] * 1024
        for uniform in (mixer.taps, mixer.conv_bias):
            assert uniform.abs().max().item() == pytest.approx(0.5, rel=0.01)
            assert uniform.std().item() == pytest.approx(0.5 * 3**-0.5, rel=0.05)
        assert mixer.in_proj.weight.std().item() == pytest.approx((3 * 512) ** -0.5, rel=0.02)
        assert mixer.out.weight.std().item() == pytest.approx(0.5 * 1024**-0.5, rel=0.02)


def test_weight_decay_spares_rates_and_steps() -> None:
    mixer = Mamba2(SHAPE)
    decayed, spared = (group["params"] for group in adamw(mixer, OptimConfig(lr=1e-3)).param_groups)
    names = {parameter: name for name, parameter in mixer.named_parameters()}
    assert {names[p] for p in spared} == {"A_log", "D", "dt_bias", "conv_bias", "gain"}
    assert {names[p] for p in decayed} == {"taps", "in_proj.weight", "out.weight"}


def test_core_flops_by_hand() -> None:
    """128 tokens in 2 chunks, 4 heads of 8 in 2 groups, 4 rows of state: 32 channels, 48 convolved."""
    mixer = Mamba2(SHAPE, d_state=4, n_groups=2)
    # FIR 2*4 + 1 on 48, dt u 1, skip 2, gate 1 on 32, dt A on 4 heads
    beside = 128 * (9 * 48 + 4 * 32 + 4)
    assert mixer.flops(128, "recurrence").core == 128 * 5 * 32 * 4 + beside
    # C B' 2 groups * 2*64*4, with u 4 heads * 2*64*8, states in and out 4 * 2*2*4*8
    matmul = 128 * (1024 + 4096 + 512)
    # decays of 64 places and 3*8 a head and token, and states of 4 * 32 in 2 chunks
    chunked = matmul + 128 * 4 * (64 + 24) + 2 * 4 * 2 * 32 + beside
    assert mixer.flops(128, "chunked").core == mixer.flops(128, "fft").core == chunked
    projection = 2 * 128 * (24 * (32 + 48 + 4) + 32 * 24)
    assert mixer.flops(128, "chunked").projection == projection
    assert mixer.flops(128, "chunked").matmul == projection + matmul


@pytest.mark.parametrize("n_groups", [1, 2, 4])
def test_groups_step_as_they_scan(n_groups: int) -> None:
    torch.manual_seed(1)
    mixer, x = Mamba2(SHAPE, d_state=3, n_groups=n_groups).double(), torch.randn(2, 70, 24, dtype=torch.float64)
    expected, _ = mixer.prefill(x, None)
    state = mixer.init_state(2, 70)
    for t in range(70):
        y, state = mixer.step(x[:, t], state)
        torch.testing.assert_close(y, expected[:, t], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", [{"d_state": 0}, {"expand": -1}, {"n_groups": 0}, {"n_groups": 3}])
def test_sizes_that_cannot_be_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match="{}={}".format(*next(iter(options.items())))):
        Mamba2(SHAPE, **options)
