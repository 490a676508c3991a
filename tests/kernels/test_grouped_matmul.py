"""Matmuls in groups against the oracle, in values and gradients, eagerly, as the compiler runs them, and on a GPU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.kernels import grouped_matmul
from eutectic.kernels.reference.grouped_matmul import grouped_matmul as oracle

FORMS = {"eager": grouped_matmul.grouped_matmul, "compiled": grouped_matmul._opaque}


def _inputs(counts: list[int], dtype: torch.dtype, device: str = "cpu") -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(sum(counts))
    x, weights = torch.randn(sum(counts), 16, generator=g), torch.randn(len(counts), 24, 16, generator=g).mT
    return [*(t.to(device, dtype).requires_grad_() for t in (x, weights)), torch.tensor(counts, device=device)]


def _assert_same(form: str, counts: list[int], dtype: torch.dtype, device: str, tolerance: float) -> None:
    x, weights, sizes = _inputs(counts, dtype, device)
    wide = [t.detach().double().requires_grad_() for t in (x, weights)]
    got, expected = FORMS[form](x, weights, sizes), oracle(*wide, sizes)
    weight = torch.randn_like(expected)
    gradients = torch.autograd.grad((got * weight).sum(), [x, weights])
    for a, b in zip((got, *gradients), (expected, *torch.autograd.grad((expected * weight).sum(), wide)), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance * float(b.detach().abs().max()))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any))
def test_equals_the_oracle(form: str, counts: list[int]) -> None:
    _assert_same(form, counts, torch.float64, "cpu", 1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("counts", [[3, 0, 130, 7], [0, 0, 5, 0], [64]])
def test_the_gpus_kernel_equals_the_oracle(counts: list[int]) -> None:
    _assert_same("eager", counts, torch.bfloat16, "cuda", 1e-2)
    _assert_same("eager", counts, torch.float32, "cuda", 1e-3)


def test_the_compiler_sees_an_operator_of_known_shape() -> None:
    torch.library.opcheck(grouped_matmul._opaque, tuple(_inputs([3, 0, 5], torch.float32)))
    compiled = torch.compile(grouped_matmul.grouped_matmul, backend="aot_eager", fullgraph=True)
    x, weights, counts = _inputs([3, 0, 5], torch.float64)
    torch.testing.assert_close(compiled(x, weights, counts), oracle(x, weights, counts))
    # other sizes of groups are the same shapes: nothing is traced again
    with torch.compiler.set_stance("fail_on_recompile"):
        compiled(x, weights, torch.tensor([0, 8, 0]))
