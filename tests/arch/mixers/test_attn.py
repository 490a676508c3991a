"""Attention in full and in windows: its fast paths against the oracle, whose key a query reads, FLOPs by hand."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from public import assert_same
from zoo import shape

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.attn import Attention
from eutectic.arch.mixers.swa import SlidingWindow
from eutectic.arch.model import layer_shape
from eutectic.errors import UserError
from eutectic.kernels import dispatch, window_attention
from eutectic.kernels.reference.attention import causal_attention

SHAPE: LayerShape = layer_shape(shape("attn"), 0)  # width 32, 4 heads, 2 of keys and values


def _qkv(length: int, groups: int, dtype: torch.dtype) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(length)
    heads = (2 * groups, 2, 2)
    return [torch.randn(2, n, length, 4, generator=g, dtype=dtype).requires_grad_() for n in heads]


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 120),
    window=st.integers(1, 50),
    groups=st.sampled_from([1, 2, 3]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_blocked_windows_equal_the_oracle(length: int, window: int, groups: int, dtype: torch.dtype) -> None:
    inputs = _qkv(length, groups, dtype)
    expected = causal_attention(*inputs, window)
    got = window_attention.blocked(*inputs, window)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    weight = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("window", [None, 5, 64])
@pytest.mark.parametrize("queries", [1, 3, 64])
def test_dispatch_equals_the_oracle(queries: int, window: int | None) -> None:
    q, k, v = _qkv(64, 3, torch.float32)
    q = q[:, :, -queries:]
    assert_same(dispatch.attention(q, k, v, window), causal_attention(q, k, v, window), 1e-5)


def test_a_window_is_that_many_tokens_itself_included() -> None:
    mixer = SlidingWindow(SHAPE, window=3)
    x = torch.randn(1, 9, 32, requires_grad=True)
    (reach,) = torch.autograd.grad(mixer(x)[0, 6].sum(), x)
    assert reach[0].abs().amax(-1).nonzero().flatten().tolist() == [4, 5, 6]


def test_consecutive_query_heads_share_a_head_of_keys_and_values() -> None:
    """Heads 0 and 1 read the first, 2 and 3 the second (Ainslie et al. 2023)."""
    mixer = Attention(SHAPE)
    x = torch.randn(1, 9, 32)
    with torch.no_grad():
        mixer.out.weight.copy_(torch.eye(32))
        before = mixer(x)
        mixer.qkv.weight[-8:] += 1.0  # values' second head
        changed = (mixer(x) - before).abs().amax((0, 1)) > 0
    assert changed.tolist() == [False] * 16 + [True] * 16


def test_rotary_positions_are_relative() -> None:
    """Scores depend on distance alone (Su et al. 2021, eq. 12), so a sequence may start anywhere."""
    mixer = Attention(SHAPE).double()
    x = torch.randn(1, 9, 32, dtype=torch.float64)
    at = torch.arange(9)[None]
    near, far = (mixer._out(dispatch.attention(*mixer._heads(x, at + first))) for first in (0, 10_000))
    torch.testing.assert_close(near, far, rtol=1e-9, atol=1e-9)


def test_qk_norm_leaves_only_the_directions_of_queries_and_keys() -> None:
    """Up to epsilon."""
    mixer = Attention(dataclasses.replace(SHAPE, norm_eps=1e-12), qk_norm=True).double()
    x = torch.randn(1, 9, 32, dtype=torch.float64)
    before = mixer(x)
    with torch.no_grad():
        mixer.qkv.weight[: 32 + 16] *= 3.0
    torch.testing.assert_close(mixer(x), before, rtol=1e-9, atol=1e-9)


def test_flops_by_hand() -> None:
    """Scores and values are length^2 d_inner multiply-adds each; projections 32 x (32 + 32) and 32 x 32."""
    flops = Attention(SHAPE).flops(10, "recurrence")
    assert flops.projection == 10 * 2 * (32 * 64 + 32 * 32) == 61_440
    assert flops.core_full == 2 * 2 * 10**2 * 32 == 12_800
    assert flops.core == 6_400
    assert flops.core_full - flops.core == 2 * 10**2 * 32


@pytest.mark.parametrize(("length", "window"), [(100, 16), (16, 16), (10, 16), (50, 1)])
def test_flops_of_a_window_are_its_bands(length: int, window: int) -> None:
    """Each query reads the keys that its window has, its own counted by half, as in full attention."""
    flops = SlidingWindow(SHAPE, window=window).flops(length, "fft")
    assert flops.core == 2 * 2 * 32 * sum(min(t + 0.5, window) for t in range(length))


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(UserError, match="window of 0"):
        SlidingWindow(SHAPE, window=0)


def test_projections_start_by_fan_in() -> None:
    torch.manual_seed(0)
    shape = dataclasses.replace(SHAPE, d_model=256, d_inner=128, out_scale=0.25)
    mixer = Attention(shape)
    assert mixer.qkv.weight.std().item() == pytest.approx(256**-0.5, rel=0.05)
    assert mixer.out.weight.std().item() == pytest.approx(0.25 * 128**-0.5, rel=0.05)
