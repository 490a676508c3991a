"""The causal FIR in Triton on a GPU against the oracle in float64 on the same rounded inputs; captured and compiled."""

from collections.abc import Iterator

import pytest
import torch
from gradients import assert_apart, assert_near, outcome
from torch import Tensor
from torch.nn.functional import pad

from eutectic.kernels import choice, dispatch
from eutectic.kernels.reference.modal_conv import causal_conv

pytestmark = pytest.mark.gpu
# batch, length, channels, groups, taps
SHORT = [(1, 1, 3, 3, 3), (2, 37, 33, 33, 4), (3, 333, 48, 3, 7), (8, 500, 96, 96, 3), (2, 200, 6, 1, 8)]
LONG = [
    (1, 1, 16, 1, 128),
    (2, 37, 32, 2, 100),
    (3, 333, 48, 3, 128),
    (2, 1100, 32, 2, 128),  # in two segments
    (33, 96, 32, 2, 64),
    (2, 200, 24, 3, 65),
    (1, 300, 160, 1, 128),  # a group's channels in three parts
    (2, 130, 12, 12, 9),
]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """NaN in the memory that is allocated next, so that what is read before it is written shows; nothing forced."""
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    poison = [torch.full((1 << 24,), float("nan"), device="cuda") for _ in range(4)]
    del poison
    yield


def inputs(batch: int, length: int, channels: int, groups: int, n: int, dtype: torch.dtype) -> list[Tensor]:
    g = torch.Generator().manual_seed(batch * length + channels)
    x, taps = torch.randn(batch, length, channels, generator=g), torch.randn(groups, n, generator=g)
    return [x.to(dtype).cuda(), taps.cuda()]


def oracle(x: Tensor, taps: Tensor) -> Tensor:
    """As kernels/reference/fir.py, without its nodes for each step and tap."""
    h = taps.repeat_interleave(x.shape[2] // len(taps), 0)[:, : x.shape[1]]
    return causal_conv(x, pad(h, (0, x.shape[1] - h.shape[1])))


def fir(x: Tensor, taps: Tensor) -> Tensor:
    from eutectic.kernels.triton.fir import fir

    return fir(x, taps)


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 5e-3), (torch.float32, 3e-6)])
@pytest.mark.parametrize("shape", SHORT + LONG)
def test_values_and_gradients(shape: tuple[int, int, int, int, int], dtype: torch.dtype, tolerance: float) -> None:
    tensors = inputs(*shape, dtype)
    got, expected = outcome(fir, tensors), outcome(oracle, [t.double() for t in tensors])
    assert got[0].dtype == dtype and got[2].dtype == torch.float32
    assert_near(got, expected, tolerance)


@pytest.mark.parametrize("shape", [SHORT[3], LONG[3]])
def test_twice_is_the_same_to_the_bit(shape: tuple[int, int, int, int, int]) -> None:
    tensors = inputs(*shape, torch.bfloat16)
    for a, b in zip(outcome(fir, tensors), outcome(fir, tensors), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("shape", [SHORT[3], LONG[2], LONG[3]])
def test_what_is_not_finite_stays_in_its_sequence(shape: tuple[int, int, int, int, int]) -> None:
    assert_apart(fir, inputs(*shape, torch.bfloat16))


@pytest.mark.parametrize("shape", [SHORT[3], LONG[3]])
def test_compiled_and_captured_it_is_the_same(shape: tuple[int, int, int, int, int]) -> None:
    tensors = inputs(*shape, torch.bfloat16)
    compiled = torch.compile(lambda *t: dispatch.fir(*t, None)[0], fullgraph=True, dynamic=False)
    expected = outcome(fir, tensors)
    # few taps are then the compiler's, which rounds apart
    exact = outcome(oracle, [t.double() for t in tensors])
    assert_near(outcome(compiled, tensors), exact, 5e-3)
    graph = torch.cuda.CUDAGraph()
    x, taps = (t.detach().requires_grad_() for t in tensors)
    dy = torch.ones_like(x)
    with torch.cuda.graph(graph):
        y = fir(x, taps)
        grads = torch.autograd.grad(y, [x, taps], dy)
    graph.replay()
    assert torch.equal(y, expected[0])
    plain = torch.autograd.grad(fir(x, taps), [x, taps], dy)
    assert all(torch.equal(a, b) for a, b in zip(grads, plain, strict=True))


@pytest.mark.parametrize(
    "taps, size, dtype, compiling, by",
    [
        (3, 1, torch.float32, False, "triton"),
        (3, 1, torch.float32, True, "torch"),
        (128, 16, torch.bfloat16, True, "triton"),
        (128, 16, torch.float32, True, "torch"),
        (64, 1, torch.bfloat16, True, "torch"),
    ],
)
def test_it_is_chosen_where_it_pays(taps: int, size: int, dtype: torch.dtype, compiling: bool, by: str) -> None:
    assert dispatch.fir_by("cuda", dtype, taps, size, compiling) == by
