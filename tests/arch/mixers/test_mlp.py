"""MLP and SwiGLU against their formulas in float64, and how they start."""

import math

import pytest
import torch
from public import assert_same
from zoo import SHAPE

from eutectic.arch.mixers.mlp import MLP
from eutectic.arch.mixers.swiglu import SwiGLU
from eutectic.errors import UserError


def gelu(x: torch.Tensor) -> torch.Tensor:
    """x Phi(x), Phi the normal distribution (Hendrycks and Gimpel 2016)."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def relu2(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x * x, 0.0)


@pytest.mark.parametrize(("activation", "f"), [("gelu", gelu), ("relu2", relu2)])
def test_mlp_is_its_formula(activation: str, f: object) -> None:
    mlp = MLP(SHAPE, activation=activation).double()
    x = 3 * torch.randn(2, 40, 32, dtype=torch.float64)
    assert callable(f)
    assert_same(mlp(x), f(x @ mlp.up.weight.T) @ mlp.down.weight.T, 1e-12)


def test_swiglu_is_its_formula() -> None:
    mixer = SwiGLU(SHAPE).double()
    x = 3 * torch.randn(2, 40, 32, dtype=torch.float64)
    gate, up = mixer.up.weight.chunk(2)
    g = x @ gate.T
    assert_same(mixer(x), (g / (1 + torch.exp(-g)) * (x @ up.T)) @ mixer.down.weight.T, 1e-12)


@pytest.mark.parametrize("kind", [MLP, SwiGLU])
def test_both_have_equal_parameters_and_start_by_fan_in(kind: type[MLP] | type[SwiGLU]) -> None:
    torch.manual_seed(0)
    mixer = kind(SHAPE)
    assert sum(p.numel() for p in mixer.parameters()) == 3 * 32 * 48
    assert mixer.up.weight.std().item() == pytest.approx(32**-0.5, rel=0.05)
    d_hidden = mixer.down.in_features
    assert mixer.down.weight.std().item() == pytest.approx(SHAPE.out_scale * d_hidden**-0.5, rel=0.05)


def test_an_unknown_activation_is_named() -> None:
    with pytest.raises(UserError, match="mlp has no activation 'tanh'; there are gelu, relu2"):
        MLP(SHAPE, activation="tanh")
