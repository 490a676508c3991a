"""RWKV's channel mixing against the rwkv package's."""

import pytest
import torch
from public import assert_same, rwkv_package

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.rwkv_channel import RWKVChannel
from eutectic.arch.mixers.swiglu import SwiGLU


def _shape(d_model: int, d_ffn: int, layer: int = 0, n_layers: int = 3) -> LayerShape:
    return LayerShape(d_model, d_model, 1, 1, d_ffn, layer, n_layers, 0.5)


@pytest.mark.parametrize(("d_model", "d_ffn", "length"), [(32, 80, 70), (16, 16, 1 + 1), (48, 100, 33)])
def test_is_the_packages(d_model: int, d_ffn: int, length: int) -> None:
    """After a token seen before; the package normalizes its input and adds it to its output."""
    package = rwkv_package()
    torch.manual_seed(0)
    mixer = RWKVChannel(_shape(d_model, d_ffn))
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    x, past, gain, bias = (torch.randn(*size) for size in ((length, d_model), *((d_model,),) * 3))
    weights = (layer.weight.T for layer in (mixer.key, mixer.value, mixer.receptance))
    ffn = package.RWKV.ffn_seq_v6
    expected, last = ffn(None, x, past, gain, bias, *mixer.mu, *weights, *[None] * 12)
    normed = torch.nn.functional.layer_norm(x, (d_model,), gain, bias)
    y, state = mixer.prefill(normed[None], past[None])
    assert_same(x + y[0], expected)
    assert_same(state[0], last)


def test_width_is_swiglus_in_parameters() -> None:
    """And 3.5 d_model, the paper's, where d_ffn is 8/3 d_model."""
    shape = _shape(48, 128)
    mixer = RWKVChannel(shape)
    assert mixer.key.out_features == 168 == 3.5 * 48
    matrices = sum(p.numel() for p in mixer.parameters()) - mixer.mu.numel()
    assert matrices == sum(p.numel() for p in SwiGLU(shape).parameters())
    assert mixer.flops(7) == 2 * 7 * matrices
    assert mixer.state_size(7).cached == 48


def test_starts_as_the_authors_trainer() -> None:
    """RWKV-LM's x060 in the second of three layers; the value starts as our outputs do, not at zero."""
    torch.manual_seed(0)
    mixer = RWKVChannel(_shape(48, 128, 1))
    for n in (0, 5, 47):
        assert mixer.mu[:, n].tolist() == pytest.approx([1 - (n / 48) ** (2 / 3)] * 2, abs=1e-6)
    torch.testing.assert_close(mixer.key.weight.T @ mixer.key.weight, torch.eye(48), rtol=0, atol=1e-5)
    assert not mixer.receptance.weight.any()
    assert mixer.value.weight.std().item() == pytest.approx(0.5 * 168**-0.5, rel=0.03)
