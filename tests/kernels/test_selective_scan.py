"""The segmented selective scan against the recurrence, in values and gradients."""

import pytest
import torch
from gradients import assert_equal
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.kernels import selective_scan
from eutectic.kernels.reference.selective_scan import recurrence


def _inputs(length: int, step: float, with_initial: bool) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(length)
    x = torch.randn(2, length, 3, generator=g, dtype=torch.float64)
    dt = step * torch.rand(2, length, 3, generator=g, dtype=torch.float64)
    a = -torch.arange(1, 5, dtype=torch.float64).repeat(3, 1)
    b, c = torch.randn(2, 2, length, 4, generator=g, dtype=torch.float64)
    initial = torch.randn(2, 3, 4, generator=g, dtype=torch.float64)
    return [x, dt, a, b, c, *([initial] if with_initial else [])]


@pytest.mark.parametrize("segment", [selective_scan.SEGMENT, 64])
@settings(max_examples=15, deadline=None)
@given(length=st.integers(1, 200), step=st.sampled_from([0.01, 1.0, 100.0]), with_initial=st.booleans())
def test_segmented_equals_the_recurrence(segment: int, length: int, step: float, with_initial: bool) -> None:
    inputs = [x.requires_grad_() for x in _inputs(length, step, with_initial)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selective_scan, "SEGMENT", segment)
        got = selective_scan.segmented(*inputs)
    assert_equal(got, recurrence(*inputs), inputs)


@pytest.mark.parametrize("step", [0.001, 0.1, 10.0])
def test_float32_is_float64_to_its_precision(step: float) -> None:
    inputs = _inputs(1000, step, with_initial=True)
    for got, exact in zip(
        selective_scan.segmented(*(x.float() for x in inputs)), selective_scan.segmented(*inputs), strict=True
    ):
        assert got.dtype == torch.float32
        assert (got - exact).abs().max() < 2e-6 * exact.abs().max()


def test_states_are_not_kept_for_the_backward_pass() -> None:
    """What autograd saves of one segment is its inputs: no tensor of length x channels x n."""
    inputs = [x.requires_grad_() for x in _inputs(500, 1.0, with_initial=False)]
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):  # type: ignore[func-returns-value]
        selective_scan.segmented(*inputs)
    assert max(saved, default=0) <= max(x.numel() for x in inputs)


def test_flops_by_hand() -> None:
    """10 steps of 3 channels with 4 modes."""
    assert selective_scan.flops(10, 3, 4, "recurrence") == 30 * (1 + 4 * 6)
    assert selective_scan.flops(10, 3, 4, "chunked") == selective_scan.flops(10, 3, 4, "fft") == 30 * (1 + 4 * 10)
