"""The chunked form of the generalised delta rule against the recurrence, in values and gradients, and against fla's."""

import pytest
import torch
from gradients import assert_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from public import assert_same, fla_naive
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from eutectic.kernels import dplr
from eutectic.kernels.reference.dplr import recurrence

HEADS, D_K, D_V = 3, 4, 5
DECAYS = [0.01, 0.6, 10.0]


def _inputs(length: int, decay: float, with_initial: bool = True, batch: int = 2) -> list[torch.Tensor]:
    """decay: largest -log w. As in RWKV-7, a is minus a unit vector and b that vector times rates in [0, 1]."""
    g = torch.Generator().manual_seed(length)
    q, k, unit = torch.randn(3, batch, length, HEADS, D_K, generator=g, dtype=torch.float64)
    rate, log_decay = torch.rand(2, batch, length, HEADS, D_K, generator=g, dtype=torch.float64)
    v = torch.randn(batch, length, HEADS, D_V, generator=g, dtype=torch.float64)
    unit = F.normalize(unit, dim=-1)
    initial = torch.randn(batch, HEADS, D_K, D_V, generator=g, dtype=torch.float64)
    return [q, k, v, -unit, unit * rate, -decay * log_decay, *([initial] if with_initial else [])]


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 200), decay=st.sampled_from(DECAYS), with_initial=st.booleans())
def test_chunked_equals_the_recurrence(length: int, decay: float, with_initial: bool) -> None:
    inputs = [x.requires_grad_() for x in _inputs(length, decay, with_initial)]
    assert_equal(dplr.chunked(*inputs), recurrence(*inputs), inputs)


def test_step_is_the_recurrence() -> None:
    *inputs, state = _inputs(9, 1.0)
    expected, last = recurrence(*inputs, state)
    for t in range(9):
        y, state = dplr.step(*(x[:, t] for x in inputs), state)
        torch.testing.assert_close(y, expected[:, t], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("decay", DECAYS)
def test_float32_is_float64_to_its_precision(decay: float) -> None:
    """Up to RWKV-7's strongest decay; beyond it, sums of log w over a chunk come to 640, which rounds to 4e-5."""
    inputs = _inputs(1000, decay)
    for got, exact in zip(dplr.chunked(*(x.float() for x in inputs)), dplr.chunked(*inputs), strict=True):
        assert got.dtype == torch.float32
        assert (got - exact).abs().max() < max(2e-6, 1e-6 * decay) * exact.abs().max()


def test_the_strongest_decays_leave_float32_its_gradients() -> None:
    """At log w = -10 throughout, exp of a chunk's sums, unmasked, would overflow. Its own gradient is all but zero."""
    *inputs, log_decay, initial = _inputs(130, 10.0)
    wide = [x.requires_grad_() for x in (*inputs, torch.full_like(log_decay, -10.0), initial)]
    narrow = [x.detach().float().requires_grad_() for x in wide]
    exact, got = (
        torch.autograd.grad(sum(out.square().sum() for out in dplr.chunked(*xs)), xs) for xs in (wide, narrow)
    )
    largest = max(x.abs().max() for x in exact)
    for a, b in zip(got, exact, strict=True):
        assert (a - b).abs().max() < 1e-5 * largest


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_keeps_a_float32_state(autocast: bool) -> None:
    inputs = _inputs(300, 0.6, with_initial=False)
    *low, log_decay = inputs
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y, state = dplr.chunked(*(x.bfloat16() for x in low), log_decay.float())
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    exact, _ = recurrence(*inputs)
    assert (y - exact).square().mean() < 1e-4 * exact.square().mean()


@pytest.mark.parametrize(("batch", "length", "decay"), [(1, 64, 0.01), (2, 130, 0.6), (3, 17, 10.0)])
def test_equals_flas(batch: int, length: int, decay: float) -> None:
    """Its queries are scaled by 1 / sqrt(d_k), and heads come before the length."""
    inputs = [x.float() for x in _inputs(length, decay, batch=batch)]
    naive = fla_naive("generalized_delta_rule/dplr").dplr_recurrence
    y, state = naive(*(x.transpose(1, 2) for x in inputs[:-1]), initial_state=inputs[-1])
    got, last = dplr.chunked(inputs[0] * D_K**-0.5, *inputs[1:])
    assert_same(got, y.transpose(1, 2), 1e-5)
    assert_same(last, state, 1e-5)


@pytest.mark.parametrize("length", [1, 33, 64, 65, 256, 700])
def test_matmuls_equal_torchs_counter(length: int) -> None:
    inputs = _inputs(length, 1.0, with_initial=False, batch=1)
    with FlopCounterMode(display=False) as counter:
        dplr.chunked(*inputs)
    assert counter.get_total_flops() == dplr.matmul_flops(length, HEADS, D_K, D_V)


def test_flops_by_hand() -> None:
    """128 steps in 2 chunks, 2 heads, keys of 4, values of 8; the scan is one product of a transition and a state."""
    # per head and chunk: 4 * 2*64*64*4 scores, 3 * 2*64*64*8 of values, 2*64*4*4 the transition, 4 * 2*64*4*8 states
    matmul = 2 * (2 * (131_072 + 196_608 + 2_048 + 16_384) + 2 * 4 * 4 * 8)
    assert dplr.matmul_flops(128, 2, 4, 8) == matmul
    # 64*63*(4+8) the system, 2*64*4*7 decays, 64*8 the sum of u, 4*4 that of the transition
    rest = 2 * (2 * (48_384 + 3_584 + 512 + 16) + 4 * 8)
    assert dplr.flops(128, 2, 4, 8, "chunked") == matmul + rest
    assert dplr.flops(128, 2, 4, 8, "fft") == matmul + rest
    assert dplr.flops(128, 2, 4, 8, "recurrence") == 128 * 2 * 9 * 32
