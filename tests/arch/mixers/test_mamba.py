"""Mamba's start, weight decay and FLOPs; tests/arch/importers/test_mamba.py holds it to transformers' model."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.mamba import Mamba
from eutectic.arch.model import build
from eutectic.config import ModelConfig, OptimConfig
from eutectic.errors import UserError
from eutectic.kernels import selective_scan
from eutectic.train.optim import adamw

SHAPE = LayerShape(d_model=24, d_inner=12, n_heads=2, n_kv_heads=1, d_ffn=48, layer=0, n_layers=2, out_scale=0.5)


def test_starts_as_published() -> None:
    """Sections 3.6 and the authors' code, in a built model: nothing later overwrites what the mixer has set."""
    config = ModelConfig("mamba", 2, 512, 8, 8, 48, 50, channel="none")
    for block in build(config, 0).layers():
        mixer = block.mixer
        assert isinstance(mixer, Mamba)
        assert mixer.dt_rank == 32
        torch.testing.assert_close(mixer.rates(), -torch.arange(1.0, 17.0).repeat(1024, 1))
        assert mixer.D.tolist() == [1.0] * 1024
        log_steps = F.softplus(mixer.dt_bias).log10()
        assert -3.001 < log_steps.min() < -2.99 and -1.01 < log_steps.max() < -0.999
        assert log_steps.mean().item() == pytest.approx(-2, abs=0.06)
        for uniform, bound in (
            (mixer.dt_proj.weight, 32**-0.5),
            (mixer.taps, 0.5),
            (mixer.conv_bias, 0.5),
        ):
            assert uniform.abs().max().item() == pytest.approx(bound, rel=0.01)
            assert uniform.std().item() == pytest.approx(bound * 3**-0.5, rel=0.05)
        for matrix, fan_in in ((mixer.in_proj.weight, 512), (mixer.x_proj.weight, 1024)):
            assert matrix.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.02)
        assert mixer.out.weight.std().item() == pytest.approx(0.5 * 1024**-0.5, rel=0.02)


def test_weight_decay_spares_rates_and_steps() -> None:
    mixer = Mamba(SHAPE)
    decayed, spared = (group["params"] for group in adamw(mixer, OptimConfig(lr=1e-3)).param_groups)
    names = {parameter: name for name, parameter in mixer.named_parameters()}
    assert {names[p] for p in spared} == {"A_log", "D", "dt_bias", "conv_bias"}
    assert {names[p] for p in decayed} == {
        "taps",
        *(f"{part}.weight" for part in ("in_proj", "x_proj", "dt_proj", "out")),
    }


@pytest.mark.parametrize("length", [63, 64, 150])
def test_segments_change_nothing(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    mixer, x = Mamba(SHAPE).double(), torch.randn(2, length, 24, dtype=torch.float64)
    whole = mixer(x)
    monkeypatch.setattr(selective_scan, "SEGMENT", 64)
    torch.testing.assert_close(mixer(x), whole, rtol=1e-12, atol=1e-12)


def test_core_flops_by_hand() -> None:
    """100 tokens, 24 channels of 5 modes, dt_rank ceil(24 / 16) = 2."""
    mixer = Mamba(SHAPE, d_state=5)
    # FIR 2*4 + 1, skip 2, gate 1
    beside = 100 * 24 * 12
    assert mixer.flops(100, "recurrence").core == 100 * 24 * (1 + 5 * 6) + beside
    chunked = 100 * 24 * (1 + 5 * 10) + beside
    assert mixer.flops(100, "chunked").core == mixer.flops(100, "fft").core == chunked
    assert mixer.flops(100, "chunked").projection == 2 * 100 * (24 * 48 + 24 * 12 + 2 * 24 + 24 * 24)


def test_a_share_of_the_width_keeps_the_bottleneck() -> None:
    assert Mamba(dataclasses.replace(SHAPE, d_model=100)).dt_rank == 7
    assert Mamba(SHAPE, dt_rank=5).dt_rank == 5


@pytest.mark.parametrize("option", ["d_state", "expand", "dt_rank"])
def test_sizes_that_cannot_be_are_refused(option: str) -> None:
    with pytest.raises(UserError, match=f"{option}=-1"):
        Mamba(SHAPE, **{option: -1})
