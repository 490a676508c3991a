"""Attention of one new token to a cache, in torch and in Triton by its interpreter, against the formula in float64."""

from collections.abc import Callable

import pytest
import torch
from gradients import assert_near, assert_to_rounding
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from eutectic.kernels import decode_attention as in_torch
from eutectic.kernels import dispatch
from eutectic.kernels.reference.attention import causal_attention
from eutectic.kernels.reference.decode_attention import decode_attention

fused = pytest.importorskip("eutectic.kernels.triton.decode_attention")

caches = given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=3),
    room=st.integers(0, 70),
    heads=st.sampled_from([(1, 1), (4, 1), (6, 3), (40, 2)]),
    dim=st.sampled_from([2, 8, 20]),
)


def _cache(lengths: list[int], room: int, heads: tuple[int, int], dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, keys, values and lengths; what lies beyond a length is large, and must not show."""
    g = torch.Generator().manual_seed(sum(lengths))
    n_heads, kv_heads = heads
    q = torch.randn(len(lengths), n_heads, dim, generator=g)
    keys, values = torch.randn(2, len(lengths), max(lengths) + room, kv_heads, dim, generator=g)
    for row, length in enumerate(lengths):
        keys[row, length:], values[row, length:] = 1e4, 1e4
    return q, keys, values, torch.tensor(lengths)


def _wide(q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
    return decode_attention(q.double(), keys.double(), values.double(), lengths)


def _assert_equals_the_formula(
    attend: Callable[..., Tensor], q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor
) -> None:
    exact = [t.double() for t in (q, keys, values)]
    assert_to_rounding([attend(q, keys, values, lengths)], lambda t: [decode_attention(*t, lengths)], exact, 1e-6)


@settings(max_examples=30, deadline=None)
@caches
@example(lengths=[129], room=0, heads=(1, 1), dim=2)  # values that mostly cancel
def test_torch_equals_the_formula(lengths: list[int], room: int, heads: tuple[int, int], dim: int) -> None:
    inputs = _cache(lengths, room, heads, dim)
    _assert_equals_the_formula(in_torch.masked, *inputs)


@settings(max_examples=12, deadline=None)
@caches
def test_triton_equals_the_formula(lengths: list[int], room: int, heads: tuple[int, int], dim: int) -> None:
    inputs = _cache(lengths, room, heads, dim)
    _assert_equals_the_formula(fused.decode_attention, *inputs)


def test_triton_shares_a_long_cache_among_programs() -> None:
    """Parts of several blocks, parts that end within one, and in the second row parts without any."""
    inputs = _cache([1500, 70], 3, (2, 1), 8)
    assert_near(fused.decode_attention(*inputs).double(), _wide(*inputs), 1e-6)


def test_scores_beyond_what_exp_holds() -> None:
    q, keys, values, lengths = _cache([150, 9], 4, (2, 1), 8)
    inputs = 100 * q, keys, values, lengths
    for attend in (in_torch.masked, fused.decode_attention):
        assert_near(attend(*inputs).double(), _wide(*inputs), 1e-4)


def test_heads_are_read_where_they_lie() -> None:
    q, keys, values, lengths = _cache([33, 65], 0, (4, 2), 8)
    moved = q, keys.transpose(1, 2).contiguous().transpose(1, 2), torch.stack([values, keys], -1)[..., 0], lengths
    assert_near(fused.decode_attention(*moved), fused.decode_attention(q, keys, values, lengths), 0)


def test_it_is_the_last_row_of_causal_attention() -> None:
    q, keys, values, lengths = (t.double() if t.is_floating_point() else t for t in _cache([37], 0, (4, 2), 8))
    whole = causal_attention(q[:, :, None], keys.transpose(1, 2), values.transpose(1, 2))[:, :, 0]
    assert_near(decode_attention(q, keys, values, lengths), whole, 1e-12)


@pytest.mark.parametrize("forced", ["reference", "torch", "triton"])
def test_dispatch_takes_what_is_forced(forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUTECTIC_KERNELS", forced)
    inputs = _cache([33, 65], 2, (4, 2), 8)
    by = {"reference": decode_attention, "torch": in_torch.masked, "triton": fused.decode_attention}[forced]
    assert torch.equal(dispatch.decode_attention(*inputs), by(*inputs))
