"""Gated DeltaNet against its recurrence written out, with the public naive rule at its core; see also its importer."""

import dataclasses

import pytest
import torch
from public import assert_same, fla_naive
from torch.nn import functional as F
from zoo import shape

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.gated_deltanet import GatedDeltaNet
from eutectic.arch.model import layer_shape
from eutectic.errors import UserError
from eutectic.kernels import delta_rule

SHAPE: LayerShape = layer_shape(shape("gated_deltanet"), 0)  # width 32, 4 heads
OPTIONS = [
    ({}, 150),
    ({"n_k_heads": 2, "n_v_heads": 6, "d_k": 8, "d_v": 4}, 64),
    ({"n_v_heads": 8, "d_v": 5}, 9),
]


@pytest.mark.parametrize(("options", "length"), OPTIONS)
def test_is_the_layer_around_flas_rule(options: dict[str, int], length: int) -> None:
    """Yang et al. 2025, 3.4, value head i reading key head i // (value heads / key heads)."""
    torch.manual_seed(3)
    mixer = GatedDeltaNet(SHAPE, **options)
    with torch.no_grad():
        mixer.norm.weight += 0.3 * torch.randn_like(mixer.norm.weight)
    x = torch.randn(2, length, 32)
    keys, values = mixer.n_k_heads * mixer.d_k, mixer.n_v_heads * mixer.d_v
    rows = mixer.proj.weight.split([2 * keys + values, values, mixer.n_v_heads, mixer.n_v_heads])
    qkv, z, b, a = (x @ part.mT for part in rows)
    convolved = F.conv1d(qkv.mT, mixer.fir.flip(1)[:, None], padding=3, groups=len(mixer.fir))[..., :length]
    q, k, v = F.silu(convolved).mT.split([keys, keys, values], -1)
    head = torch.arange(mixer.n_v_heads) * mixer.n_k_heads // mixer.n_v_heads
    q, k = (part.unflatten(-1, (-1, mixer.d_k))[:, :, head] for part in (q, k))
    q, k = (part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt() for part in (q, k))
    decay = -mixer.log_a.exp() * torch.log1p(torch.exp(a + mixer.dt_bias))
    v = v.unflatten(-1, (-1, mixer.d_v))
    naive = fla_naive("gated_delta_rule").naive_recurrent_gated_delta_rule
    y, memory = naive(q, k, v, torch.sigmoid(b), decay, output_final_state=True)
    y = mixer.norm.weight * y / (y.square().mean(-1, keepdim=True) + SHAPE.norm_eps).sqrt()
    with torch.no_grad():
        got, (_, state) = mixer.prefill(x, None)
        assert_same(got, (y.flatten(2) * F.silu(z)) @ mixer.out.weight.mT, 1e-5)
        assert_same(state, memory, 1e-5)


def test_starts_as_stated() -> None:
    """A uniform up to 16; dt log-uniform from 0.001 to 0.1, so that its log deviates by ln 100 / sqrt(12)."""
    torch.manual_seed(0)
    mixer = GatedDeltaNet(SHAPE, n_v_heads=4000, d_v=1)
    a, dt = mixer.log_a.exp(), F.softplus(mixer.dt_bias)
    assert 0 < a.min() < 0.1 < 15.9 < a.max() <= 16
    assert a.mean().item() == pytest.approx(8, rel=0.03)
    assert 0.00099 < dt.min() < 0.0011 < 0.09 < dt.max() < 0.1001
    assert dt.log().std().item() == pytest.approx(4.605 / 12**0.5, rel=0.03)
    assert mixer.fir.abs().max() <= 0.5
    assert mixer.fir.std().item() == pytest.approx(12**-0.5, rel=0.05)
    assert all(parameter.no_weight_decay for parameter in (mixer.log_a, mixer.dt_bias, mixer.fir))


def test_has_mamba2s_parameters_and_state_by_default() -> None:
    """3/4 d for each of q and k, 3/2 d for each of v, z and out: 6 d^2, and what is linear in d."""
    mixer = GatedDeltaNet(SHAPE)
    matrices = mixer.proj.weight.numel() + mixer.out.weight.numel()
    assert matrices == 6 * 32**2 + 2 * 4 * 32
    assert mixer.state_size(100).wide == 4 * 6 * 12 == 9 / 8 * 32 * 8
    assert mixer.state_size(100).cached == 3 * (24 + 24 + 48) == 9 * 32


def test_flops_by_hand() -> None:
    """128 tokens, width 32, 4 heads with keys of 6 and values of 12: FIR on 96 channels, a gate on 48."""
    mixer = GatedDeltaNet(SHAPE)
    around = 128 * (96 * 2 * 4 + 48)
    assert mixer.flops(128, "recurrence").projection == 128 * 2 * 32 * (24 + 24 + 48 + 48 + 4 + 4 + 48)
    assert mixer.flops(128, "recurrence").core == around + 128 * 4 * 7 * 72
    for algorithm in ("chunked", "fft"):
        assert mixer.flops(128, algorithm).core == around + delta_rule.flops(128, 4, 6, 12, "chunked")


@pytest.mark.parametrize(
    ("options", "said"), [({"n_k_heads": 3, "n_v_heads": 4}, "multiple of 3"), ({"d_k": -1}, "d_k=-1")]
)
def test_refuses_heads_that_do_not_fit(options: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        GatedDeltaNet(SHAPE, **options)


def test_works_in_a_narrow_share() -> None:
    narrow = dataclasses.replace(SHAPE, d_inner=4, n_heads=1)
    assert GatedDeltaNet(narrow)(torch.randn(1, 5, 32)).shape == (1, 5, 32)
