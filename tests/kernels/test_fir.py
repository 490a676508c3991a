"""Every form of the grouped FIR against the formula in float64, in values and gradients: torch's in float64 and in
float32, Triton's in float32 by its interpreter; in parts; and a mixer by either.
"""

from functools import partial

import pytest
import torch
from gradients import assert_near, assert_to_rounding, by_paths, outcome
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.hyena_mr import HyenaMR
from eutectic.arch.mixers.hyena_se import HyenaSE
from eutectic.kernels import dispatch, fir
from eutectic.kernels.reference.fir import grouped_fir

FORMS = {"shifted": fir.shifted, "blocked": fir.blocked}
PATHS = ["reference", "torch", "triton"]


def _inputs(length: int, n: int, groups: int, channels: int = 6, batch: int = 2) -> list[Tensor]:
    g = torch.Generator().manual_seed(length)
    x = torch.randn(batch, length, channels, generator=g, dtype=torch.float64)
    return [x, torch.randn(groups, n, generator=g, dtype=torch.float64)]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 70), n=st.sampled_from([1, 2, 7, 16]), groups=st.sampled_from([1, 2, 6]))
def test_torch_equals_the_formula(form: str, length: int, n: int, groups: int) -> None:
    inputs = _inputs(length, n, groups)
    assert_near(outcome(lambda *t: FORMS[form](*t, None)[0], inputs), outcome(grouped_fir, inputs), 1e-13)


@settings(max_examples=10, deadline=None)
@given(
    length=st.sampled_from([1, 7, 63, 64, 65, 130]),
    n=st.sampled_from([1, 3, 7, 8, 9, 64, 65, 128]),
    sizes=st.sampled_from([(1, 1), (1, 6), (3, 6), (6, 6), (2, 34), (1, 70)]),
    batch=st.integers(1, 3),
)
@example(length=65, n=1, sizes=(1, 1), batch=1)  # the tap's gradient is a sum whose terms cancel
@example(length=130, n=128, sizes=(2, 34), batch=2)
@example(length=65, n=9, sizes=(1, 70), batch=1)
def test_triton_equals_the_formula(length: int, n: int, sizes: tuple[int, int], batch: int) -> None:
    fused = pytest.importorskip("eutectic.kernels.triton.fir")
    inputs = _inputs(length, n, *sizes, batch)
    narrow = [t.float() for t in inputs]
    assert_to_rounding(outcome(fused.fir, narrow), partial(outcome, grouped_fir), inputs, 1e-6)


def test_segments_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on long sequences: several to a sequence, which begin early, and several tiles a program."""
    grouped = pytest.importorskip("eutectic.kernels.triton.fir_grouped")
    monkeypatch.setattr(grouped, "LEAST_BLOCKS", 2)
    monkeypatch.setattr(grouped, "PROGRAMS", 1)
    inputs = _inputs(64 * 5 - 3, 100, 1, 16)
    got = outcome(torch.ops.eutectic.fir, [t.float() for t in inputs])
    assert_near(got, outcome(grouped_fir, inputs), 1e-6)


@pytest.mark.parametrize("n", [4, 20])
def test_parts_of_projections_are_read_where_they_lie(n: int) -> None:
    fused = pytest.importorskip("eutectic.kernels.triton.fir")
    whole, taps = (t.float() for t in _inputs(80, n, 2, 12))
    for x in (whole[..., 4:8], whole[:, ::2, :4], whole.mT.contiguous().mT):
        assert torch.equal(fused.fir(x, taps), fused.fir(x.contiguous(), taps))


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=8, deadline=None)
@given(first=st.integers(1, 40), second=st.integers(1, 40), n=st.sampled_from([1, 3, 16]))
def test_parts_equal_the_whole(path: str, first: int, second: int, n: int) -> None:
    x, taps = _inputs(first + second, n, 2)
    x, taps = (x.float(), taps.float()) if path == "triton" else (x, taps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EUTECTIC_KERNELS", path)
        a, past = dispatch.fir(x[:, :first], taps, None)
        b, past = dispatch.fir(x[:, first:], taps, past)
    assert_near([torch.cat([a, b], 1)], [grouped_fir(x, taps)], 1e-6 if path == "triton" else 1e-13)
    padded = torch.nn.functional.pad(x, (0, 0, n - 1, 0))
    assert torch.equal(past, padded[:, first + second :])


@pytest.mark.parametrize("length", [1, 127, 300])
def test_float32_is_accurate(length: int) -> None:
    x, taps = _inputs(length, 128, 3)
    got = fir.blocked(x.float(), taps.float(), None)[0]
    expected = grouped_fir(x, taps)
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("n", [7, 128])
def test_what_is_not_finite_stays_in_its_sequence(n: int) -> None:
    fused = pytest.importorskip("eutectic.kernels.triton.fir")
    x, taps = (t.float() for t in _inputs(80, n, 1, 16, batch=3))
    spoiled = x.clone()
    spoiled[1, 7] = float("nan")
    expected, got = outcome(fused.fir, [x, taps]), outcome(fused.fir, [spoiled, taps])
    assert not got[0][1].isfinite().all()
    for a, b in zip(got[:2], expected[:2], strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])


@pytest.mark.parametrize(("mixer", "taps"), [(HyenaSE, 7), (HyenaSE, 9), (HyenaMR, 128), (HyenaMR, 7)])
def test_a_layer_is_the_same_by_any_path(mixer: type[HyenaSE], taps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    torch.manual_seed(0)
    layer = mixer(LayerShape(12, 16, 2, 2, 0, layer=0, n_layers=2, out_scale=0.3), taps=taps)
    torch.nn.init.normal_(layer.fir)
    torch.nn.init.normal_(layer.taps)
    outcomes = by_paths(layer, torch.randn(2, 37, 12), PATHS, monkeypatch)
    for got in outcomes[1:]:
        assert_near(got, outcomes[0], 3e-6)


@pytest.mark.parametrize("n", [7, 128])
def test_it_compiles_in_one_graph(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("EUTECTIC_KERNELS", "triton")
    inputs = [t.float() for t in _inputs(40, n, 1, 16)]
    compiled = torch.compile(lambda *t: dispatch.fir(*t, None)[0], fullgraph=True, backend="aot_eager", dynamic=False)
    assert_near(outcome(compiled, inputs), outcome(grouped_fir, [t.double() for t in inputs]), 1e-6)
