"""Hyena-SE's operator in Triton on a GPU against the oracle in float64 on the same rounded inputs."""

import pytest
import torch
from gradients import assert_near, outcome
from torch import Tensor

from eutectic.kernels.reference.gated_fir import gated_fir as oracle

pytestmark = pytest.mark.gpu
# batch, length, channels, groups, taps
SHAPES = [(1, 1, 3, 3, 7), (2, 37, 33, 33, 4), (3, 333, 48, 3, 7), (8, 500, 96, 6, 7), (2, 200, 6, 1, 8)]


def inputs(batch: int, length: int, channels: int, groups: int, n: int, dtype: torch.dtype) -> list[Tensor]:
    g = torch.Generator().manual_seed(batch * length + channels)
    qkv = torch.randn(batch, length, 3 * channels, generator=g).to(dtype)
    rest = torch.randn(3 * channels, 3, generator=g), torch.randn(groups, n, generator=g)
    return [t.cuda() for t in (qkv, *rest)]


def run(qkv: Tensor, fir: Tensor, taps: Tensor) -> Tensor:
    from eutectic.kernels.triton.gated_fir import gated_fir

    poison = [torch.full((1 << 24,), float("nan"), device="cuda") for _ in range(4)]
    del poison  # so that what is read before it is written shows
    return gated_fir(qkv, fir, taps)


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 5e-3), (torch.float32, 3e-6)])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape: tuple[int, int, int, int, int], dtype: torch.dtype, tolerance: float) -> None:
    tensors = inputs(*shape, dtype)
    got, expected = outcome(run, tensors), outcome(oracle, [t.double().cpu() for t in tensors])
    assert got[0].dtype == dtype and got[2].dtype == torch.float32
    assert_near([t.cpu() for t in got], expected, tolerance)


def test_twice_is_the_same_to_the_bit() -> None:
    tensors = inputs(8, 500, 96, 6, 7, torch.bfloat16)
    for a, b in zip(outcome(run, tensors), outcome(run, tensors), strict=True):
        assert torch.equal(a, b)
