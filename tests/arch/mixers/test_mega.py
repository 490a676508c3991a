"""Mega-chunk against the paper's formulas, with the skip and the activation of the authors' moving average."""

import copy
import math

import pytest
import torch
from public import assert_same
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.mega import Mega
from eutectic.errors import UserError

# d_model, chunk, ema_dim, length
SHAPES = [(16, 8, 3, 30), (32, 128, 16, 140), (12, 5, 1, 20)]


def _shape(d_model: int) -> LayerShape:
    return LayerShape(d_model, d_model, 2, 2, 2 * d_model, 0, 2, 0.5)


def _mixer(d_model: int, chunk: int, ema_dim: int) -> Mega:
    """Off its start, where keys and queries are small and biases zero."""
    torch.manual_seed(3)
    mixer = Mega(_shape(d_model), chunk=chunk, ema_dim=ema_dim)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter += 0.5 * torch.randn(parameter.shape)
        mixer.alpha.sub_(2)
    return mixer


def _paper(mixer: Mega, x: Tensor) -> Tensor:
    """Ma et al. 2023, 3.1, 3.2 and 3.3, of x (length, d_model), a token at a time; less X, which the block adds.

    The average of a channel y becomes silu(y + omega x), as in the authors' code only.
    """
    weights = {name: value.detach() for name, value in mixer.named_parameters()}
    alpha, delta, beta, eta = (weights[name] for name in ("alpha", "delta", "beta", "eta"))
    alpha, delta = torch.sigmoid(alpha), torch.sigmoid(delta)
    length, d = x.shape
    h, averages = torch.zeros_like(alpha), []
    for x_t in x:
        u = beta * x_t[:, None]
        h = alpha * u + (1 - alpha * delta) * h
        averages.append((eta * h).sum(1))
    skipped = torch.stack(averages) + weights["omega"] * x
    moved = skipped / (1 + torch.exp(-skipped))
    z_dim, v_dim = d // 4, 2 * d
    w_z, w_gamma, w_phi, w_h = weights["averaged.weight"].split([z_dim, v_dim, d, d])
    b_z, b_gamma, b_phi, b_h = weights["averaged.bias"].split([z_dim, v_dim, d, d])
    z = F.silu(moved @ w_z.T + b_z)
    q, k = (kappa * z + mu for kappa, mu in zip(weights["scale"], weights["offset"], strict=True))
    v = F.silu(x @ weights["value.weight"].T + weights["value.bias"])
    gamma, phi = F.silu(moved @ w_gamma.T + b_gamma), torch.sigmoid(moved @ w_phi.T + b_phi)
    rows = []
    for t in range(length):
        seen = range(t // mixer.chunk * mixer.chunk, t + 1)
        scores = torch.stack([q[t] @ k[s] / math.sqrt(z_dim) + weights["lag_bias"][t - s] for s in seen])
        rows.append(scores.softmax(0) @ v[seen.start : t + 1])
    candidate = F.silu(moved @ w_h.T + (gamma * torch.stack(rows)) @ weights["out.weight"].T + b_h)
    return phi * candidate + (1 - phi) * x - x


@pytest.mark.parametrize(("d_model", "chunk", "ema_dim", "length"), SHAPES)
def test_is_the_papers(d_model: int, chunk: int, ema_dim: int, length: int) -> None:
    mixer = _mixer(d_model, chunk, ema_dim).double()
    x = torch.randn(length, d_model, dtype=torch.float64)
    expected = _paper(mixer, x)
    assert_same(mixer(x[None])[0], expected, 1e-10)
    assert_same(mixer.float()(x[None].float())[0], expected.float())


@torch.no_grad()
@pytest.mark.parametrize(("d_model", "chunk", "ema_dim", "length"), SHAPES)
def test_parts_and_steps_meet_at_any_place_of_a_chunk(d_model: int, chunk: int, ema_dim: int, length: int) -> None:
    mixer = _mixer(d_model, chunk, ema_dim).double()
    x = torch.randn(2, length, d_model, dtype=torch.float64)
    expected, final = mixer(x), mixer.prefill(x, None)[1]
    state = mixer.init_state(2, length)
    for t in range(length):
        rest, last = mixer.prefill(x[:, t:], copy.deepcopy(state))
        torch.testing.assert_close(rest, expected[:, t:], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(last, final, rtol=1e-9, atol=1e-9)
        y, state = mixer.step(x[:, t], state)
        torch.testing.assert_close(y, expected[:, t], rtol=1e-9, atol=1e-9)
    assert sum(part[0].numel() for part in state[:2]) == mixer.state_size(length).cached
    torch.testing.assert_close(state, final, rtol=1e-9, atol=1e-9)


def test_keys_of_one_chunk_are_kept() -> None:
    mixer = _mixer(16, 8, 3)
    assert [mixer.state_size(n).cached for n in (0, 7, 8, 9)] == [0, 7 * 36, 8 * 36, 8 * 36]
    assert mixer.state_size(8).wide == 16 * 3


def test_starts_as_the_authors_code() -> None:
    """alpha and delta N(0, 0.2) before the sigmoid; beta N(0, 0.02) about 1, -1, 1, ...; eta N(0, 1) / sqrt(ema_dim);
    omega N(0, 1); q's and k's scale N(0, 0.02) and offset 0; biases of lags N(0, 0.02)."""
    torch.manual_seed(0)
    mixer = Mega(_shape(512), chunk=2048)
    signs = torch.tensor([1.0, -1.0] * 8)
    for values, std in (
        (mixer.alpha, 0.2),
        (mixer.delta, 0.2),
        (mixer.beta - signs, 0.02),
        (mixer.eta, 0.25),
        (mixer.omega, 1),
        (mixer.scale, 0.02),
        (mixer.lag_bias, 0.02),
    ):
        assert values.std().item() == pytest.approx(std, rel=0.1)
        assert values.mean().abs() < 0.3 * std
    for zeros in (mixer.offset, mixer.value.bias, mixer.averaged.bias):
        assert not zeros.any()
    assert mixer.averaged.out_features == 128 + 1024 + 2 * 512
    assert mixer.value.out_features == 1024


def test_core_flops_by_hand() -> None:
    """Width 16 (d_z 4, d_v 32), chunks of 50 and 3 averages over 130 tokens: 3 blocks of 64 in the average."""
    mixer = Mega(_shape(16), chunk=50, ema_dim=3)
    gates, skip = 130 * (4 * 4 + 32 + 3 * 16), 130 * 2 * 16
    toeplitz = 3 * 2 * 64 * 16 * (64 + 2 * 3)
    attention, causal = 3 * 2 * 50 * 50 * 36, (50 * 50 + 50 * 50 + 30 * 30) * 36
    chunked, fft = mixer.flops(130, "chunked"), mixer.flops(130, "fft")
    assert chunked.core == skip + gates + causal + toeplitz + 2 * 2 * 16 * 3
    assert chunked.core_full - chunked.core == attention - causal
    assert mixer.flops(130, "recurrence").core == skip + gates + causal + 4 * 130 * 16 * 3
    assert fft.core == skip + gates + causal + round(16 * (5 * 260 * math.log2(260) + 6 * 131))
    assert chunked.projection == 2 * 130 * (16 * 32 + 16 * (4 + 32 + 32) + 32 * 16)
    assert chunked.matmul == fft.matmul == chunked.projection + toeplitz + attention


@pytest.mark.parametrize("options", [{"chunk": 0}, {"ema_dim": 0}])
def test_sizes_of_zero_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match="give 1 or more"):
        Mega(_shape(16), **options)
