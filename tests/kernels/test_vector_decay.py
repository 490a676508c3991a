"""The chunked form of linear attention with decays per channel against its recurrence, in values and gradients."""

import pytest
import torch
from gradients import assert_equal
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.kernels import vector_decay
from eutectic.kernels.reference.vector_decay import vector_decay as oracle

BATCH, HEADS, D_K, D_V = 2, 2, 3, 5


def _inputs(length: int, strength: float, start: bool, bonus: bool) -> list[torch.Tensor | None]:
    """Decays of about e^-strength a step, a tenth of them 100 times as strong."""
    g = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    q, k, log_decay = normal(3, BATCH, length, HEADS, D_K)
    log_decay = -strength * log_decay.abs() * torch.where(normal(BATCH, length, HEADS, D_K) > 1.3, 100.0, 1.0)
    v = normal(BATCH, length, HEADS, D_V)
    state, u = normal(BATCH, HEADS, D_K, D_V), normal(HEADS, D_K)
    return [q, k, v, log_decay, state if start else None, u if bonus else None]


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 200),
    strength=st.sampled_from([0.0, 0.01, 0.3, 20.0]),
    start=st.booleans(),
    bonus=st.booleans(),
)
def test_chunked_is_the_recurrence(length: int, strength: float, start: bool, bonus: bool) -> None:
    inputs = [None if t is None else t.requires_grad_() for t in _inputs(length, strength, start, bonus)]
    given_ = [t for t in inputs if t is not None]
    assert_equal(vector_decay.chunked(*inputs), oracle(*inputs), given_, 1e-10)


@pytest.mark.parametrize("bonus", [False, True])
@pytest.mark.parametrize("strength", [0.001, 0.3, 20.0, 1e6])
def test_float32_is_accurate_for_weak_decays_beside_strong_ones(strength: float, bonus: bool) -> None:
    inputs = _inputs(333, strength, True, bonus)
    got = vector_decay.chunked(*(None if t is None else t.float() for t in inputs))
    for a, b in zip(got, oracle(*inputs), strict=True):
        assert a.dtype == torch.float32
        assert (a - b).abs().max() < 3e-5 * b.abs().max()


def test_step_is_the_recurrence() -> None:
    for bonus in (False, True):
        q, k, v, log_decay, state, u = _inputs(1, 0.3, True, bonus)
        y, after = vector_decay.step(q[:, 0], k[:, 0], v[:, 0], log_decay[:, 0], state, u)
        expected, last = oracle(q, k, v, log_decay, state, u)
        torch.testing.assert_close(y, expected[:, 0])
        torch.testing.assert_close(after, last)


def test_flops_by_hand() -> None:
    """Two chunks of 64 for 65 tokens; heads 2, d_k 3, d_v 5."""
    matmul = 2 * 2 * (2 * 64 * 64 * 3 + 2 * 64 * 64 * 5 + 2 * 64 * 3 * 5 * 2)
    other = 2 * 128 * 3 * (16 * 3 + 2 + 5) + 2 * 2 * 3 * 5
    assert vector_decay.flops(65, 2, 3, 5) == (matmul, other)
    # a single short chunk of 16
    assert vector_decay.flops(1, 2, 3, 5) == (2 * 16 * (2 * 16 * 8 + 4 * 15), 2 * 16 * 3 * (48 + 2 + 2))
    assert vector_decay.recurrence_flops(7, 2, 3, 5) == 5 * 7 * 2 * 3 * 5
