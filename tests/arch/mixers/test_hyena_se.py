"""Hyena-SE and Hyena-MR against their paper's formulas with torch's conv1d, in float64; FLOPs by hand; their start."""

import dataclasses

import pytest
import torch
from public import assert_same
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from zoo import perturb, stepped

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.hyena_mr import HyenaMR
from eutectic.arch.mixers.hyena_se import HyenaSE
from eutectic.errors import UserError

SHAPE = LayerShape(d_model=24, d_inner=32, n_heads=4, n_kv_heads=4, d_ffn=48, layer=0, n_layers=2, out_scale=0.5)
# in groups of 16, 4 and 8 channels
SHAPES = [SHAPE, dataclasses.replace(SHAPE, d_inner=4, n_heads=1), dataclasses.replace(SHAPE, d_inner=40)]


def _mixer(kind: type[HyenaSE], shape: LayerShape, **options: int) -> HyenaSE:
    torch.manual_seed(3)
    return perturb(kind(shape, **options)).double()


def _conv1d(x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """x (batch, length, channels) by torch's depthwise correlation with the reversed filters h (channels, taps)."""
    padded = F.pad(x.transpose(1, 2), (h.shape[1] - 1, 0))
    return F.conv1d(padded, h.flip(1)[:, None], groups=len(h)).transpose(1, 2)


def _by_the_paper(mixer: HyenaSE, x: torch.Tensor, decay: bool) -> torch.Tensor:
    """q, k, v = T(W x), each with its own short filter; y = M (q * G(k * v)), G of a filter shared by a group (sec. 2).

    Hyena-MR's is h_t exp(-alpha t), alpha swept from 1e-2 to 1e2 over groups and t over [0, 1], beside a skip.
    """
    q, k, v = _conv1d(x @ mixer.qkv.weight.T, mixer.fir).chunk(3, -1)
    groups, taps = mixer.taps.shape
    filters = []
    for c in range(mixer.d_inner):
        g = c // (mixer.d_inner // groups)
        alpha = 10 ** (-2 + 4 * g / (groups - 1)) if groups > 1 else 1e-2
        t = torch.arange(taps, dtype=torch.float64) / (taps - 1)
        filters.append(mixer.taps[g] * (torch.exp(-alpha * t) if decay else 1.0))
    skip = mixer.skip * k * v if isinstance(mixer, HyenaMR) else 0.0
    return (q * (_conv1d(k * v, torch.stack(filters)) + skip)) @ mixer.out.weight.T


@pytest.mark.parametrize(("kind", "options"), [(HyenaSE, {}), (HyenaMR, {}), (HyenaMR, {"taps": 20, "group": 2})])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_paper(shape: LayerShape, kind: type[HyenaSE], options: dict[str, int]) -> None:
    mixer = _mixer(kind, shape, **options)
    x = torch.randn(2, 300, 24, dtype=torch.float64)
    with torch.no_grad():
        assert_same(mixer(x), _by_the_paper(mixer, x, kind is HyenaMR), 1e-12)


@pytest.mark.parametrize("kind", [HyenaSE, HyenaMR])
@pytest.mark.parametrize("taps", [1, 2, 30])
def test_steps_as_forward(kind: type[HyenaSE], taps: int) -> None:
    mixer = _mixer(kind, SHAPE, taps=taps)
    x = torch.randn(2, 50, 24, dtype=torch.float64)
    assert_same(stepped(mixer, x), mixer(x), 1e-12)


@pytest.mark.parametrize("algorithm", ["recurrence", "chunked", "fft"])
def test_core_flops_of_se_by_hand(algorithm: str) -> None:
    """7 taps and FIRs of 3 x 3, a multiply-add each, and two gates."""
    flops = HyenaSE(SHAPE).flops(300, algorithm)
    assert flops.core == flops.core_full == 300 * 32 * (14 + 18 + 2)
    assert flops.matmul == flops.projection == 2 * 300 * (24 * 96 + 32 * 24)


def test_core_flops_of_mr_by_hand() -> None:
    """300 tokens are three blocks of 128 outputs from 255 inputs; FIRs of 3 x 3, two gates and a skip."""
    mixer = HyenaMR(SHAPE)
    rest = 300 * 32 * (18 + 2 + 2)
    blocks = 3 * 2 * 128 * 255 * 32
    assert mixer.flops(300, "recurrence").core == 300 * 32 * 2 * 128 + rest
    assert mixer.flops(300, "chunked").core == mixer.flops(300, "fft").core == blocks + rest
    assert mixer.flops(300, "recurrence").matmul == mixer.flops(300, "recurrence").projection + blocks


@pytest.mark.parametrize(("length", "taps"), [(20, 30), (31, 30), (100, 30)])
def test_flops_of_mr_equal_torchs_counter(length: int, taps: int) -> None:
    mixer = _mixer(HyenaMR, SHAPE, taps=taps)
    with FlopCounterMode(display=False) as counter:
        mixer(torch.zeros(1, length, 24, dtype=torch.float64))
    assert counter.get_total_flops() == mixer.flops(length, "chunked").matmul


@pytest.mark.parametrize(("kind", "taps", "scale"), [(HyenaSE, 7, 1.0), (HyenaMR, 128, 1e-5)])
def test_starts_as_the_public_code(kind: type[HyenaSE], taps: int, scale: float) -> None:
    """Taps that keep the variance; of Hyena-MR next to nothing, beside a skip uniform within 1 / sqrt(128)."""
    torch.manual_seed(0)
    mixer = kind(dataclasses.replace(SHAPE, d_inner=4096))
    assert mixer.taps.shape == (256, taps)
    assert mixer.taps.square().sum(1).mean().item() == pytest.approx(scale**2, rel=0.1)
    assert mixer.taps.no_weight_decay
    if isinstance(mixer, HyenaMR):
        assert mixer.skip.std().item() == pytest.approx((3 * 128) ** -0.5, rel=0.05)
        assert mixer.skip.abs().max() <= 128**-0.5
        # the slowest group keeps its taps, the fastest only the first
        kept = (mixer.filter() / mixer.taps).detach()
        torch.testing.assert_close(kept[0], torch.ones(128), rtol=0, atol=0.0101)
        torch.testing.assert_close(kept[-1, :3], torch.tensor([1.0, 0.455, 0.207]), rtol=0, atol=1e-3)


def test_refuses_no_taps() -> None:
    with pytest.raises(UserError, match="0 taps"):
        HyenaMR(SHAPE, taps=0)
    with pytest.raises(UserError, match="a group of -1"):
        HyenaSE(SHAPE, group=-1)
