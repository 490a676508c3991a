"""The Monarch MLP against dense products of its factors in float64."""

import pytest
import torch

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.mlp import MLP
from eutectic.arch.mixers.monarch_mlp import MonarchLinear, MonarchMLP
from eutectic.errors import UserError
from eutectic.kernels.reference.monarch import monarch


def _shape(d_model: int = 16, d_ffn: int = 24) -> LayerShape:
    return LayerShape(d_model, d_model, 2, 2, d_ffn, 0, 2, 0.5)


@pytest.mark.parametrize(("d_in", "d_out", "n_blocks"), [(16, 36, 4), (36, 16, 2), (15, 15, 5), (6, 9, 1)])
def test_a_linear_is_the_dense_product(d_in: int, d_out: int, n_blocks: int) -> None:
    torch.manual_seed(0)
    layer = MonarchLinear(d_in, d_out, n_blocks).double().requires_grad_(False)
    x = torch.randn(2, 5, d_in, dtype=torch.float64)
    dense = monarch(layer.right, layer.left)
    assert dense.shape == (d_out, d_in)
    torch.testing.assert_close(layer(x), x @ dense.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("d_model", "d_ffn"), [(16, 24), (8, 16), (6, 4)])
def test_it_is_an_mlp_of_dense_products(d_model: int, d_ffn: int) -> None:
    torch.manual_seed(0)
    mixer = MonarchMLP(_shape(d_model, d_ffn)).double().requires_grad_(False)
    x = torch.randn(2, 9, d_model, dtype=torch.float64)
    up, down = (monarch(layer.right, layer.left) for layer in (mixer.up, mixer.down))
    expected = torch.nn.functional.gelu(x @ up.T) @ down.T
    torch.testing.assert_close(mixer(x), expected, rtol=1e-12, atol=1e-12)
    assert (mixer.float()(x.float()) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_every_output_sees_every_input() -> None:
    mixer = MonarchMLP(_shape())
    for layer in (mixer.up, mixer.down):
        assert (monarch(layer.right.detach(), layer.left.detach()) != 0).all()


def test_it_has_fewer_weights_and_flops() -> None:
    """By hand, of 16 channels and 36 hidden ones: 4 blocks of 4 by 4 and of 9 by 4, and back."""
    mixer = MonarchMLP(_shape())
    assert [tuple(p.shape) for p in mixer.parameters()] == [(4, 4, 4), (4, 9, 4), (4, 4, 9), (4, 4, 4)]
    assert mixer.flops(10) == 2 * 10 * (64 + 144 + 144 + 64)
    assert mixer.flops(10) < MLP(_shape()).flops(10)


@pytest.mark.parametrize(("d_model", "d_ffn", "nblocks", "expected"), [(16, 24, 8, 4), (30, 20, 4, 3), (16, 10, 4, 1)])
def test_blocks_divide_both_widths(d_model: int, d_ffn: int, nblocks: int, expected: int) -> None:
    mixer = MonarchMLP(_shape(d_model, d_ffn), nblocks=nblocks)
    assert (mixer.up.n_blocks, mixer.down.n_blocks) == (expected, expected)


def test_it_starts_with_the_variance_of_a_dense_map() -> None:
    torch.manual_seed(0)
    mixer = MonarchMLP(_shape(512, 768)).requires_grad_(False)
    x = torch.randn(1, 256, 512)
    assert mixer.up(x).std() == pytest.approx(1, rel=0.05)
    assert mixer.down(torch.randn(1, 256, 1152)).std() == pytest.approx(0.5, rel=0.05)
    assert mixer.up.right.std() == pytest.approx(128**-0.5, rel=0.02)


def test_it_refuses_no_blocks() -> None:
    with pytest.raises(UserError, match="monarch_mlp"):
        MonarchMLP(_shape(), nblocks=0)
