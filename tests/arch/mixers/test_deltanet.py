"""DeltaNet against its recurrence written out, with the public naive delta rule at its core."""

import dataclasses

import pytest
import torch
from public import assert_same, fla_naive
from torch.nn import functional as F
from zoo import shape

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.deltanet import DeltaNet
from eutectic.arch.model import layer_shape
from eutectic.kernels import delta_rule

SHAPE: LayerShape = layer_shape(shape("deltanet"), 0)  # width 32, 4 heads
SHAPES = [
    (SHAPE, 150),
    (dataclasses.replace(SHAPE, d_inner=16, n_heads=1), 64),
    (dataclasses.replace(SHAPE, n_heads=8), 9),
]


def _made(layer: LayerShape, dtype: torch.dtype) -> DeltaNet:
    torch.manual_seed(3)
    mixer = DeltaNet(layer).to(dtype)
    with torch.no_grad():
        mixer.norm.weight += 0.3 * torch.randn_like(mixer.norm.weight)
    return mixer


def _convolved(mixer: DeltaNet, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """q, k, v (batch, length, heads, d_head) by torch's own convolution, whose taps stand in reverse."""
    channels = len(mixer.fir)
    y = F.conv1d(mixer.qkv(x).mT, mixer.fir.flip(1)[:, None], padding=3, groups=channels)[..., : x.shape[1]]
    q, k, v = F.silu(y).mT.chunk(3, -1)
    q, k, v = (part.unflatten(-1, (mixer.n_heads, mixer.d_head)) for part in (q, k, v))
    return q / (q.square().sum(-1, keepdim=True) + 1e-6).sqrt(), k / (k.square().sum(-1, keepdim=True) + 1e-6).sqrt(), v


def _normed(mixer: DeltaNet, y: torch.Tensor) -> torch.Tensor:
    return mixer.norm.weight * y / (y.square().mean(-1, keepdim=True) + SHAPE.norm_eps).sqrt()


@pytest.mark.parametrize(("layer", "length"), SHAPES)
def test_is_the_papers_recurrence(layer: LayerShape, length: int) -> None:
    """Yang et al. 2024, 2.2: v_old = S k, v_new = beta v + (1 - beta) v_old, S += (v_new - v_old) k'."""
    mixer = _made(layer, torch.float64)
    x = torch.randn(2, length, 32, dtype=torch.float64)
    q, k, v = _convolved(mixer, x)
    beta = torch.sigmoid(x @ mixer.beta.weight.mT)
    memory, rows = torch.zeros(2, layer.n_heads, layer.d_head, layer.d_head, dtype=torch.float64), []
    for t in range(length):
        old = torch.einsum("bhvk,bhk->bhv", memory, k[:, t])
        new = beta[:, t, :, None] * v[:, t] + (1 - beta[:, t, :, None]) * old
        memory = memory + torch.einsum("bhv,bhk->bhvk", new - old, k[:, t])
        rows.append(torch.einsum("bhvk,bhk->bhv", memory, q[:, t]) / layer.d_head**0.5)
    expected = _normed(mixer, torch.stack(rows, 1)).flatten(2) @ mixer.out.weight.mT
    assert_same(mixer(x), expected, 1e-10)


@pytest.mark.parametrize(("layer", "length"), SHAPES)
def test_equals_flas_naive_form_in_float32(layer: LayerShape, length: int) -> None:
    mixer = _made(layer, torch.float32)
    x = torch.randn(2, length, 32)
    beta = torch.sigmoid(mixer.beta(x))
    inputs = (part.transpose(1, 2) for part in (*_convolved(mixer, x), beta))
    y, memory = fla_naive("delta_rule").delta_rule_recurrence(*inputs)
    with torch.no_grad():
        got, (_, state) = mixer.prefill(x, None)
        assert_same(got, mixer.out(_normed(mixer, y.transpose(1, 2)).flatten(2)), 1e-5)
        assert_same(state, memory, 1e-5)


def test_starts_as_stated() -> None:
    """Taps as torch's Conv1d, uniform within 1/2; beta near 1/2 on inputs of unit size; gains of 1."""
    torch.manual_seed(0)
    mixer = DeltaNet(dataclasses.replace(SHAPE, d_model=256, d_inner=256))
    assert mixer.fir.abs().max() <= 0.5
    assert mixer.fir.std().item() == pytest.approx(12**-0.5, rel=0.05)
    assert mixer.fir.no_weight_decay
    beta = torch.sigmoid(mixer.beta(torch.randn(1000, 256)))
    assert beta.mean().item() == pytest.approx(0.5, abs=0.02)
    assert mixer.qkv.weight.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert mixer.out.weight.std().item() == pytest.approx(1 / 16 / 2, rel=0.02)
    assert (mixer.norm.weight == 1).all()


def test_flops_by_hand() -> None:
    """128 tokens, width 32, 4 heads of 8: the rule, and four taps on each of 96 channels."""
    mixer = DeltaNet(SHAPE)
    fir = 128 * 96 * 2 * 4
    assert mixer.flops(128, "recurrence").projection == 128 * 2 * (32 * 96 + 32 * 4 + 32 * 32)
    assert mixer.flops(128, "recurrence").core == fir + 128 * 4 * 7 * 64
    for algorithm in ("chunked", "fft"):
        assert mixer.flops(128, algorithm).core == fir + delta_rule.flops(128, 4, 8, 8, "chunked")
