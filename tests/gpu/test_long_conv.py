"""The long convolutions of a GPU, direct in Triton and by Monarch matrices, against the oracle in float64 on the same
rounded inputs; captured and compiled.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
from gradients import assert_apart, assert_near, outcome
from torch import Tensor
from torch.nn.functional import pad

from eutectic.kernels import choice, dispatch, monarch
from eutectic.kernels.reference.modal_conv import causal_conv

pytestmark = pytest.mark.gpu
# batch, length, channels, taps
SHAPES = [
    (1, 1, 3, 1),
    (2, 37, 33, 37),
    (3, 333, 32, 333),
    (2, 700, 32, 129),
    (16, 1024, 16, 1024),
    (1, 2048, 8, 2048),
    (40, 96, 32, 96),
    (8, 2048, 4, 1000),
]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """NaN in the memory that is allocated next, so that what is read before it is written shows; nothing forced."""
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    poison = [torch.full((1 << 24,), float("nan"), device="cuda") for _ in range(4)]
    del poison
    yield


def inputs(batch: int, length: int, channels: int, taps: int, dtype: torch.dtype) -> list[Tensor]:
    g = torch.Generator().manual_seed(batch * length + channels)
    x, h = torch.randn(batch, length, channels, generator=g), torch.randn(channels, taps, generator=g)
    return [x.to(dtype).cuda(), h.cuda()]


def direct(x: Tensor, h: Tensor) -> Tensor:
    from eutectic.kernels.triton.long_conv import long_conv

    return long_conv(x.permute(2, 0, 1).contiguous(), h).permute(1, 2, 0)


Convolution = Callable[[Tensor, Tensor], Tensor]
both = pytest.mark.parametrize("convolve", [direct, monarch.causal_conv])


def oracle(x: Tensor, h: Tensor) -> Tensor:
    return causal_conv(x, pad(h, (0, x.shape[1] - h.shape[1])))


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 5e-3), (torch.float32, 3e-6)])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape: tuple[int, int, int, int], dtype: torch.dtype, tolerance: float) -> None:
    tensors = inputs(*shape, dtype)
    got, expected = outcome(direct, tensors), outcome(oracle, [t.double() for t in tensors])
    assert got[0].dtype == dtype and got[2].dtype == torch.float32
    assert_near(got, expected, tolerance)


@pytest.mark.parametrize("shape", [*SHAPES[1:5], (2, 3000, 8, 3000), (1, 8192, 4, 8192), (2, 5000, 4, 1500)])
def test_monarch(shape: tuple[int, int, int, int]) -> None:
    """In bfloat16 alone, with eleven roundings of 1.5e-3 in L2: of two Fourier matrices, each used twice, of what four
    products give, of the filter's spectrum, and of a product and a sum at each frequency."""
    tensors = inputs(*shape, torch.bfloat16)
    got, expected = outcome(monarch.causal_conv, tensors), outcome(oracle, [t.double() for t in tensors])
    assert got[0].dtype == torch.bfloat16 and got[2].dtype == torch.float32
    assert_near(got, expected, 6e-3)


@both
def test_twice_is_the_same_to_the_bit(convolve: Convolution) -> None:
    tensors = inputs(16, 1024, 16, 1024, torch.bfloat16)
    for a, b in zip(outcome(convolve, tensors), outcome(convolve, tensors), strict=True):
        assert torch.equal(a, b)


@both
def test_what_is_not_finite_stays_in_its_sequence(convolve: Convolution) -> None:
    for shape in (SHAPES[2], SHAPES[7]):
        assert_apart(convolve, inputs(*shape, torch.bfloat16))


def test_compiled_and_captured_it_is_the_same() -> None:
    tensors = inputs(4, 512, 16, 512, torch.bfloat16)
    compiled = torch.compile(dispatch.long_conv, fullgraph=True, dynamic=False)
    expected = outcome(direct, tensors)
    assert_near(outcome(compiled, tensors), expected, 1e-6)
    graph = torch.cuda.CUDAGraph()
    x, h = (t.detach().requires_grad_() for t in tensors)
    dy = torch.ones_like(x)
    with torch.cuda.graph(graph):
        y = direct(x, h)
        grads = torch.autograd.grad(y, [x, h], dy)
    graph.replay()
    assert torch.equal(y, expected[0])
    plain = torch.autograd.grad(direct(x, h), [x, h], dy)
    assert all(torch.equal(a, b) for a, b in zip(grads, plain, strict=True))


def test_ffts_take_over_from_it() -> None:
    shortest = (dispatch.DIRECT_TAPS, dispatch.DIRECT_TAPS + 1)
    assert [dispatch.long_conv_by("cuda", torch.bfloat16, taps) for taps in shortest] == ["triton", "monarch"]
    assert dispatch.long_conv_by("cuda", torch.float32, 8) == "torch"
