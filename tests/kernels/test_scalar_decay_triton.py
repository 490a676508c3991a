"""The scalar-decay recurrence in Triton, by its interpreter, against the recurrence in float64."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from gradients import assert_near, assert_to_rounding, by_paths
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.mamba2 import Mamba2
from eutectic.kernels import dispatch
from eutectic.kernels.reference.scalar_decay import recurrence

fused = pytest.importorskip("eutectic.kernels.triton.scalar_decay")


def _inputs(length: int, heads: int, groups: int, decay: float, d_k: int = 3, d_v: int = 5) -> list[Tensor]:
    """q, k, v, log a and the state before, which float32 has exactly; decay: typical -log a; every seventh step loses a
    thousand times that."""
    g = torch.Generator().manual_seed(length)
    q, k = torch.randn(2, 2, length, groups, d_k, generator=g, dtype=torch.float64)
    v = torch.randn(2, length, heads, d_v, generator=g, dtype=torch.float64)
    log_decay = -decay * torch.rand(2, length, heads, generator=g, dtype=torch.float64)
    log_decay[:, 6::7] *= 1000
    initial = torch.randn(2, heads, d_k, d_v, generator=g, dtype=torch.float64)
    return [t.float().double() for t in (q, k, v, log_decay, initial)]


def _outcome(run: object, inputs: list[Tensor]) -> list[Tensor]:
    """y, the last state, and the gradients of a random sum of both in all inputs."""
    inputs = [t.detach().requires_grad_() for t in inputs]
    out = run(*inputs)  # type: ignore[operator]
    g = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=g, dtype=torch.float64).to(x.dtype) for x in out]
    return [*out, *torch.autograd.grad(sum((x * w).sum() for x, w in zip(out, weights, strict=True)), inputs)]


def _assert_equals_the_recurrence(run: object, inputs: list[Tensor]) -> None:
    assert_to_rounding(_outcome(run, [t.float() for t in inputs]), partial(_outcome, recurrence), inputs, 2e-6)


@settings(max_examples=6, deadline=None)
@example(length=130, heads=(4, 2), decay=1.0)
@given(
    length=st.sampled_from([1, 2, 63, 64, 65]),
    heads=st.sampled_from([(1, 1), (4, 2), (3, 1)]),
    decay=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
)
def test_values_and_gradients_equal_the_recurrence(length: int, heads: tuple[int, int], decay: float) -> None:
    _assert_equals_the_recurrence(fused.scalar_decay, _inputs(length, *heads, decay))


@pytest.mark.parametrize("alone", [0, 1])
def test_the_gradient_of_either_output_alone(alone: int) -> None:
    def gradients(run: Callable[..., tuple[Tensor, Tensor]], inputs: list[Tensor]) -> list[Tensor]:
        inputs = [t.detach().requires_grad_() for t in inputs]
        out = run(*inputs)[alone]
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
        return list(torch.autograd.grad(out, inputs, weight, materialize_grads=True))

    inputs = _inputs(70, 2, 1, 0.1)
    got = gradients(fused.scalar_decay, [t.float() for t in inputs])
    assert_near([t.double() for t in got], gradients(recurrence, inputs), 2e-6)


def test_wide_heads() -> None:
    """More columns of values than a program takes at once, and rows of keys that fill no power of two."""
    _assert_equals_the_recurrence(fused.scalar_decay, _inputs(70, 2, 1, 0.01, d_k=20, d_v=70))


def test_parts_of_a_projection_are_read_where_they_lie() -> None:
    qkv = torch.randn(2, 40, 2 * (3 + 3 + 5), generator=torch.Generator().manual_seed(0))
    q, k, v = (part.unflatten(2, (2, -1)) for part in qkv.split([6, 6, 10], 2))
    log_decay = torch.full((1, 1, 2), -0.1).expand(2, 40, 2)
    exact = [t.double() for t in (q, k, v, log_decay)]
    assert_near(fused.scalar_decay(q, k, v, log_decay), recurrence(*exact), 1e-6)


def test_what_is_not_finite_stays_in_its_sequence() -> None:
    inputs = [t.float() for t in _inputs(70, 2, 1, 0.1)]
    before = _outcome(fused.scalar_decay, inputs)
    inputs[2] = inputs[2].clone()
    inputs[2][1, 5] = float("nan")
    after = _outcome(fused.scalar_decay, inputs)
    assert not after[0][1].isfinite().all()
    for a, b in zip(after, before, strict=True):
        assert torch.equal(a[0], b[0])


def test_a_layer_is_the_same_by_either_path(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = Mamba2(LayerShape(8, 8, 2, 2, 0, layer=0, n_layers=2, out_scale=0.3), d_state=4)
    outcomes = by_paths(layer, torch.randn(2, 70, 8), ("torch", "triton"), monkeypatch)
    assert_near(*outcomes, 1e-5)


def test_it_compiles_in_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUTECTIC_KERNELS", "triton")
    compiled = torch.compile(dispatch.scalar_decay, fullgraph=True, backend="aot_eager", dynamic=False)
    _assert_equals_the_recurrence(compiled, _inputs(70, 4, 2, 0.1))


def test_it_is_chosen_for_16_bits_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EUTECTIC_KERNELS", raising=False)
    assert dispatch.scalar_decay_by("cuda", torch.bfloat16, True, 64) == "triton"
    for other in (("cpu", torch.bfloat16, True, 64), ("cuda", torch.float32, True, 64)):
        assert dispatch.scalar_decay_by(*other) == "torch"
    assert dispatch.scalar_decay_by("cuda", torch.bfloat16, False, 64) == "torch"
    assert dispatch.scalar_decay_by("cuda", torch.bfloat16, True, 512) == "torch"
