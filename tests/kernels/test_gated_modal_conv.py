"""The fused operator, by Triton's interpreter, against the oracle in float64: values and all gradients."""

from collections.abc import Iterator, Sequence
from functools import partial

import pytest
import torch
from gradients import assert_to_rounding, by_paths, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.hyena import Hyena
from eutectic.kernels.reference.fir import grouped_fir
from eutectic.kernels.reference.gated_modal_conv import gated_modal_conv as oracle

fused = pytest.importorskip("eutectic.kernels.triton.gated_modal_conv")
prefill = fused.prefill


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    """Of 4 chunks instead of 16, for the interpreter walks a scan's elements one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "CHUNKS", 4)
        yield


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
    assert_to_rounding(outcome(run, mine), partial(outcome, oracle), [exact(t) for t in mine], 2e-6)


@settings(max_examples=6, deadline=None)
@given(
    batch=st.integers(1, 2),
    length=st.sampled_from([1, 2, 31, 32, 33, 64, 100]),
    channels=st.integers(1, 2),
    n=st.integers(1, 16),
    is_complex=st.booleans(),
)
def test_values_and_gradients_equal_the_oracle(
    batch: int, length: int, channels: int, n: int, is_complex: bool
) -> None:
    assert_equals_the_oracle(inputs(batch, length, channels, n, is_complex))


@pytest.mark.parametrize(("chunks", "batch", "length"), [(4, 5, 256), (4, 5, 300), (16, 3, 520)])
def test_several_blocks_of_several_sequences(
    monkeypatch: pytest.MonkeyPatch, chunks: int, batch: int, length: int
) -> None:
    """As on a GPU: a program walks more than one sequence, each of more than one block; with and without masks."""
    monkeypatch.setattr(fused, "CHUNKS", chunks)
    monkeypatch.setattr(fused, "PROGRAMS", batch // 2)
    assert_equals_the_oracle(inputs(batch, length, 1, 3, True))


def state_after(qkv: Tensor, fir: Tensor, log_poles: Tensor, *_: Tensor) -> Tensor:
    """(batch, channels, n), by the formula: S = sum_s p^{L-1-s} u_s of the gated inputs u."""
    _, k, v = grouped_fir(qkv, fir).chunk(3, -1)
    ago = torch.arange(qkv.shape[1] - 1, -1, -1)
    decays = torch.exp(log_poles[..., None] * ago)
    return torch.einsum("btc,cnt->bcn", (k * v).to(decays.dtype), decays)


@pytest.mark.parametrize(
    ("cuts", "is_complex"), [([64, 32], True), ([70, 1], True), ([70, 1], False), ([3, 2, 40, 33], True), ([1], True)]
)
def test_a_sequence_goes_on_from_its_state(cuts: list[int], is_complex: bool) -> None:
    """In parts, each after the state and the last two inputs of those before: outputs, state, and gradients of both."""
    mine = inputs(2, sum(cuts), 2, 3, is_complex)
    qkv, *rest = mine
    state, outputs = torch.zeros(2, 2, 3, dtype=rest[2].dtype), []
    padded, at = torch.nn.functional.pad(qkv.permute(2, 0, 1), (2, 0)), 0
    for length in cuts:
        y, state = fused.prefill(padded[..., at : at + 2 + length].contiguous(), *rest, state)
        outputs.append(y)
        at += length
    got = torch.cat(outputs, 2).permute(1, 2, 0), state

    def both(y: Tensor, state: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
        loss = (y * like(y)).sum() + (state * like(state.real)).real.sum()
        return [y, state, *torch.autograd.grad(loss, tensors)]

    def formula(tensors: Sequence[Tensor]) -> list[Tensor]:
        tensors = [t.detach().requires_grad_() for t in tensors]
        return both(oracle(*tensors), state_after(*tensors), tensors)

    assert_to_rounding(both(*got, mine), formula, [exact(t) for t in mine], 2e-6)


@pytest.mark.parametrize("alone", [0, 1])
def test_the_gradient_of_either_output_alone(alone: int) -> None:
    def gradients(out: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
        weight = like(out.real).to(out.dtype)
        return list(torch.autograd.grad(out, tensors, weight, materialize_grads=True))

    mine = inputs(2, 64, 2, 3, True)
    qkv, *rest = mine
    padded = torch.nn.functional.pad(qkv.permute(2, 0, 1), (2, 0))
    out = fused.prefill(padded, *rest, torch.zeros(2, 2, 3, dtype=rest[2].dtype))[alone]
    wide = [exact(t).detach().requires_grad_() for t in mine]
    expected = state_after(*wide) if alone else oracle(*wide).permute(2, 0, 1)
    for a, b in zip(gradients(out, mine), gradients(expected, wide), strict=True):
        assert_near(a, b)


def test_a_layer_prefills_by_either_path(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = Hyena(LayerShape(12, 8, 2, 2, 0, layer=0, n_layers=2, out_scale=0.3)).requires_grad_(False)
    torch.nn.init.normal_(layer.fir)
    x = torch.randn(2, 80, 12)
    entered = []
    monkeypatch.setattr(fused, "prefill", lambda *given: entered.append(1) or prefill(*given))
    whole = {}
    for path in ("torch", "triton"):
        monkeypatch.setenv("EUTECTIC_KERNELS", path)
        first, state = layer.prefill(x[:, :37], None)
        second, (past, modes) = layer.prefill(x[:, 37:], state)
        whole[path] = torch.cat([first, second], 1), past, modes, layer.step(x[:, 0], (past, modes))[0]
    assert len(entered) == 2
    for a, b in zip(whole["triton"], whole["torch"], strict=True):
        assert_near(a, b)
    assert_near(whole["triton"][0], layer(x))


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
