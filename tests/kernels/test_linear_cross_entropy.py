"""The loss by chunks against the oracle, in values, gradients and memory; compiled, in bfloat16, by Triton, on GPUs."""

import importlib.util
from collections.abc import Callable
from functools import partial

import pytest
import torch
from gradients import assert_equal
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory import peak_bytes
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from eutectic.kernels.linear_cross_entropy import MOST_LOGITS, _with_gradients, linear_cross_entropy, rows_at_once
from eutectic.kernels.reference.linear_cross_entropy import linear_cross_entropy as oracle

CAPS = (0.0, 0.5, 30.0)
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def _inputs(tokens: int, vocab: int, width: int, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a few units; in float64."""
    g = torch.Generator().manual_seed(tokens * vocab)
    x, weight = torch.randn(tokens, width, generator=g), torch.randn(vocab, width, generator=g) * 3 * width**-0.5
    targets = torch.randint(vocab, (tokens,), generator=g)
    x, weight = (t.to(device, torch.float64).requires_grad_() for t in (x, weight))
    return x, weight, targets.to(device)


@settings(max_examples=100, deadline=None)
@given(
    tokens=st.integers(1, 40),
    vocab=st.integers(1, 50),
    width=st.integers(1, 9),
    rows=st.integers(1, 50),
    cap=st.sampled_from(CAPS),
)
def test_equals_the_oracle(tokens: int, vocab: int, width: int, rows: int, cap: float) -> None:
    x, weight, targets = _inputs(tokens, vocab, width)
    got, expected = linear_cross_entropy(x, weight, targets, cap, rows), oracle(x, weight, targets, cap)
    assert_equal([got], [expected], [x, weight], 1e-12)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(x, weight, targets, cap, rows), got)


@pytest.mark.parametrize("cap", CAPS)
def test_gradients_are_those_of_the_values(cap: float) -> None:
    x, weight, targets = _inputs(7, 11, 5)
    torch.autograd.gradcheck(partial(linear_cross_entropy, targets=targets, cap=cap, rows=3), (x, weight))


def test_a_gradient_s_gradient_is_refused() -> None:
    x, weight, targets = _inputs(7, 11, 5)
    loss = linear_cross_entropy(x, weight, targets, 0.0, 3).square()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def _rounded(tokens: int, vocab: int, dtype: torch.dtype, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Inputs that bfloat16 can hold."""
    x, weight, targets = _inputs(tokens, vocab, 64, device)
    x, weight = (t.detach().bfloat16().to(dtype).requires_grad_() for t in (x, weight))
    return x, weight, targets


def _assert_near(x: Tensor, weight: Tensor, targets: Tensor, cap: float, tolerance: float, fused: bool = False) -> None:
    """In the dtypes that are given, under autocast where there is any."""
    wide = [t.detach().double().requires_grad_() for t in (x, weight)]
    got, expected = linear_cross_entropy(x, weight, targets, cap, 48, fused), oracle(*wide, targets, cap)
    gradients = torch.autograd.grad(got, (x, weight))
    assert [g.dtype for g in gradients] == [x.dtype, weight.dtype] and got.dtype == torch.float32
    for a, b in zip((got, *gradients), (expected, *torch.autograd.grad(expected, wide)), strict=True):
        assert (a.double() - b).norm() < tolerance * b.norm()


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize(
    ("dtype", "autocast", "tolerance", "fused"),
    [
        (torch.float32, False, 1e-6, False),
        (torch.float32, True, 5e-3, False),
        (torch.bfloat16, False, 5e-3, False),
        pytest.param(torch.float32, False, 1e-6, True, marks=needs_triton),  # whose interpreter truncates to bfloat16
    ],
)
def test_in_less_precision_it_is_near(
    dtype: torch.dtype, autocast: bool, tolerance: float, fused: bool, cap: float
) -> None:
    x, weight, targets = _rounded(101, 129, dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        _assert_near(x, weight, targets, cap, tolerance, fused)


@needs_triton
@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 5),
    vocab=st.integers(1, 70),
    size=st.sampled_from((1.0, 1e2, 1e4)),
    cap=st.sampled_from(CAPS),
    at_once=st.sampled_from((1, 16, 8192)),
)
@example(rows=1, vocab=8, size=1e2, cap=0.0, at_once=1)  # a probability of 2e-4 beside a logit of 100
def test_triton_leaves_gradients_in_the_logits_place(
    rows: int, vocab: int, size: float, cap: float, at_once: int
) -> None:
    """Logits of any size, and rows that are read in parts."""
    from eutectic.kernels.triton import cross_entropy

    g = torch.Generator().manual_seed(rows * vocab)
    logits, targets = torch.randn(rows, vocab, generator=g) * size, torch.randint(vocab, (rows,), generator=g)
    wide = logits.double().requires_grad_()
    expected = F.cross_entropy(cap * torch.tanh(wide / cap) if cap else wide, targets, reduction="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_entropy, "MOST_COLUMNS", at_once)
        losses = cross_entropy.cross_entropy_(logits, targets, cap)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits.double(), torch.autograd.grad(expected.sum(), wide)[0], rtol=1e-4, atol=1e-6)


@needs_triton
def test_what_is_no_number_stays_in_its_row() -> None:
    from eutectic.kernels.triton.cross_entropy import cross_entropy_

    logits, targets = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 39, 7])
    alone = logits.clone()
    logits[1, 5] = torch.nan
    losses, expected = cross_entropy_(logits, targets, 0.0), cross_entropy_(alone, targets, 0.0)
    assert losses[1].isnan() and logits[1].isnan().all()
    assert torch.equal(losses[::2], expected[::2]) and torch.equal(logits[::2], alone[::2])


def test_chunks_are_summed_in_float32() -> None:
    """Of bfloat16 alone, 4096 chunks would lose what each adds to a sum 256 times as large."""
    x, weight = torch.ones(4096, 1, dtype=torch.bfloat16), torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    linear_cross_entropy(x, weight, torch.zeros(4096, dtype=torch.long), 0.0, 1).backward()
    assert weight.grad is not None and weight.grad.tolist() == [[-0.5], [0.5]]


def test_the_compiler_sees_one_operator() -> None:
    x, weight, targets = _inputs(9, 7, 4)
    torch.library.opcheck(_with_gradients, (x, weight, targets, 0.5, 4, False))
    compiled = torch.compile(linear_cross_entropy, backend="aot_eager", fullgraph=True, dynamic=False)
    assert_equal([compiled(x, weight, targets, 0.5, 4)], [oracle(x, weight, targets, 0.5)], [x, weight], 1e-12)


def test_nothing_adds_in_an_order_of_the_device_s() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        linear_cross_entropy(*_inputs(9, 7, 4), 0.5, 4).backward()
    finally:
        torch.use_deterministic_algorithms(False)


def _peak(loss: Loss, backward: bool) -> float:
    """Bytes that are allocated at once, at most, over those of all tokens' logits in float32."""
    tokens, vocab = 1001, 512
    x, weight, targets = _inputs(tokens, vocab, 8)
    x, weight = (t.detach().float().requires_grad_() for t in (x, weight))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen, torch.set_grad_enabled(backward):
        value = loss(x, weight, targets)
        if backward:
            value.backward()
    return peak_bytes(seen) / (4 * tokens * vocab)


@pytest.mark.parametrize("cap", [0.0, 30.0])
@pytest.mark.parametrize("backward", [True, False])
def test_no_more_is_held_than_a_chunk_and_the_gradients(backward: bool, cap: float) -> None:
    assert _peak(partial(oracle, cap=cap), backward) > 2
    # three floats for each logit of 50 tokens, and gradients in x and, of a chunk and of all, in the weight
    expected = 3 * 50 / 1001 + 8 / 512 + 2 * 8 / 1001
    assert expected / 3 < _peak(partial(linear_cross_entropy, cap=cap, rows=50), backward) < expected + 0.001


@given(tokens=st.integers(1, 10**7), vocab=st.integers(1, 10**6))
def test_few_logits_are_there_at_once_and_many_are_not(tokens: int, vocab: int) -> None:
    rows = rows_at_once(tokens, vocab)
    assert rows * vocab <= MOST_LOGITS and 1 <= rows <= tokens
    assert rows == tokens or (rows + 1) * vocab > MOST_LOGITS


@pytest.mark.gpu
@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("fused", [False, True], ids=["torch", "triton"])
def test_on_a_gpu_it_is_near_in_order_and_captured(fused: bool, cap: float) -> None:
    x, weight, targets = _rounded(301, 10_007, torch.float32, "cuda")
    torch.use_deterministic_algorithms(True)
    try:
        with torch.autocast("cuda", torch.bfloat16):
            _assert_near(x, weight, targets, cap, 5e-3, fused)
            expected = linear_cross_entropy(x, weight, targets, cap, 48, fused)
            gradients = torch.autograd.grad(expected, (x, weight))
            graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # leaves of another stream would have the backward pass wait for it
                x, weight = (t.detach().clone().requires_grad_() for t in (x, weight))
                torch.autograd.grad(linear_cross_entropy(x, weight, targets, cap, 48, fused), (x, weight))
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph, stream=side):
                loss = linear_cross_entropy(x, weight, targets, cap, 48, fused)
                captured = torch.autograd.grad(loss, (x, weight))
            graph.replay()
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b in zip((loss, *captured), (expected, *gradients), strict=True):
        assert torch.equal(a, b)
