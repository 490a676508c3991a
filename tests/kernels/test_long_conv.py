"""Both forms of the long convolution against the Toeplitz matrix in float64, in values and gradients: by FFT in float64
and float32, direct in Triton in float32 by its interpreter; their step; and mixers by either.
"""

from functools import partial

import pytest
import torch
from gradients import assert_near, assert_to_rounding, by_paths, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from eutectic.arch.base import LayerShape, Mixer
from eutectic.arch.mixers.hyena_implicit import HyenaImplicit
from eutectic.arch.mixers.rtf import RTF
from eutectic.kernels import dispatch, long_conv
from eutectic.kernels.reference.modal_conv import causal_conv

PATHS = ["reference", "torch", "triton"]


def _inputs(length: int, taps: int | None = None, batch: int = 2, channels: int = 3) -> list[Tensor]:
    g = torch.Generator().manual_seed(length)
    x = torch.randn(batch, length, channels, generator=g, dtype=torch.float64)
    return [x, torch.randn(channels, taps or length, generator=g, dtype=torch.float64)]


def _oracle(x: Tensor, h: Tensor) -> Tensor:
    return causal_conv(x, pad(h, (0, x.shape[1] - h.shape[1])))


def _direct(x: Tensor, h: Tensor) -> Tensor:
    fused = pytest.importorskip("eutectic.kernels.triton.long_conv")
    return fused.long_conv(x.permute(2, 0, 1).contiguous(), h).permute(1, 2, 0)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), length=st.integers(1, 300))
def test_fft_equals_the_toeplitz_matrix(data: st.DataObject, length: int) -> None:
    inputs = _inputs(length, data.draw(st.integers(1, length)))
    assert_near(outcome(long_conv.fft, inputs), outcome(_oracle, inputs), 1e-13)


@settings(max_examples=20, deadline=None)
@given(
    data=st.data(),
    length=st.one_of(st.sampled_from([1, 63, 64, 65, 128, 200]), st.integers(1, 300)),
    batch=st.sampled_from([1, 2, 5, 20]),
    channels=st.integers(1, 2),
)
def test_triton_equals_the_toeplitz_matrix(data: st.DataObject, length: int, batch: int, channels: int) -> None:
    taps = data.draw(st.one_of(st.just(length), st.integers(1, length)))
    inputs = _inputs(length, taps, batch, channels)
    narrow = [t.float() for t in inputs]
    assert_to_rounding(outcome(_direct, narrow), partial(outcome, _oracle), inputs, 1e-6)


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 40))
def test_step_is_the_last_output(length: int) -> None:
    x, h = _inputs(length)
    lags = torch.stack([torch.randperm(x.shape[1]) for _ in x])
    shuffled = torch.stack([row[-1 - lag] for row, lag in zip(x, lags, strict=True)])
    y = long_conv.step(shuffled, h, lags, torch.ones_like(lags, dtype=torch.bool))
    torch.testing.assert_close(y, causal_conv(x, h)[:, -1], rtol=1e-12, atol=1e-12)


def test_bf16_inputs_are_convolved_in_the_filters_precision() -> None:
    x, h = _inputs(1000)
    x = x.bfloat16()
    expected = causal_conv(x.double(), h)
    got = long_conv.fft(x, h.float())
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()


def test_what_is_not_finite_stays_in_its_sequence() -> None:
    x, h = (t.float() for t in _inputs(150, batch=3))
    spoiled = x.clone()
    spoiled[1, 7] = float("nan")
    expected, got = outcome(_direct, [x, h]), outcome(_direct, [spoiled, h])
    assert not got[0][1].isfinite().all()
    for a, b in zip(got[:2], expected[:2], strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])


@pytest.mark.parametrize("mixer", [HyenaImplicit, RTF])
def test_a_layer_is_the_same_by_any_path(mixer: type[Mixer], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    torch.manual_seed(0)
    layer = mixer(LayerShape(12, 8, 2, 2, 0, layer=0, n_layers=2, out_scale=0.3))
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    outcomes = by_paths(layer, torch.randn(2, 70, 12), PATHS, monkeypatch)
    for got in outcomes[1:]:
        assert_near(got, outcomes[0], 1e-5)


def test_it_compiles_in_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("EUTECTIC_KERNELS", "triton")
    inputs = _inputs(40)
    compiled = torch.compile(dispatch.long_conv, fullgraph=True, backend="aot_eager", dynamic=False)
    assert_near(outcome(compiled, [t.float() for t in inputs]), outcome(_oracle, inputs), 1e-6)
