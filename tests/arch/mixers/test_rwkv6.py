"""RWKV-6's time mixing against the rwkv package's whole model and flash-linear-attention's recurrence."""

from pathlib import Path

import pytest
import torch
from public import assert_same, fla_naive, rwkv_package
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.rwkv6 import RWKV6
from eutectic.arch.mixers.rwkv_channel import RWKVChannel
from eutectic.errors import UserError
from eutectic.kernels import vector_decay

SHAPES = [(32, 4, 2, 70), (64, 2, 3, 33), (48, 6, 1, 130)]
VOCAB = 30


def _shape(d_model: int, n_heads: int, layer: int = 0, n_layers: int = 2) -> LayerShape:
    return LayerShape(d_model, d_model, n_heads, n_heads, 2 * d_model, layer, n_layers, 0.5)


def _layers(d_model: int, n_heads: int, n_layers: int) -> list[tuple[RWKV6, RWKVChannel]]:
    """Off their start, where the data-dependent parts are zero; decays from weak to e^-20 a step."""
    torch.manual_seed(3)
    shapes = [_shape(d_model, n_heads, layer, n_layers) for layer in range(n_layers)]
    layers = [(RWKV6(shape), RWKVChannel(shape)) for shape in shapes]
    with torch.no_grad():
        for mixer, channel in layers:
            for parameter in (*mixer.parameters(), *channel.parameters()):
                parameter += 0.1 * torch.randn(parameter.shape)
            mixer.decay.add_(2 * torch.randn(mixer.decay.shape)).clamp_(max=3)
    return layers


def _norms(d_model: int, n_layers: int) -> dict[str, Tensor]:
    names = ["blocks.0.ln0", *(f"blocks.{i}.ln{j}" for i in range(n_layers) for j in (1, 2)), "ln_out"]
    norms = {f"{name}.weight": 1 + 0.2 * torch.randn(d_model) for name in names}
    return norms | {f"{name}.bias": 0.2 * torch.randn(d_model) for name in names}


def _named(layers: list[tuple[RWKV6, RWKVChannel]]) -> dict[str, Tensor]:
    """The layers' weights under the package's names."""
    weights = {}
    for i, (mixer, channel) in enumerate(layers):
        att, ffn = f"blocks.{i}.att.", f"blocks.{i}.ffn."
        weights |= {f"{att}time_maa_{name}": mu for name, mu in zip("wkvrg", mixer.mu, strict=True)}
        weights |= {f"{ffn}time_maa_{name}": mu for name, mu in zip("kr", channel.mu, strict=True)}
        weights |= {
            f"{att}time_maa_x": mixer.mu_x,
            f"{att}time_maa_w1": mixer.mix_down,
            f"{att}time_maa_w2": mixer.mix_up,
            f"{att}time_decay": mixer.decay,
            f"{att}time_decay_w1": mixer.decay_down,
            f"{att}time_decay_w2": mixer.decay_up,
            f"{att}time_faaaa": mixer.bonus.view(mixer.n_heads, -1),
            f"{att}ln_x.weight": mixer.norm.weight,
            f"{att}ln_x.bias": mixer.norm.bias,
            f"{att}output.weight": mixer.out.weight,
        }
        for name in ("receptance", "key", "value", "gate"):
            weights[f"{att}{name}.weight"] = getattr(mixer, name).weight
        for name in ("receptance", "key", "value"):
            weights[f"{ffn}{name}.weight"] = getattr(channel, name).weight
    return {name: weight.detach().clone() for name, weight in weights.items()}


@pytest.mark.parametrize(("d_model", "n_heads", "n_layers", "length"), SHAPES)
def test_logits_are_the_packages(d_model: int, n_heads: int, n_layers: int, length: int, tmp_path: Path) -> None:
    """A whole RWKV-6: its LayerNorms, which our models have not, around our time and channel mixing."""
    package = rwkv_package()
    layers, norms = _layers(d_model, n_heads, n_layers), _norms(d_model, n_layers)
    embedding, head = torch.randn(2, VOCAB, d_model)
    weights = _named(layers) | norms | {"emb.weight": embedding, "head.weight": head}
    torch.save({name: weight.clone() for name, weight in weights.items()}, tmp_path / "random.pth")
    public = package.RWKV(str(tmp_path / "random"), "cpu fp32", verbose=False)
    read = torch.randint(0, VOCAB, (length,)).tolist()
    expected, state = public.forward(read, None, full_output=True)

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (d_model,), norms[f"{name}.weight"], norms[f"{name}.bias"])

    x = norm(embedding[read], "blocks.0.ln0")[None]
    for i, (mixer, channel) in enumerate(layers):
        y, (_, matrix) = mixer.prefill(norm(x, f"blocks.{i}.ln1"), None)
        x = x + y
        x = x + channel(norm(x, f"blocks.{i}.ln2"))
        assert_same(matrix[0], state[3 * i + 1])
    assert_same(F.linear(norm(x, "ln_out"), head)[0], expected)


@pytest.mark.parametrize(("n_heads", "d_head", "length"), [(4, 8, 70), (1, 64, 33), (3, 16, 128)])
def test_core_is_flas(n_heads: int, d_head: int, length: int) -> None:
    torch.manual_seed(0)
    r, k, v, log_decay = torch.randn(4, 2, length, n_heads, d_head)
    log_decay, bonus, state = (
        -torch.exp(2 * log_decay),
        torch.randn(n_heads, d_head),
        torch.randn(2, n_heads, d_head, d_head),
    )
    heads_first = (t.transpose(1, 2) for t in (r, k, v, log_decay))
    naive = fla_naive("rwkv6", "recurrent_naive").naive_recurrent_rwkv6
    expected, last = naive(*heads_first, bonus, 1.0, state, True)
    y, after = vector_decay.chunked(r, k, v, log_decay, state, bonus)
    assert_same(y, expected.transpose(1, 2))
    assert_same(after, last)


def test_starts_as_the_authors_trainer() -> None:
    """RWKV-LM's x060 in the last of three layers, width 64 in 2 heads: depth 1, and 1 - 2/3 of the layers above."""
    torch.manual_seed(0)
    mixer = RWKV6(_shape(64, 2, 2, 3))
    for n in (0, 7, 63):
        ramp = (n / 64) ** (1 / 3)
        assert mixer.mu_x[n].item() == pytest.approx(1 - ramp, abs=1e-6)
        assert mixer.mu[:3, n].tolist() == pytest.approx([1 - ramp, 1 - ramp, 0.7 - ramp], abs=1e-6)
        assert mixer.mu[3:, n].tolist() == pytest.approx([1 - (n / 64) ** (1 / 6)] * 2, abs=1e-6)
        assert mixer.decay[n].item() == pytest.approx(-6 + 5 * (n / 63) ** 2, abs=1e-5)
        zigzag = [0.0, 0.1, -0.1][n % 3]
        assert mixer.bonus[n].item() == pytest.approx(1 - n / 63 + zigzag, abs=1e-6)
    first = RWKV6(_shape(64, 2, 0, 3))
    assert first.mu_x[[0, 32]].tolist() == [1.0, 0.5]
    assert first.decay[21].item() == pytest.approx(-6 + 5 / 3**0.7, abs=1e-5)
    assert first.norm.weight.tolist() == pytest.approx([(1 / 3) ** 0.7] * 64)
    for layer, gain in ((mixer.receptance, 1), (mixer.key, 0.1), (mixer.value, 1), (mixer.gate, 0.1)):
        torch.testing.assert_close(layer.weight @ layer.weight.T, gain**2 * torch.eye(64), rtol=0, atol=1e-5)
    for down, up in ((mixer.mix_down, mixer.mix_up), (mixer.decay_down, mixer.decay_up)):
        assert not down.any()
        assert 0.009 < up.abs().max() <= 0.01
        assert up.std().item() == pytest.approx(0.01 / 3**0.5, rel=0.05)


def test_decays_biases_and_low_ranks_are_exempt_from_weight_decay() -> None:
    decayed = {name for name, p in RWKV6(_shape(32, 4)).named_parameters() if not getattr(p, "no_weight_decay", False)}
    weights = {f"{name}.weight" for name in ("receptance", "key", "value", "gate", "out", "norm")}
    assert decayed == weights | {"norm.bias"}


def test_a_rank_of_zero_is_refused() -> None:
    with pytest.raises(UserError, match="ranks of 0 and 64"):
        RWKV6(_shape(32, 4), mix_rank=0)


def test_core_flops_by_hand() -> None:
    """Width 32 in 4 heads of 8 over 130 tokens: three chunks of 64."""
    mixer = RWKV6(_shape(32, 4), mix_rank=3, decay_rank=5)
    shifts, bonus, gate = 18 * 130 * 32, 5 * 130 * 32, 130 * 32
    matmul = 3 * 64 * 4 * (2 * 64 * 16 + 4 * 64)
    other = 3 * 64 * 4 * 8 * (48 + 2 + 5) + 2 * 4 * 2 * 64
    chunked = mixer.flops(130, "chunked")
    assert chunked.core == chunked.core_full == matmul + other + shifts + bonus + gate
    assert mixer.flops(130, "fft").core == chunked.core
    assert mixer.flops(130, "recurrence").core == 130 * 4 * 5 * 64 + shifts + bonus + gate
    assert chunked.projection == 2 * 130 * (5 * 32 * 32 + 2 * 5 * 3 * 32 + 2 * 5 * 32)
    assert chunked.matmul == chunked.projection + matmul
