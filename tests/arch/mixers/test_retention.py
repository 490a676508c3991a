"""Retention against torchscale's layer and flash-linear-attention's formula."""

import dataclasses
import importlib
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from public import assert_same, fla_naive
from torch.nn import functional as F

from eutectic.arch.base import LayerShape
from eutectic.arch.layers import rotary_angles, rotate
from eutectic.arch.mixers.retention import Retention
from eutectic.errors import UserError

LENGTH = 150
# float32 rounds differently on both sides, and their score normalisations are undone but for eps
SHAPE = LayerShape(24, 24, 3, 3, 48, layer=0, n_layers=2, out_scale=0.5, norm_eps=1e-12)
SHAPES = [
    SHAPE,
    dataclasses.replace(SHAPE, d_model=4, d_inner=4, n_heads=1),
    dataclasses.replace(SHAPE, d_model=64, d_inner=64, n_heads=8),
]


def _mixer(shape: LayerShape, expand_v: int = 2) -> tuple[Retention, torch.Tensor]:
    torch.manual_seed(2)
    return Retention(shape, expand_v=expand_v), torch.randn(2, LENGTH, shape.d_model)


@pytest.mark.parametrize("expand_v", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_torchscale(shape: LayerShape, expand_v: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs turns the pairs (2i, 2i + 1), ours (i, i + d_head / 2): rows of q and k are reordered."""
    retention = pytest.importorskip("torchscale.component.multiscale_retention")
    # which the decoder around the layer needs, and its positions do not
    for name in ("fairscale", "fairscale.nn", "timm", "timm.models", "timm.models.layers"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    retnet = importlib.import_module("torchscale.architecture.retnet")
    mixer, x = _mixer(shape, expand_v)
    args = SimpleNamespace(multiway=False, layernorm_eps=shape.norm_eps)
    theirs = retention.MultiScaleRetention(args, shape.d_model, expand_v * shape.d_model, shape.n_heads)
    q, k, v, g = mixer.qkvg.weight.data.split(mixer.widths)
    pairs = torch.arange(shape.d_head).view(2, -1).T.flatten()
    q, k = (w.unflatten(0, (shape.n_heads, -1))[:, pairs].flatten(0, 1) for w in (q, k))
    for name, weight in {"q": q, "k": k, "v": v, "g": g, "out": mixer.out.weight.data}.items():
        getattr(theirs, f"{name}_proj").weight.data = weight
    sizes = SimpleNamespace(
        decoder_embed_dim=shape.d_model, decoder_retention_heads=shape.n_heads, recurrent_chunk_size=50
    )
    positions = retnet.RetNetRelPos(sizes)
    # their angles are base^-(i / (d_head/2 - 1)), those of xPos, which the paper names, base^-(i / (d_head/2))
    positions.angle = (shape.rope_base ** (-torch.arange(0, shape.d_head, 2) / shape.d_head)).repeat_interleave(2)
    for chunkwise in (False, True):
        expected = theirs(x, positions(LENGTH, chunkwise_recurrent=chunkwise), chunkwise_recurrent=chunkwise)
        assert_same(mixer(x), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_retention_equals_the_public_formula(shape: LayerShape) -> None:
    """With an eps of the norm that lets the size of its input through."""
    mixer, x = _mixer(dataclasses.replace(shape, norm_eps=0.1), expand_v=1)
    q, k, v, gate = mixer.qkvg(4 * x).split(mixer.widths, 2)
    q, k, v = (part.unflatten(2, (shape.n_heads, -1)).transpose(1, 2) for part in (q, k, v))
    angles = rotary_angles(torch.arange(LENGTH), shape.d_head, shape.rope_base, q.dtype)
    theirs = fla_naive("retention").naive_retention(rotate(q, *angles), rotate(k, *angles), v).transpose(1, 2)
    normed = theirs * (theirs.square().mean(-1, keepdim=True) + 0.1).rsqrt()
    assert_same(mixer(4 * x), mixer.out(F.silu(gate) * normed.flatten(2)))


def test_heads_forget_at_the_papers_rates() -> None:
    mixer, _ = _mixer(SHAPE)
    torch.testing.assert_close(mixer.log_decay().exp().tolist(), [1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128])


def test_core_flops_by_hand() -> None:
    """128 tokens in 2 chunks, 3 heads of 8 with values of 16."""
    mixer, _ = _mixer(SHAPE)
    gate = 128 * 48
    # q k' 2*64*8, with v 2*64*16, states in and out 2*2*8*16; then decays of 64 places, 3*16, and the states
    chunked = 128 * 3 * (1024 + 2048 + 512) + 128 * 3 * (64 + 48) + 2 * 3 * 2 * 128 + gate
    assert mixer.flops(128, "recurrence").core == 128 * 3 * 5 * 128 + gate
    assert mixer.flops(128, "chunked").core == mixer.flops(128, "fft").core == chunked
    assert mixer.flops(128, "chunked").projection == 2 * 128 * (24 * 144 + 48 * 24)


def test_projections_start_as_in_the_authors_code() -> None:
    """Xavier uniform with gain 2^-2.5: variance 2^-5 * 2 / (fan in + fan out)."""
    torch.manual_seed(0)
    mixer = Retention(dataclasses.replace(SHAPE, d_model=256, d_inner=256, n_heads=4))
    for part, fans in zip(mixer.qkvg.weight.split(mixer.widths), (512, 512, 768, 768), strict=True):
        assert part.std().item() == pytest.approx((2**-5 * 2 / fans) ** 0.5, rel=0.02)
        assert part.abs().max().item() == pytest.approx((2**-5 * 6 / fans) ** 0.5, rel=0.02)
    assert mixer.out.weight.std().item() == pytest.approx(0.5 * 512**-0.5, rel=0.02)


def test_an_empty_value_is_refused() -> None:
    with pytest.raises(UserError, match="expand_v=0"):
        Retention(SHAPE, expand_v=0)
