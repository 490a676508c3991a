"""The chunked form of the scalar-decay recurrence against the recurrence, in values and gradients."""

import pytest
import torch
from gradients import assert_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from eutectic.kernels import scalar_decay
from eutectic.kernels.reference.scalar_decay import recurrence


def _inputs(length: int, heads: int, groups: int, decay: float, with_initial: bool) -> list[torch.Tensor]:
    """decay: typical -log a; every seventh step loses a thousand times that."""
    g = torch.Generator().manual_seed(length)
    q, k = torch.randn(2, 2, length, groups, 3, generator=g, dtype=torch.float64)
    v = torch.randn(2, length, heads, 5, generator=g, dtype=torch.float64)
    log_decay = -decay * torch.rand(2, length, heads, generator=g, dtype=torch.float64)
    log_decay[:, 6::7] *= 1000
    initial = torch.randn(2, heads, 3, 5, generator=g, dtype=torch.float64)
    return [q, k, v, log_decay, *([initial] if with_initial else [])]


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(1, 200),
    heads=st.sampled_from([(1, 1), (4, 4), (4, 2), (6, 1)]),
    decay=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
    with_initial=st.booleans(),
)
def test_chunked_equals_the_recurrence(length: int, heads: tuple[int, int], decay: float, with_initial: bool) -> None:
    inputs = [x.requires_grad_() for x in _inputs(length, *heads, decay, with_initial)]
    assert_equal(scalar_decay.chunked(*inputs), recurrence(*inputs), inputs)


@pytest.mark.parametrize("decay", [0.0, 0.01, 1.0, 30.0])
def test_float32_is_float64_to_its_precision(decay: float) -> None:
    inputs = _inputs(1000, 4, 2, decay, with_initial=True)
    for got, exact in zip(
        scalar_decay.chunked(*(x.float() for x in inputs)), scalar_decay.chunked(*inputs), strict=True
    ):
        assert got.dtype == torch.float32
        assert (got - exact).abs().max() < 1e-6 * exact.abs().max()


def test_bfloat16_keeps_a_float32_state() -> None:
    q, k, v, log_decay = _inputs(130, 4, 2, 0.01, with_initial=False)
    y, state = scalar_decay.chunked(q.bfloat16(), k.bfloat16(), v.bfloat16(), log_decay.float())
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    exact, _ = recurrence(q, k, v, log_decay)
    assert (y - exact).square().mean() < 1e-3 * exact.square().mean()


@pytest.mark.parametrize("length", [1, 33, 64, 65, 256])
def test_matmuls_equal_torchs_counter(length: int) -> None:
    q, k, v, log_decay = _inputs(length, 6, 2, 1.0, with_initial=False)
    with FlopCounterMode(display=False) as counter:
        scalar_decay.chunked(q[:1], k[:1], v[:1], log_decay[:1])
    assert counter.get_total_flops() == scalar_decay.matmul_flops(length, 6, 2, 3, 5)


def test_flops_by_hand() -> None:
    """128 steps in 2 chunks, 2 heads in 1 group, keys of 4, values of 8."""
    # q k' 2*64*4, with v 2 heads * 2*64*8, states in and out 2 heads * 2 * 2*4*8, for each of 128 steps
    matmul = 128 * (512 + 2048 + 256)
    assert scalar_decay.matmul_flops(128, 2, 1, 4, 8) == matmul
    assert scalar_decay.flops(128, 2, 1, 4, 8, "chunked") == matmul + 128 * 2 * (64 + 24) + 2 * 2 * 2 * 32
    assert scalar_decay.flops(128, 2, 1, 4, 8, "recurrence") == 128 * 2 * 5 * 32
