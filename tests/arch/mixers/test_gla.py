"""GLA against flash-linear-attention's recurrence and the paper's formulas."""

import pytest
import torch
from public import assert_same, fla_naive

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.gla import GLA
from eutectic.kernels import vector_decay

SHAPES = [(32, 4, 70), (64, 2, 129), (48, 6, 33)]


def _shape(d_model: int, n_heads: int) -> LayerShape:
    return LayerShape(d_model, d_model, n_heads, n_heads, 2 * d_model, 0, 2, 0.5)


def _mixer(d_model: int, n_heads: int) -> GLA:
    torch.manual_seed(3)
    mixer = GLA(_shape(d_model, n_heads))
    with torch.no_grad():
        mixer.decay_up.bias.normal_(std=3)
        mixer.norm.weight.normal_(1, 0.3)
    return mixer


@pytest.mark.parametrize(("d_model", "n_heads", "length"), SHAPES)
def test_core_is_flas(d_model: int, n_heads: int, length: int) -> None:
    torch.manual_seed(0)
    d_k, d_v = d_model // n_heads // 2, d_model // n_heads
    q, k, log_decay = torch.randn(3, 2, length, n_heads, d_k)
    v = torch.randn(2, length, n_heads, d_v)
    log_decay, state = -log_decay.abs(), torch.randn(2, n_heads, d_k, d_v)
    expected, last = fla_naive("gla").naive_recurrent_gla(q, k, v, log_decay, state, True)
    y, after = vector_decay.chunked(q * d_k**-0.5, k, v, log_decay, state)
    assert_same(y, expected)
    assert_same(after, last)


@pytest.mark.parametrize(("d_model", "n_heads", "length"), SHAPES)
def test_layer_is_the_papers(d_model: int, n_heads: int, length: int) -> None:
    """Yang et al. 2024, 4.1 and 4.4, a token and a head at a time in float64."""
    mixer = _mixer(d_model, n_heads).double()
    x = torch.randn(length, d_model, dtype=torch.float64)
    d_v = d_model // n_heads
    d_k = d_v // 2
    w_q, w_k, w_v, w_g = mixer.qkvg.weight.detach().split([d_model // 2, d_model // 2, d_model, d_model])
    w_a = mixer.decay_up.weight.detach() @ mixer.decay_down.weight.detach()
    rows = []
    state = [torch.zeros(d_k, d_v, dtype=torch.float64) for _ in range(n_heads)]
    for x_t in x:
        q, k, v, gate = w_q @ x_t, w_k @ x_t, w_v @ x_t, w_g @ x_t
        a = torch.sigmoid(w_a @ x_t + mixer.decay_up.bias.detach()) ** (1 / 16)
        heads = []
        for h in range(n_heads):
            key, value = slice(h * d_k, (h + 1) * d_k), slice(h * d_v, (h + 1) * d_v)
            state[h] = torch.diag(a[key]) @ state[h] + torch.outer(k[key], v[value])
            o = state[h].T @ q[key] / d_k**0.5
            heads.append(o / (o.square().mean() + 1e-6).sqrt() * mixer.norm.weight.detach())
        rows.append(mixer.out.weight.detach() @ (torch.cat(heads) * gate * torch.sigmoid(gate)))
    expected = torch.stack(rows)
    assert_same(mixer(x[None])[0], expected, 1e-10)
    assert_same(mixer.float()(x[None].float())[0], expected.float())


def test_widths_are_the_papers() -> None:
    """Keys half as wide as values, a gate of rank 16: 4 d^2 parameters and those of the gate and the norm."""
    mixer = GLA(_shape(64, 2))
    assert sum(p.numel() for p in mixer.parameters()) == 4 * 64**2 + 16 * (64 + 32) + 32 + 32
    assert mixer.state_size(5).wide == 2 * 16 * 32


def test_initial_decays_are_near_one() -> None:
    """The gate starts at sigmoid(z)^(1/16), z of unit variance about 0: a half is forgotten in 16 tokens."""
    torch.manual_seed(0)
    mixer = GLA(_shape(256, 4))
    *_, log_decay, _ = mixer._inputs(torch.randn(1000, 256))
    assert (16 * log_decay).exp().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (16 * log_decay).exp().std().item() == pytest.approx(0.208, abs=0.03)
    assert torch.equal(mixer.decay_up.bias, torch.zeros(128))


def test_core_flops_by_hand() -> None:
    """Width 32 in 4 heads of d_k 4 and d_v 8, over 130 tokens: three chunks of 64."""
    mixer = GLA(_shape(32, 4))
    gate = 130 * 32
    matmul = 3 * 64 * 4 * (2 * 64 * 12 + 4 * 32)
    other = 3 * 64 * 4 * 4 * (48 + 2 + 5) + 2 * 4 * 2 * 32
    chunked = mixer.flops(130, "chunked")
    assert chunked.core == chunked.core_full == matmul + other + gate
    assert mixer.flops(130, "fft").core == chunked.core
    assert mixer.flops(130, "recurrence").core == 130 * 4 * 5 * 32 + gate
    assert chunked.projection == 2 * 130 * (32 * 96 + 16 * 32 + 16 * 16 + 32 * 32)
    assert chunked.matmul == chunked.projection + matmul


def test_projections_start_as_the_authors() -> None:
    """Xavier uniform with a gain of 2^-2.5: of variance gain^2 2 / (fan in + fan out), each part by itself."""
    torch.manual_seed(0)
    mixer = GLA(LayerShape(256, 256, 4, 4, 48, 0, 2, 0.5))
    for part, d_out in zip(mixer.qkvg.weight.split(mixer.sizes), (128, 128, 256, 256), strict=True):
        bound = 2**-2.5 * (6 / (256 + d_out)) ** 0.5
        assert part.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert part.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
