"""The scalar-decay recurrence in bfloat16 on a GPU against the recurrence in float64 on the same rounded inputs."""

import pytest
import torch
from torch import Tensor

from eutectic.kernels.dispatch import WIDEST_KEYS
from eutectic.kernels.reference.scalar_decay import recurrence

pytestmark = pytest.mark.gpu
SHAPES = [  # batch, length, heads, groups, d_k, d_v: Mamba-2's, RetNet's, mLSTM's, of wide keys, and odd ones
    (2, 300, 8, 1, 128, 64),
    (1, 257, 2, 2, 64, 128),
    (2, 130, 2, 2, 32, 65),
    (1, 64, 4, 4, 256, 64),
    (2, 7, 3, 1, 5, 3),
]


def inputs(batch: int, length: int, heads: int, groups: int, d_k: int, d_v: int, dtype: torch.dtype) -> list[Tensor]:
    g = torch.Generator().manual_seed(length)
    q, k = torch.randn(2, batch, length, groups, d_k, generator=g).to(dtype)
    v = torch.randn(batch, length, heads, d_v, generator=g).to(dtype)
    log_decay = -0.1 * torch.rand(batch, length, heads, generator=g)
    log_decay[:, 6::17] *= 300
    return [q * d_k**-0.5, k, v, log_decay, torch.randn(batch, heads, d_k, d_v, generator=g)]


def outcomes(tensors: list[Tensor], wide: bool) -> list[Tensor]:
    """y, the last state and all gradients, in float64 on the CPU by the oracle or as they are on the GPU."""
    if wide:
        tensors = [t.double() for t in tensors]
        run = recurrence
    else:
        from eutectic.kernels.triton.scalar_decay import scalar_decay as run

        tensors = [t.cuda() for t in tensors]
        poisoned = [torch.full((1 << 24,), float("nan"), device="cuda") for _ in range(4)]
        del poisoned  # so that what is read before it is written shows
    tensors = [t.detach().requires_grad_() for t in tensors]
    out = run(*tensors)
    g = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=g).bfloat16().to(x) for x in out]
    return [t.cpu() for t in (*out, *torch.autograd.grad(out, tensors, weights))]


@pytest.mark.parametrize(
    "dtype, tolerance, shape",
    [
        (dtype, tolerance, shape)
        for dtype, tolerance in ((torch.bfloat16, 5e-3), (torch.float32, 3e-6))
        for shape in SHAPES
        if shape[4] * dtype.itemsize <= WIDEST_KEYS
    ],
)
def test_values_and_gradients(dtype: torch.dtype, tolerance: float, shape: tuple[int, ...]) -> None:
    tensors = inputs(*shape, dtype)
    names = ("y", "state", "q", "k", "v", "log a", "initial")
    for name, got, expected in zip(names, outcomes(tensors, False), outcomes(tensors, True), strict=True):
        error, size = float((got.double() - expected).norm()), float(expected.norm())
        assert error <= tolerance * size, f"{name}: {error / size:.1e}"


def test_twice_is_the_same_to_the_bit() -> None:
    tensors = inputs(*SHAPES[0], torch.bfloat16)
    for a, b in zip(outcomes(tensors, False), outcomes(tensors, False), strict=True):
        assert torch.equal(a, b)


def test_what_is_not_finite_stays_in_its_sequence() -> None:
    tensors = inputs(3, 300, 8, 1, 128, 64, torch.bfloat16)
    before = outcomes(tensors, False)
    for part in tensors[:4]:
        part[1, 77] = torch.nan
    for a, b in zip(before, outcomes(tensors, False), strict=True):
        assert not a.isnan().any() and b[1].isnan().any()
        assert torch.equal(a[::2], b[::2])
