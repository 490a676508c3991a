"""What every registered mixer must do: registering one buys these tests."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eutectic.arch.flops import count
from eutectic.arch.layout import MIXERS
from eutectic.arch.mixers.hyena import Hyena
from eutectic.arch.model import Model, build
from eutectic.config import ModelConfig

LAYOUTS = [*MIXERS, "hyena*3+attn", "hyena+attn"]


def shape(layout: str, poles: str = "complex") -> ModelConfig:
    return ModelConfig(layout, 4, 24, 4, 2, 64, 50, n_modes=5, poles=poles)


def perturbed(layout: str, poles: str) -> Model:
    """A float64 model off its start, where filters that begin as the identity would hide a fault."""
    model = build(shape(layout, poles), 0).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


@pytest.mark.parametrize("poles", ["complex", "real"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_causality(layout: str, poles: str) -> None:
    model = perturbed(layout, poles)
    tokens = torch.randint(0, 50, (2, 150), generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[:, 97] = (changed[:, 97] + 1) % 50
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(after[:, :97], before[:, :97], rtol=0, atol=1e-12)
    assert (after[:, 97:] - before[:, 97:]).abs().amax((0, 2)).min() > 1e-9


@pytest.mark.parametrize("poles", ["complex", "real"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_step_equals_forward(layout: str, poles: str) -> None:
    model = perturbed(layout, poles)
    tokens = torch.randint(0, 50, (2, 130), generator=torch.Generator().manual_seed(2))
    states, rows = model.init_state(2), []
    for t in range(130):
        logits, states = model.step(tokens[:, t], states)
        rows.append(logits)
    torch.testing.assert_close(torch.stack(rows, 1), model(tokens), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 256, 300])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_flops_equal_torchs_counter(layout: str, length: int) -> None:
    model = build(shape(layout), 0).double()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, length, dtype=torch.long))
    assert counter.get_total_flops() == count(shape(layout), length).matmul


@pytest.mark.parametrize("length", [64, 256])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_exact_causal_is_the_counter_less_half_of_attention(layout: str, length: int) -> None:
    counts = count(shape(layout), length)
    n_attn = [layout] * 4 if layout in MIXERS else {"hyena*3+attn": ["attn"], "hyena+attn": ["attn"] * 2}[layout]
    halved = sum(2 * length**2 * 24 for name in n_attn if name == "attn")
    assert counts.core_full - counts.core == halved
    elementwise = counts.projection + counts.core_full + counts.channel + counts.head - counts.matmul
    n_hyena = 4 - sum(name == "attn" for name in n_attn)
    chunks = length // 64
    assert elementwise == n_hyena * 24 * ((chunks - 1) * 5 * 8 + length * (3 * 2 * 3 + 4))


def test_conv_algorithms_by_hand() -> None:
    mixer = Hyena(shape("hyena"), 1.0)
    fir_and_gates = 128 * 24 * 22
    assert mixer.flops(128, "recurrence").core == 128 * 24 * 5 * 12 + fir_and_gates
    assert mixer.flops(128, "chunked").core == 24 * (2 * 128 * (64 + 20) + 5 * 8) + fir_and_gates
    assert mixer.flops(128, "fft").core == 24 * (2 * 2.5 * 256 * 8 + 6 * 129) + fir_and_gates


@pytest.mark.parametrize("layout", LAYOUTS)
def test_state_bytes_are_the_caches(layout: str) -> None:
    model = build(shape(layout), 0)
    states = model.init_state(1)
    for _ in range(9):
        _, states = model.step(torch.zeros(1, dtype=torch.long), states)
    for block, state in zip(model.layers(), states, strict=True):
        real = sum(t.numel() * t.element_size() for t in state)
        assert real == block.mixer.state_bytes(9, torch.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameters_by_group(layout: str) -> None:
    counts = count(shape(layout), 64)
    assert counts.params == sum(p.numel() for p in Model(shape(layout)).parameters())
    assert counts.params_embedding == 50 * 24
    assert counts.params_channel == 4 * 3 * 24 * 64
    assert counts.params_norm == 9 * 24
    attn, hyena = 24 * (24 + 24) + 24 * 24, 24 * 24 * 4 + 24 * (9 + 4 * 5 + 1)
    blocks = {
        "attn": 4 * attn,
        "hyena": 4 * hyena,
        "hyena*3+attn": 3 * hyena + attn,
        "hyena+attn": 2 * (hyena + attn),
    }
    assert counts.params_mixer == blocks[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_starts_at_ln_vocab(layout: str) -> None:
    model = build(dataclasses.replace(shape(layout), vocab_size=256), 0)
    tokens = torch.randint(0, 256, (4, 129), generator=torch.Generator().manual_seed(3))
    loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(5.545, rel=0.02)


def test_conv_forms_agree_within_the_model() -> None:
    x = torch.randn(2, 200, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    torch.manual_seed(0)
    mixer = Hyena(shape("hyena"), 1.0).double()
    outputs = {}
    for conv in ("naive", "fft", "chunked"):
        other = Hyena(shape("hyena"), 1.0, conv=conv).double()
        other.load_state_dict(mixer.state_dict())
        outputs[conv] = other(x)
    torch.testing.assert_close(outputs["fft"], outputs["naive"], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(outputs["chunked"], outputs["naive"], rtol=1e-10, atol=1e-12)
