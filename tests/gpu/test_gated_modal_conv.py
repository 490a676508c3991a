"""The fused operator in bfloat16 on a GPU against the oracle in float64 on the same rounded inputs."""

from collections.abc import Callable

import pytest
import torch
from gradients import assert_apart, assert_near, outcome
from torch import Tensor

from eutectic.arch.layers import short_conv
from eutectic.kernels import modal_conv
from eutectic.kernels.reference.gated_modal_conv import gated_modal_conv as oracle

pytestmark = pytest.mark.gpu
POLES = 7e-3  # rounding k * v and q * dy to 16 bits shows in gradients of few poles, whose terms mostly cancel
SHAPES = [(1, 1, 3), (2, 37, 33), (3, 333, 32), (2, 700, 32), (16, 1024, 32), (1, 1024, 64), (33, 96, 32)]


def inputs(batch: int, length: int, channels: int, n: int, is_complex: bool, dtype: torch.dtype) -> list[Tensor]:
    g = torch.Generator().manual_seed(batch * length + channels)
    memory = torch.logspace(0, 2.4, n)
    poles = -(0.5 + torch.rand(channels, n, generator=g)) / memory
    residues = torch.randn(2, channels, n, generator=g) * (n * memory) ** -0.5
    if is_complex:
        poles = torch.complex(poles, torch.rand(channels, n, generator=g) * torch.pi / memory)
    weights = torch.complex(*residues) if is_complex else residues[0]
    qkv = torch.randn(batch, length, 3 * channels, generator=g).to(dtype)
    fir, skip = torch.randn(3 * channels, 3, generator=g), torch.randn(channels, generator=g)
    return [qkv, fir, poles, weights, skip]


def run(qkv: Tensor, *rest: Tensor) -> Tensor:
    from eutectic.kernels.triton.gated_modal_conv import gated_modal_conv

    return gated_modal_conv(qkv.permute(2, 0, 1).contiguous(), *rest).permute(1, 2, 0)


def in_parts(qkv: Tensor, fir: Tensor, log_poles: Tensor, residues: Tensor, skip: Tensor) -> Tensor:
    """What plain torch makes of it in bfloat16."""
    q, k, v = short_conv(qkv, fir, None)[0].chunk(3, -1)
    u = k * v
    return q * (modal_conv.chunked(u, log_poles, residues).to(u.dtype) + skip.to(u.dtype) * u)


def outcomes(convolve: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
    """y and all gradients; the oracle's in float64."""
    batch, length, width = tensors[0].shape
    dy = torch.randn(batch, length, width // 3, generator=torch.Generator().manual_seed(7)).to(tensors[0].dtype)
    tensors = [t.cuda() for t in tensors]
    if convolve is oracle:
        tensors = [t.to(torch.complex128 if t.is_complex() else torch.float64) for t in tensors]
    else:
        poisoned = [torch.full((1 << 24,), float("nan"), device="cuda") for _ in range(4)]
        del poisoned  # so that what is read before it is written shows
    tensors = [t.detach().requires_grad_() for t in tensors]
    y = convolve(*tensors)
    return [t.cpu() for t in (y, *torch.autograd.grad(y, tensors, dy.to(y.dtype).to(y.device)))]


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 5e-3), (torch.float32, 3e-6)])
@pytest.mark.parametrize("n, is_complex", [(8, True), (16, True), (5, False)])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(
    shape: tuple[int, int, int], n: int, is_complex: bool, dtype: torch.dtype, tolerance: float
) -> None:
    tensors = inputs(*shape, n, is_complex, dtype)
    every = [outcomes(convolve, tensors) for convolve in (run, in_parts, oracle)]
    told, within = [], []
    for name, got, torchs, expected in zip(("y", "qkv", "fir", "poles", "residues", "skip"), *every, strict=True):
        size = float(expected.norm())
        error, allowed = (float((t.to(expected.dtype) - expected).norm()) for t in (got, torchs))
        told.append(f"{name}: {error / max(size, 1e-30):.1e} ({allowed / max(size, 1e-30):.1e})")
        # a pole of one step has no gradient
        within.append(error <= (POLES if name == "poles" and dtype == torch.bfloat16 else tolerance) * size)
    print(shape, n, is_complex, dtype, "; ".join(told))
    assert all(within), "; ".join(told)


def test_twice_is_the_same_to_the_bit() -> None:
    tensors = inputs(8, 1024, 64, 8, True, torch.bfloat16)
    for a, b in zip(outcomes(run, tensors), outcomes(run, tensors), strict=True):
        assert torch.equal(a, b)


def test_what_is_not_finite_stays_in_its_sequence() -> None:
    for shape in SHAPES[2:4]:
        assert_apart(run, [t.cuda() for t in inputs(*shape, 8, True, torch.bfloat16)])


def test_compiled_is_the_same() -> None:
    """There and back; the compiler may round the gates around it apart."""
    tensors = [t.cuda() for t in inputs(4, 512, 32, 8, True, torch.bfloat16)]
    assert_near(outcome(torch.compile(run, dynamic=False), tensors), outcome(run, tensors), 1e-3)


@pytest.mark.parametrize("lengths", [(1, 64), (100, 157), (512, 300), (37, 2048)])
def test_prefill_goes_on_from_a_state(lengths: tuple[int, int]) -> None:
    """In two parts, of which the second begins with the two tokens before it, as Hyena keeps them for its FIR."""
    from eutectic.kernels.triton.gated_modal_conv import prefill

    first, second = lengths
    qkv, *filters = inputs(2, first + second, 32, 8, True, torch.bfloat16)
    expected = oracle(qkv.double(), *(t.to(torch.complex128 if t.is_complex() else torch.float64) for t in filters))
    qkv, filters = qkv.permute(2, 0, 1).contiguous().cuda(), [t.cuda() for t in filters]
    state = torch.zeros(2, 32, 8, dtype=torch.complex64, device="cuda")
    padded = torch.nn.functional.pad(qkv, (2, 0))
    head, state = prefill(padded[:, :, : first + 2].contiguous(), *filters, state)
    tail, _ = prefill(padded[:, :, first:].contiguous(), *filters, state)
    got = torch.cat([head, tail], 2).permute(1, 2, 0).cpu()
    assert_near([got], [expected], 5e-3)
