"""The fused operator, by Triton's interpreter, against the oracle in float64: values and all gradients."""

import pytest
import torch
from gradients import assert_to_rounding, by_paths
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.hyena import Hyena
from eutectic.kernels.reference.gated_modal_conv import gated_modal_conv as oracle

fused = pytest.importorskip("eutectic.kernels.triton.gated_modal_conv")


def inputs(batch: int, length: int, channels: int, n: int, is_complex: bool) -> list[Tensor]:
    """qkv (batch, length, 3 channels), fir, log poles, residues, skip; memories of 1 to 250 tokens."""
    g = torch.Generator().manual_seed(batch * length)
    memory = torch.logspace(0, 2.4, n)
    decay = -(0.5 + torch.rand(channels, n, generator=g)) / memory
    residues = torch.randn(2, channels, n, generator=g) * (n * memory) ** -0.5
    poles, weights = decay, residues[0]
    if is_complex:
        poles = torch.complex(decay, torch.rand(channels, n, generator=g) * torch.pi / memory)
        weights = torch.complex(*residues)
    qkv = torch.randn(batch, length, 3 * channels, generator=g)
    fir = torch.randn(3 * channels, 3, generator=g)
    return [t.requires_grad_() for t in (qkv, fir, poles, weights, torch.randn(channels, generator=g))]


def run(qkv: Tensor, *rest: Tensor) -> Tensor:
    return fused.gated_modal_conv(qkv.permute(2, 0, 1).contiguous(), *rest).permute(1, 2, 0)


def exact(t: Tensor) -> Tensor:
    return t.detach().to(torch.complex128 if t.is_complex() else torch.float64).requires_grad_()


def like(t: Tensor) -> Tensor:
    return torch.randn(t.shape, generator=torch.Generator().manual_seed(1))


def assert_near(got: Tensor, expected: Tensor, tolerance: float = 2e-6) -> None:
    assert (got - expected).norm() <= tolerance * expected.norm()


def assert_equals_the_oracle(mine: list[Tensor]) -> None:
    outcomes = []
    for convolve, tensors in ((run, mine), (oracle, mine), (oracle, [exact(t) for t in mine])):
        y = convolve(*tensors)
        outcomes.append([y, *torch.autograd.grad(y, tensors, like(y).to(y.dtype))])
    assert_to_rounding(*outcomes, 2e-6)


@settings(max_examples=8, deadline=None)
@given(
    batch=st.integers(1, 3),
    length=st.sampled_from([1, 2, 31, 32, 33, 64, 100]),
    channels=st.integers(1, 3),
    n=st.integers(1, 16),
    is_complex=st.booleans(),
)
def test_values_and_gradients_equal_the_oracle(
    batch: int, length: int, channels: int, n: int, is_complex: bool
) -> None:
    assert_equals_the_oracle(inputs(batch, length, channels, n, is_complex))


@pytest.mark.parametrize("length", [1024, 1100])
def test_several_blocks_of_several_sequences(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """As on a GPU: a program walks more than one sequence, each of more than one block; with and without masks."""
    monkeypatch.setattr(fused, "PROGRAMS", 2)
    assert_equals_the_oracle(inputs(5, length, 1, 3, True))


@pytest.mark.parametrize("is_complex", [True, False])
def test_a_sequence_goes_on_from_its_state(is_complex: bool) -> None:
    """In two parts, the second after the first's state and last two inputs: outputs, state, and gradients of both."""
    qkv, *rest = inputs(2, 96, 2, 3, is_complex)
    whole = run(qkv, *rest)
    x, zero = qkv.permute(2, 0, 1), torch.zeros(2, 2, 3, dtype=rest[2].dtype)
    first, state = fused.prefill(x[..., :64].contiguous(), *rest, zero, 0)
    second, last = fused.prefill(x[..., 62:].contiguous(), *rest, state, 2)
    assert_near(torch.cat([first, second], 2).permute(1, 2, 0), whole)
    assert_near(last, fused.prefill(x.contiguous(), *rest, zero, 0)[1])
    parts, weight = (first, second), like(x[:2])
    got = torch.autograd.grad(torch.cat(parts, 2), [qkv, *rest], weight)
    for a, b in zip(got, torch.autograd.grad(whole, [qkv, *rest], weight.permute(1, 2, 0)), strict=True):
        assert_near(a, b, 1e-5)  # of two sums in float32 whose terms mostly cancel


def test_what_is_not_finite_stays_in_its_sequence() -> None:
    qkv, *rest = inputs(3, 40, 2, 3, True)
    spoiled = qkv.detach().clone()
    spoiled[1, 7] = float("nan")
    spoiled.requires_grad_()
    y, expected = run(spoiled, *rest), run(qkv, *rest)
    assert not y[1].isfinite().all() and torch.equal(y[[0, 2]], expected[[0, 2]])
    grad, whole = (torch.autograd.grad(out.sum(), x)[0] for out, x in ((y, spoiled), (expected, qkv)))
    assert torch.equal(grad[[0, 2]], whole[[0, 2]])


def test_a_layer_is_the_same_by_either_path(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = Hyena(LayerShape(12, 8, 2, 2, 0, layer=0, n_layers=2, out_scale=0.3))
    torch.nn.init.normal_(layer.fir)
    outcomes = by_paths(layer, torch.randn(2, 37, 12), ("torch", "triton"), monkeypatch)
    for a, b in zip(*outcomes, strict=True):
        assert_near(a, b)
