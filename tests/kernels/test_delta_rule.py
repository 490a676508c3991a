"""The chunked form of the delta rule against the recurrence, in values and gradients, and against fla's."""

import pytest
import torch
from gradients import assert_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from public import assert_same, fla_naive
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from eutectic.kernels import delta_rule
from eutectic.kernels.reference.delta_rule import recurrence

HEADS, D_K, D_V = 3, 4, 5


def _inputs(length: int, decay: float, with_initial: bool = True, batch: int = 2) -> list[torch.Tensor]:
    """decay: typical -log a; every seventh step loses a thousand times that. Keys have unit length."""
    g = torch.Generator().manual_seed(length)
    q, k = torch.randn(2, batch, length, HEADS, D_K, generator=g, dtype=torch.float64)
    v = torch.randn(batch, length, HEADS, D_V, generator=g, dtype=torch.float64)
    beta, rate = torch.rand(2, batch, length, HEADS, generator=g, dtype=torch.float64)
    log_decay = -decay * rate
    log_decay[:, 6::7] *= 1000
    initial = torch.randn(batch, HEADS, D_K, D_V, generator=g, dtype=torch.float64)
    return [q, F.normalize(k, dim=-1), v, beta, log_decay, *([initial] if with_initial else [])]


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 330), decay=st.sampled_from([0.0, 0.01, 1.0, 30.0]), with_initial=st.booleans())
def test_chunked_equals_the_recurrence(length: int, decay: float, with_initial: bool) -> None:
    inputs = [x.requires_grad_() for x in _inputs(length, decay, with_initial)]
    assert_equal(delta_rule.chunked(*inputs), recurrence(*inputs), inputs)


def test_step_is_the_recurrence() -> None:
    *inputs, state = _inputs(9, 1.0)
    expected, last = recurrence(*inputs, state)
    for t in range(9):
        y, state = delta_rule.step(*(x[:, t] for x in inputs), state)
        torch.testing.assert_close(y, expected[:, t], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.01, 1.0, 30.0])
def test_float32_is_float64_to_its_precision(decay: float) -> None:
    inputs = _inputs(1000, decay)
    for got, exact in zip(delta_rule.chunked(*(x.float() for x in inputs)), delta_rule.chunked(*inputs), strict=True):
        assert got.dtype == torch.float32
        assert (got - exact).abs().max() < 3e-6 * exact.abs().max()


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_keeps_a_float32_state(autocast: bool) -> None:
    inputs = _inputs(300, 0.01, with_initial=False)
    q, k, v = (x.bfloat16() for x in inputs[:3])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y, state = delta_rule.chunked(q, k, v, *(x.float() for x in inputs[3:]))
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    exact, _ = recurrence(*inputs)
    assert (y - exact).square().mean() < 1e-4 * exact.square().mean()


@pytest.mark.parametrize(("batch", "length", "decay"), [(1, 64, 0.01), (2, 128, 1.0), (3, 192, 0.1)])
def test_equals_flas(batch: int, length: int, decay: float) -> None:
    """Its queries are scaled by 1 / sqrt(d_k); heads come before the length in the one without decay."""
    q, k, v, beta, log_decay, initial = (x.float() for x in _inputs(length, decay, batch=batch))
    gated = fla_naive("gated_delta_rule").naive_recurrent_gated_delta_rule
    expected = gated(q, k, v, beta, log_decay, initial_state=initial, output_final_state=True)
    for a, b in zip(delta_rule.chunked(q * D_K**-0.5, k, v, beta, log_decay, initial), expected, strict=True):
        assert_same(a, b, 1e-5)
    plain = fla_naive("delta_rule").delta_rule_chunkwise
    y, state = plain(*(x.transpose(1, 2) for x in (q, k, v, beta)))
    got, last = delta_rule.chunked(q * D_K**-0.5, k, v, beta, torch.zeros_like(log_decay))
    assert_same(got, y.transpose(1, 2), 1e-5)
    assert_same(last, state, 1e-5)


@pytest.mark.parametrize("length", [1, 33, 64, 65, 256, 700])
def test_matmuls_equal_torchs_counter(length: int) -> None:
    inputs = _inputs(length, 1.0, with_initial=False, batch=1)
    with FlopCounterMode(display=False) as counter:
        delta_rule.chunked(*inputs)
    assert counter.get_total_flops() == delta_rule.matmul_flops(length, HEADS, D_K, D_V)


def test_flops_by_hand() -> None:
    """128 steps in 2 chunks, 2 heads, keys of 4, values of 8; the scan is one product of a transition and a state."""
    # per head and chunk: 2*64*64*(4 + 4 + 8) within, 2*64*4*4 the transition, 3 * 2*64*4*8 states
    matmul = 2 * (2 * (131_072 + 2_048 + 12_288) + 2 * 4 * 4 * 8)
    assert delta_rule.matmul_flops(128, 2, 4, 8) == matmul
    # 64*63*(4+8) the system, 3*64*64 weights, 64*12 beta, 3*64*4 decays, 2*64*8 sums, 4*4 the transition
    rest = 2 * (2 * (48_384 + 12_288 + 768 + 768 + 1_024 + 16) + 4 * 8)
    assert delta_rule.flops(128, 2, 4, 8, "chunked") == matmul + rest
    assert delta_rule.flops(128, 2, 4, 8, "fft") == matmul + rest
    assert delta_rule.flops(128, 2, 4, 8, "recurrence") == 128 * 2 * 7 * 32
