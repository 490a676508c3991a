"""Hyena-SE's operator in Triton, by its interpreter, against the oracle in float64: values and all gradients."""

import pytest
import torch
from gradients import assert_near, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.hyena_se import HyenaSE
from eutectic.kernels.reference.gated_fir import gated_fir as oracle

fused = pytest.importorskip("eutectic.kernels.triton.gated_fir")


def _inputs(batch: int, length: int, channels: int, groups: int, n: int) -> list[Tensor]:
    g = torch.Generator().manual_seed(length)
    sizes = [(batch, length, 3 * channels), (3 * channels, 3), (groups, n)]
    return [torch.randn(size, generator=g) for size in sizes]


@settings(max_examples=5, deadline=None)
@given(
    batch=st.integers(1, 3),
    length=st.sampled_from([1, 2, 7, 63, 64, 65, 130]),
    sizes=st.sampled_from([(1, 1), (6, 3), (33, 33), (34, 2)]),
    n=st.integers(1, 8),
)
def test_values_and_gradients_equal_the_oracle(batch: int, length: int, sizes: tuple[int, int], n: int) -> None:
    inputs = _inputs(batch, length, *sizes, n)
    assert_near(outcome(fused.gated_fir, inputs), outcome(oracle, [t.double() for t in inputs]), 1e-6)


def test_what_is_not_finite_stays_in_its_sequence() -> None:
    qkv, *rest = _inputs(3, 70, 4, 2, 7)
    spoiled = qkv.clone()
    spoiled[1, 7] = float("nan")
    expected, got = outcome(fused.gated_fir, [qkv, *rest]), outcome(fused.gated_fir, [spoiled, *rest])
    assert not got[0][1].isfinite().all()
    for a, b in zip(got[:2], expected[:2], strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])


def test_a_layer_compiles_in_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = HyenaSE(LayerShape(12, 16, 2, 2, 0, layer=0, n_layers=2, out_scale=0.3))
    x = torch.randn(2, 20, 12)
    monkeypatch.setenv("EUTECTIC_KERNELS", "torch")
    expected = outcome(layer, [x])
    monkeypatch.setenv("EUTECTIC_KERNELS", "triton")
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=False)
    assert_near(outcome(compiled, [x]), expected, 1e-6)
