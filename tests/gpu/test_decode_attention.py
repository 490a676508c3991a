"""Attention of one new token to a cache, in Triton on a GPU, against the formula in float64 on the same inputs."""

import pytest
import torch
from gradients import assert_near
from torch import Tensor

from eutectic.kernels import dispatch
from eutectic.kernels.reference.decode_attention import decode_attention

pytestmark = pytest.mark.gpu
# lengths, slots, heads of queries and of keys and values, channels of a head
CACHES = [
    ([1], 1, 1, 1, 8),
    ([7, 129], 200, 4, 1, 20),
    ([3000, 64, 1], 4096, 8, 2, 64),
    ([70_000, 5], 131_073, 32, 8, 128),
]


def cache(lengths: list[int], slots: int, heads: int, kv_heads: int, dim: int, dtype: torch.dtype) -> list[Tensor]:
    """q, keys, values, lengths; beyond a length NaN, which must not show."""
    g = torch.Generator("cuda").manual_seed(slots)
    q = torch.randn(len(lengths), heads, dim, generator=g, device="cuda")
    keys, values = torch.randn(2, len(lengths), slots, kv_heads, dim, generator=g, device="cuda")
    for row, length in enumerate(lengths):
        keys[row, length:], values[row, length:] = torch.nan, torch.nan
    return [*(t.to(dtype) for t in (q, keys, values)), torch.tensor(lengths, device="cuda")]


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 5e-3), (torch.float32, 3e-6)])
@pytest.mark.parametrize("shape", CACHES, ids=str)
def test_values(shape: tuple[list[int], int, int, int, int], dtype: torch.dtype, tolerance: float) -> None:
    q, keys, values, lengths = cache(*shape, dtype)
    assert dispatch.decode_attention_by("cuda", dtype) == "triton"
    got = dispatch.decode_attention(q, keys, values, lengths)
    assert got.dtype == dtype
    assert_near([got], [decode_attention(q.double(), keys.double(), values.double(), lengths)], tolerance)


def test_what_is_not_finite_stays_in_its_sequence() -> None:
    q, keys, values, lengths = cache(*CACHES[2], torch.bfloat16)
    before = dispatch.decode_attention(q, keys, values, lengths)
    keys[1, 5] = torch.nan
    after = dispatch.decode_attention(q, keys, values, lengths)
    assert after[1].isnan().all() and torch.equal(before[::2], after[::2])
