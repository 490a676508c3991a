"""Small models of every registered mixer, for the tests that hold each of them to the contract."""

import torch

from eutectic.arch import registry
from eutectic.arch.base import ChannelMixer, Layer, Mixer
from eutectic.arch.model import Model, build, layer_shape
from eutectic.config import ModelConfig

# beyond each mixer with its defaults: options that change what is computed, and hybrids
VARIANTS = [
    ("attn(qk_norm=true)", "swiglu"),
    ("swa(window=16)", "swiglu"),
    ("[hyena*3|attn]", "swiglu"),
    ("hyena+attn@front", "swiglu"),
    ("attn", "mlp(activation=relu2)"),
]
CASES = [
    *((name, "swiglu") for name in registry.names(Mixer)),
    *(("attn", name) for name in registry.names(ChannelMixer) if name != "swiglu"),
    *VARIANTS,
]
IDS = [f"{layout} {channel}".removesuffix(" swiglu") for layout, channel in CASES]


def shape(layout: str, channel: str = "swiglu", vocab_size: int = 50) -> ModelConfig:
    return ModelConfig(layout, 2, 32, 4, 2, 48, vocab_size, n_modes=5, channel=channel)


SHAPE = layer_shape(shape("attn"), 0)


def perturb(model: Model, size: float = 0.1) -> Model:
    """A model off its start, where filters that begin as the identity and gates that begin shut would hide a fault."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def perturbed(layout: str, channel: str = "swiglu") -> Model:
    return perturb(build(shape(layout, channel), 0).double())


@torch.no_grad()
def stepped(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """A layer's outputs for x (batch, length, d_model), token by token."""
    state, rows = layer.init_state(len(x), x.shape[1]), []
    for token in x.unbind(1):
        y, state = layer.step(token, state)
        rows.append(y)
    return torch.stack(rows, 1)


def tokens(batch: int, length: int, seed: int = 1, vocab_size: int = 50) -> torch.Tensor:
    return torch.randint(0, vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))
