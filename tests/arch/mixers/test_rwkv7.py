"""RWKV-7's time mixing against the rwkv package's whole model and flash-linear-attention's recurrence."""

from pathlib import Path

import pytest
import torch
from public import assert_same, rwkv_package
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.base import LayerShape
from eutectic.arch.mixers.rwkv7 import RWKV7
from eutectic.kernels import dplr

# width, heads, layers, length
SHAPES = [(32, 4, 2, 70), (64, 2, 3, 33), (48, 6, 1, 130)]
VOCAB = 30


def _shape(d_model: int, n_heads: int, layer: int = 0, n_layers: int = 2) -> LayerShape:
    return LayerShape(d_model, d_model, n_heads, n_heads, 2 * d_model, layer, n_layers, 0.5)


def _mixers(d_model: int, n_heads: int, n_layers: int) -> list[RWKV7]:
    """Off their start, where the data-dependent parts are zero."""
    torch.manual_seed(3)
    mixers = [RWKV7(_shape(d_model, n_heads, layer, n_layers)) for layer in range(n_layers)]
    with torch.no_grad():
        for mixer in mixers:
            for parameter in mixer.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
    return mixers


def _named(mixer: RWKV7, layer: int) -> dict[str, Tensor]:
    """A mixer's weights under the package's names; v0 shuts the mix with the first layer's values, which ours lacks."""
    d_inner = mixer.out.in_features
    vectors = {f"x_{name}": mu for name, mu in zip("rwkvag", mixer.mu, strict=True)}
    vectors |= {"w0": mixer.decay, "a0": mixer.rate, "k_k": mixer.k_k, "k_a": mixer.k_a, "r_k": mixer.r_k}
    low_rank = {"w1": mixer.decay_down, "w2": mixer.decay_up, "a1": mixer.rate_down, "a2": mixer.rate_up}
    low_rank |= {
        "g1": mixer.gate_down,
        "g2": mixer.gate_up,
        "v1": torch.randn(d_inner, 8),
        "v2": torch.randn(8, d_inner),
    }
    matrices = {"receptance": mixer.receptance, "key": mixer.key, "value": mixer.value, "output": mixer.out}
    matrices |= {"ln_x": mixer.norm}
    weights = vectors | low_rank | {"v0": torch.full((d_inner,), -1e9), "ln_x.bias": mixer.norm.bias}
    weights |= {f"{name}.weight": module.weight for name, module in matrices.items()}
    return {f"blocks.{layer}.att.{name}": weight.detach().clone() for name, weight in weights.items()}


def _around(d_model: int, n_layers: int) -> dict[str, Tensor]:
    """The rest of a model: LayerNorms, channel mixing, embedding and head."""
    names = ["blocks.0.ln0", *(f"blocks.{i}.ln{j}" for i in range(n_layers) for j in (1, 2)), "ln_out"]
    weights = {f"{name}.weight": 1 + 0.2 * torch.randn(d_model) for name in names}
    weights |= {f"{name}.bias": 0.2 * torch.randn(d_model) for name in names}
    for i in range(n_layers):
        weights[f"blocks.{i}.ffn.x_k"] = torch.rand(d_model)
        weights[f"blocks.{i}.ffn.key.weight"] = torch.randn(2 * d_model, d_model) / d_model**0.5
        weights[f"blocks.{i}.ffn.value.weight"] = torch.randn(d_model, 2 * d_model) / d_model**0.5
    return weights | {"emb.weight": torch.randn(VOCAB, d_model), "head.weight": torch.randn(VOCAB, d_model)}


@pytest.mark.parametrize(("d_model", "n_heads", "n_layers", "length"), SHAPES)
def test_logits_are_the_packages(d_model: int, n_heads: int, n_layers: int, length: int, tmp_path: Path) -> None:
    """A whole RWKV-7 but for the first layer's values: its LayerNorms and channel mixing around our time mixing."""
    mixers, around = _mixers(d_model, n_heads, n_layers), _around(d_model, n_layers)
    weights = dict(around)
    for i, mixer in enumerate(mixers):
        weights |= _named(mixer, i)
    torch.save({name: weight.clone() for name, weight in weights.items()}, tmp_path / "random.pth")
    public = rwkv_package(seven=True).RWKV(str(tmp_path / "random"), "cpu fp32")
    read = torch.randint(0, VOCAB, (length,)).tolist()
    expected, state = public.forward(read, None, full_output=True)

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (d_model,), around[f"{name}.weight"], around[f"{name}.bias"])

    x = norm(around["emb.weight"][read], "blocks.0.ln0")[None]
    with torch.no_grad():
        for i, mixer in enumerate(mixers):
            y, (_, memory) = mixer.prefill(norm(x, f"blocks.{i}.ln1"), None)
            assert_same(memory[0].mT, state[3 * i + 1])
            x = x + y
            ffn = f"blocks.{i}.ffn."
            z = norm(x, f"blocks.{i}.ln2")
            z = z + (F.pad(z, (0, 0, 1, -1)) - z) * around[f"{ffn}x_k"]
            x = x + F.relu(z @ around[f"{ffn}key.weight"].mT) ** 2 @ around[f"{ffn}value.weight"].mT
    assert_same(F.linear(norm(x, "ln_out"), around["head.weight"])[0], expected)


def test_starts_as_the_authors_trainer() -> None:
    """RWKV-LM's x070 in the last of three layers, width 64 in 2 heads: 1 - 2/3 of the layers above."""
    torch.manual_seed(0)
    mixer = RWKV7(_shape(64, 2, 2, 3))
    for n in (0, 7, 40, 63):
        powers = [0.2, 0.9, 0.7, 0.7, 0.9, 0.2]
        assert mixer.mu[:, n].tolist() == pytest.approx([1 - (n / 64) ** (p / 3) for p in powers], abs=1e-6)
        place, zigzag = n / 63 - 0.5, ((n % 32) - 15.5) / 15.5
        zigzag *= abs(zigzag)
        assert mixer.decay[n].item() == pytest.approx(-6 + 6 * (n / 63) ** 2 + 0.5 + 2.5 * zigzag, abs=1e-5)
        assert mixer.rate[n].item() == pytest.approx(-0.19 + 0.3 * zigzag + 0.4 * place, abs=1e-6)
        assert mixer.k_k[n].item() == pytest.approx(0.71 - 0.1 * place, abs=1e-6)
    assert mixer.k_a.tolist() == pytest.approx([1.02] * 64)
    assert mixer.r_k.flatten().tolist() == pytest.approx([-0.04] * 64)
    first = RWKV7(_shape(64, 2, 0, 3))
    assert first.decay[21].item() == pytest.approx(-6 + 6 / 3 + 0.5 + 2.5 * (5.5 / 15.5) ** 2, abs=1e-5)
    assert first.norm.weight.tolist() == pytest.approx([(1 / 3) ** 0.7] * 64)
    for layer, gain in ((mixer.receptance, 1), (mixer.key, 0.1), (mixer.value, 1)):
        torch.testing.assert_close(layer.weight @ layer.weight.T, gain**2 * torch.eye(64), rtol=0, atol=1e-5)


def test_low_ranks_start_shut_and_orthogonal() -> None:
    """Ranks 2.5, 2.5 and 5 times sqrt(width), in steps of 32; B has gain 0.1, more where it is taller than wide."""
    wide, narrow = RWKV7(_shape(768, 12)), RWKV7(_shape(16, 2))
    for name, rank in (("decay", 64), ("rate", 64), ("gate", 128)):
        down, up = getattr(wide, f"{name}_down"), getattr(wide, f"{name}_up")
        assert (down.shape, up.shape) == ((768, rank), (rank, 768))
        assert not down.any()
        torch.testing.assert_close(up @ up.T, 0.01 * torch.eye(rank), rtol=0, atol=1e-5)
        up = getattr(narrow, f"{name}_up")
        torch.testing.assert_close(up.T @ up, 0.01 * 2 * torch.eye(16), rtol=0, atol=1e-5)


def test_all_but_matrices_and_norms_are_exempt_from_weight_decay() -> None:
    decayed = {name for name, p in RWKV7(_shape(32, 4)).named_parameters() if not getattr(p, "no_weight_decay", False)}
    assert decayed == {f"{name}.weight" for name in ("receptance", "key", "value", "out", "norm")} | {"norm.bias"}


def test_decays_stay_above_their_floor() -> None:
    """exp(-exp(-1/2)) a step, whatever the input: what dplr's exponents rely on."""
    mixer = RWKV7(_shape(32, 4))
    with torch.no_grad():
        mixer.decay.fill_(1e4)
        *_, log_decay, _ = mixer._inputs(torch.randn(1, 5, 32), torch.randn(1, 5, 32))
    assert log_decay.unique().tolist() == pytest.approx([-0.60653066])


def test_flops_by_hand() -> None:
    """128 tokens, width 32, 4 heads of 8: four square matrices, and three pairs of rank 32."""
    mixer = RWKV7(_shape(32, 4))
    around = 128 * (13 + 12) * 32
    assert mixer.flops(128, "recurrence").projection == 128 * 2 * 32 * (4 * 32 + 6 * 32)
    assert mixer.flops(128, "recurrence").core == around + 128 * 4 * 9 * 64
    for algorithm in ("chunked", "fft"):
        assert mixer.flops(128, algorithm).core == around + dplr.flops(128, 4, 8, 8, "chunked")
