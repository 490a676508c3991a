"""A language model of pre-norm blocks, each a sequence mixer and a SwiGLU, under a tied head."""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from eutectic.arch import layout
from eutectic.arch.base import Mixer
from eutectic.arch.layers import SwiGLU, rms_norm
from eutectic.config import ModelConfig


class Block(nn.Module):
    def __init__(self, mixer: Mixer, model: ModelConfig, out_scale: float):
        super().__init__()
        self.mixer_norm, self.mixer = rms_norm(model.d_model), mixer
        self.channel_norm = rms_norm(model.d_model)
        self.channel = SwiGLU(model.d_model, model.d_ffn, out_scale)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.mixer_norm(x))
        return x + self.channel(self.channel_norm(x))

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = self.mixer.step(self.mixer_norm(x), state)
        x = x + y
        return x + self.channel(self.channel_norm(x)), state


class Model(nn.Module):
    """Maps token ids (batch, length) to logits (batch, length, vocab)."""

    def __init__(self, model: ModelConfig):
        super().__init__()
        # each of the 2 n_layers residual writes is scaled so that their sum's variance is depth-free (GPT-2)
        out_scale = (2 * model.n_layers) ** -0.5
        self.embedding = nn.Embedding(model.vocab_size, model.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(
            Block(_mixer_class(name)(model, out_scale), model, out_scale)
            for name in layout.expand(model.layout, model.n_layers)
        )
        self.norm = rms_norm(model.d_model)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return nn.functional.linear(self.norm(x), self.embedding.weight)

    def layers(self) -> list[Block]:
        """The blocks, typed: an nn.ModuleList forgets what it holds."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def init_state(self, batch: int) -> list[Any]:
        return [block.mixer.init_state(batch) for block in self.layers()]

    def step(self, tokens: Tensor, states: list[Any]) -> tuple[Tensor, list[Any]]:
        """One token: ids (batch,) and the blocks' states to logits (batch, vocab) and the states after it."""
        x, after = self.embedding(tokens), []
        for block, state in zip(self.layers(), states, strict=True):
            x, state = block.step(x, state)
            after.append(state)
        return nn.functional.linear(self.norm(x), self.embedding.weight), after


def _mixer_class(name: str) -> type[Any]:
    module, _, attribute = layout.MIXERS[name].partition(":")
    loaded: type[Any] = getattr(importlib.import_module(module), attribute)
    return loaded


def build(model: ModelConfig, seed: int) -> Model:
    """The model at step 0: a pure function of its shape and the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model(model)
