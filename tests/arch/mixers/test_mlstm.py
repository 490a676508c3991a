"""The mLSTM against the paper's stabilised recurrence, at gates' extremes, and its FLOPs by hand."""

import dataclasses
from typing import Any

import pytest
import torch
from public import assert_same
from torch import Tensor
from torch.nn import functional as F
from zoo import shape

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.mlstm import MLSTM
from eutectic.arch.model import layer_shape
from eutectic.errors import UserError
from eutectic.kernels.reference.mlstm import recurrence

SHAPE: LayerShape = layer_shape(shape("attn"), 0)  # width 32, 4 heads


def _mlstm(layer: LayerShape = SHAPE, spread: float = 1.0, **options: Any) -> MLSTM:
    """Open, with gates that differ by token."""
    torch.manual_seed(7)
    mixer = MLSTM(layer, **options)
    with torch.no_grad():
        mixer.gates.weight.normal_(std=spread)
        mixer.gates.bias.normal_()
        mixer.gain.normal_()
    return mixer


def _literal(mixer: MLSTM, x: Tensor) -> Tensor:
    """The layer of xLSTM-7B (Beck et al. 2025, 3.1), in float64, on the oracle of its cell."""
    weights = {name: p.double() for name, p in mixer.named_parameters()}
    x, heads, d_k, d_v = x.double(), mixer.n_heads, mixer.d_k, mixer.d_v
    q, k, v, o = (x @ weights["qkvo.weight"].T).split([heads * d_k, heads * d_k, heads * d_v, heads * d_v], -1)
    q, k, v = (part.unflatten(-1, (heads, -1)) for part in (q, k, v))
    gates = mixer.cap * torch.tanh((x @ weights["gates.weight"].T + weights["gates.bias"]) / mixer.cap)
    log_input, forget = gates[..., :heads], gates[..., heads:]
    h = recurrence(q / d_k**0.5, k, v, log_input, -torch.log1p(torch.exp(-forget)))
    centred = h - h.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + mixer.norm_eps).sqrt()
    return (normed.flatten(-2) * weights["gain"] / (1 + torch.exp(-o))) @ weights["out.weight"].T


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"n_heads": 2}, {"qk_dim_factor": 1.0, "v_dim_factor": 2.0}),
        ({"n_heads": 1, "d_inner": 16}, {"gate_soft_cap": 4.0}),
    ],
)
def test_equals_the_papers_recurrence(changes: dict[str, int], options: dict[str, Any]) -> None:
    """A large epsilon in the norm of h lets the scale of h be seen, which the norm would undo."""
    mixer = _mlstm(dataclasses.replace(SHAPE, norm_eps=0.3, **changes), **options)
    x = torch.randn(2, 150, 32)
    expected = _literal(mixer, x)
    assert_same(mixer(x).double(), expected)
    torch.testing.assert_close(mixer.double()(x.double()), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("cap", [15.0, 30.0])
def test_saturated_gates_need_no_running_maximum(cap: float) -> None:
    """Gates that jump between exp(-cap) and exp(cap): float32 keeps what the stabilised recurrence gives in float64."""
    mixer = _mlstm(dataclasses.replace(SHAPE, norm_eps=0.3), spread=20.0, gate_soft_cap=cap)
    x = (10 * torch.randn(1, 300, 32)).requires_grad_()
    gates = mixer.gates(x)
    assert gates.min() < -200 and gates.max() > 200
    y = mixer(x)
    assert_same(y.double(), _literal(mixer, x))
    y.square().sum().backward()
    for parameter in (x, *mixer.parameters()):
        assert parameter.grad is not None and parameter.grad.isfinite().all()


def test_a_long_memory_of_open_gates_stays_finite() -> None:
    """Every token enters by exp(cap) and none is forgotten."""
    mixer = MLSTM(SHAPE, gate_soft_cap=30.0)
    with torch.no_grad():
        mixer.gates.bias.fill_(1e4)
        x = torch.randn(1, 4096, 32)
        assert_same(mixer(x).double(), _literal(mixer, x), 1e-3)


def test_flops_by_hand() -> None:
    """Width 32, 4 heads, keys of 4 and values of 8 channels and a normaliser: 130 tokens are 3 chunks of 64."""
    mixer = MLSTM(SHAPE)
    charged = {algorithm: mixer.flops(130, algorithm) for algorithm in ("recurrence", "chunked", "fft")}
    assert {f.projection for f in charged.values()} == {2 * 130 * (32 * (16 + 16 + 32 + 32) + 32 * 8 + 32 * 32)}
    gates = 130 * 4 * (4 + 8 + 8)
    assert charged["recurrence"].core == 5 * 130 * 4 * 4 * 9 + gates
    # q k', its product with values, in and out of the state; then decays, three of values, 2 for the states
    matmul = 2 * 192 * 4 * (64 * 4 + 64 * 9 + 2 * 4 * 9)
    assert charged["chunked"].matmul - charged["chunked"].projection == matmul
    assert charged["chunked"].core == matmul + 3 * 4 * (64 * (64 + 3 * 9) + 2 * 4 * 9) + gates
    assert charged["fft"] == charged["chunked"]


def test_initial_gates_and_spread() -> None:
    """Input gates shut, at exp(-10), and forget gates open, whatever the token (Beck et al. 2025, 3.2)."""
    torch.manual_seed(1)
    mixer = MLSTM(dataclasses.replace(SHAPE, d_model=256, d_inner=256))
    assert not mixer.gates.weight.any()
    torch.testing.assert_close(mixer.gates.bias, torch.tensor([-10.0] * 4 + [3.0, 4.0, 5.0, 6.0]))
    assert mixer.qkvo.weight.std().item() == pytest.approx((2 / (5 * 256)) ** 0.5, rel=0.02)
    assert torch.equal(mixer.gain, torch.ones(256))


def test_the_norm_is_layer_norm_over_each_head() -> None:
    """Adding the same to all of a head's values, or scaling them where |n q| > 1, changes nothing but by epsilon."""
    mixer = _mlstm(dataclasses.replace(SHAPE, norm_eps=1e-12)).double()
    h = torch.randn(1, 5, 4, 9, dtype=torch.float64)
    h[..., -1] = 3.0
    gate = torch.randn(1, 5, 32, dtype=torch.float64)
    moved = torch.cat([h[..., :-1] * 5 + 2, h[..., -1:]], -1)
    torch.testing.assert_close(mixer._out(moved, gate), mixer._out(h, gate), rtol=1e-9, atol=1e-9)
    normed = F.layer_norm(h[..., :-1], (8,)).flatten(-2) * mixer.gain
    torch.testing.assert_close(mixer._out(h, gate), mixer.out(normed * torch.sigmoid(gate)), rtol=1e-4, atol=1e-4)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(UserError, match=r"qk_dim_factor=0\.1"):
        MLSTM(SHAPE, qk_dim_factor=0.1)
    for cap in (0.0, 31.0):
        with pytest.raises(UserError, match="cannot cap gates"):
            MLSTM(SHAPE, gate_soft_cap=cap)
