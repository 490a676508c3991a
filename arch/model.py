"""A language model of pre-norm blocks, each a sequence mixer and a channel mixer, under a tied head."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from eutectic.arch import layout, registry
from eutectic.arch.base import ChannelMixer, Layer, LayerShape, Mixer, State, StateSize
from eutectic.arch.layers import is_weight, rms_norm
from eutectic.arch.mixers.none import NoChannelMixer
from eutectic.arch.mup import doubled, scale_rates
from eutectic.arch.parallel import Parallel
from eutectic.config import ModelConfig


class Block(nn.Module):
    """x + mixer(norm(x)), then the same with the channel mixer, which may be none."""

    def __init__(self, mixer: Mixer, channel: ChannelMixer, shape: LayerShape):
        super().__init__()
        self.mixer_norm, self.mixer = rms_norm(shape.d_model, shape.norm_eps), mixer
        self.has_channel = not isinstance(channel, NoChannelMixer)
        if self.has_channel:
            self.channel_norm = rms_norm(shape.d_model, shape.norm_eps)
        self.channel = channel

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.mixer_norm(x))
        return x + self.channel(self.channel_norm(x)) if self.has_channel else x

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        return self._advance("prefill", x, state or (None, None))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self._advance("step", x, state)

    def _advance(self, how: str, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, mixer_state = getattr(self.mixer, how)(self.mixer_norm(x), state[0])
        x = x + y
        if not self.has_channel:
            return x, (mixer_state, ())
        y, channel_state = getattr(self.channel, how)(self.channel_norm(x), state[1])
        return x + y, (mixer_state, channel_state)

    def init_state(self, batch: int, capacity: int) -> State:
        return self.mixer.init_state(batch, capacity), self.channel.init_state(batch, capacity)

    def state_size(self, length: int) -> StateSize:
        return self.mixer.state_size(length) + self.channel.state_size(length)


class Model(nn.Module):
    """Maps token ids (batch, length) to logits (batch, length, vocab).

    recompute: whether `hidden` keeps of its blocks their inputs alone, from which the backward pass computes them again
    (Chen et al. 2016): a third more arithmetic, less memory, and the same numbers.
    """

    def __init__(self, model: ModelConfig):
        super().__init__()
        self.recompute = False
        self.logit_cap = model.logit_cap
        self.logit_scale = model.mup_base / model.d_model
        self.embedding = nn.Embedding(model.vocab_size, model.d_model)
        # logits of a normed stream have a variance of d_model std^2, which at great widths would show in the first loss
        std = 0.02 if model.mup_base else min(0.02, 0.4 * model.d_model**-0.5)
        nn.init.normal_(self.embedding.weight, std=std)
        self.blocks = nn.ModuleList(_blocks(model))
        self.norm = rms_norm(model.d_model, model.norm_eps)
        if not model.tied:
            self.head = nn.Linear(model.d_model, model.vocab_size, bias=False)
            nn.init.normal_(self.head.weight, std=std)
        if model.mup_base:
            scale_rates(self.blocks, blank(doubled(model)).blocks, model)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits(self.hidden(tokens))

    def hidden(self, tokens: Tensor) -> Tensor:
        """Ids (batch, length) to what the last block leaves, (batch, length, d_model)."""
        x: Tensor = self.embedding(tokens)
        for block in self.blocks:
            x = _recomputed(block, x) if self.recompute else block(x)
        return x

    def prefill(self, tokens: Tensor, states: list[State] | None = None) -> tuple[Tensor, list[State]]:
        """Ids (batch, length) after the tokens that `states` have seen to what `hidden` gives and the states after."""
        return self._advance("prefill", tokens, states or [None] * len(self.blocks))

    def step(self, tokens: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        """One token: ids (batch,) and the blocks' states to logits (batch, vocab) and the states after it."""
        x, states = self._advance("step", tokens, states)
        return self.logits(x), states

    def _advance(self, how: str, tokens: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        x, after = self.embedding(tokens), []
        for block, state in zip(self.layers(), states, strict=True):
            x, state = getattr(block, how)(x, state)
            after.append(state)
        return x, after

    def logits(self, x: Tensor) -> Tensor:
        """Of what `hidden` gives; capped softly as cap * tanh(logits / cap) (Gemma 2) where the config says so."""
        logits = nn.functional.linear(self.head_input(x), self.head_weight())
        return self.logit_cap * torch.tanh(logits / self.logit_cap) if self.logit_cap else logits

    def head_input(self, x: Tensor) -> Tensor:
        """What the head's linear map reads of what `hidden` gives."""
        return self.norm(x) * self.logit_scale if self.logit_scale else self.norm(x)

    def head_weight(self) -> Tensor:
        return self.head.weight if hasattr(self, "head") else self.embedding.weight

    def layers(self) -> list[Block]:
        """The blocks, typed: an nn.ModuleList forgets what it holds."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def penalty(self) -> Tensor | None:
        """What the mixers' last forward pass in training mode adds to the loss; None where no mixer adds anything."""
        layers = [module for block in self.layers() for module in block.modules() if isinstance(module, Layer)]
        parts = [layer.penalty for layer in layers if layer.penalty is not None]
        return torch.stack(parts).sum() if parts else None

    def init_state(self, batch: int, capacity: int) -> list[State]:
        """The states before the first token, with room for so many tokens a sequence."""
        return [block.init_state(batch, capacity) for block in self.layers()]

    def state_size(self, length: int) -> StateSize:
        """Real numbers one sequence's states hold after `length` tokens, over all layers."""
        return sum((block.state_size(length) for block in self.layers()), StateSize())


def _recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """block(x), to be computed again in the backward pass. Blocks draw nothing at random."""
    contexts = nullcontext(), _penalty_dropped(block)
    y: Tensor = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: contexts)
    return y


@contextmanager
def _penalty_dropped(block: nn.Module) -> Iterator[None]:
    """The penalty computed again is not needed, and holds what it was computed from."""
    try:
        yield
    finally:  # what is computed again ends by an exception, once it is enough
        for module in block.modules():
            if isinstance(module, Layer):
                module.penalty = None


def _blocks(model: ModelConfig) -> list[Block]:
    mixers = layout.expand(layout.parse(model.layout), model.n_layers)
    channels = layout.expand(layout.parse(model.channel), model.n_layers)
    blocks = []
    for index, (mixer, channel) in enumerate(zip(mixers, channels, strict=True)):
        shape = layer_shape(model, index)
        made = Parallel(shape, mixer) if len(mixer.parts) > 1 else registry.make(mixer.parts[0][0], Mixer, shape)
        blocks.append(Block(made, registry.make(channel.parts[0][0], ChannelMixer, shape), shape))
    return blocks


def layer_shape(model: ModelConfig, layer: int) -> LayerShape:
    return LayerShape(
        d_model=model.d_model,
        d_inner=model.d_model,
        n_heads=model.n_heads,
        n_kv_heads=model.n_kv_heads,
        d_ffn=model.d_ffn,
        layer=layer,
        n_layers=model.n_layers,
        # each of the 2 n_layers residual writes is scaled so that their sum's variance is depth-free (GPT-2)
        out_scale=(2 * model.n_layers) ** -0.5,
        n_modes=model.n_modes,
        poles=model.poles,
        rope_base=model.rope_base,
        norm_eps=model.norm_eps,
    )


def build(model: ModelConfig, seed: int, init_scale: float = 1.0) -> Model:
    """The model at step 0: a pure function of its shape, the seed and init_scale, which multiplies its weights, the
    embedding among them, and leaves gains, biases, filters and rates as they are drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = Model(model)
    with torch.no_grad():
        for parameter in filter(is_weight, built.parameters()):
            parameter.mul_(init_scale)
    return built


def blank(model: ModelConfig) -> Model:
    """The model without memory behind it, on torch's meta device: to be counted, not run."""
    with torch.device("meta"), _Undrawn():
        return Model(model)


# what fills a tensor or maps each of its numbers to one, which changes no shape, and what does so to two
OF_ONE = ("normal_", "uniform_", "kaiming_uniform_", "fill_", "index_fill_", "log", "exp", "expm1", "clamp", "neg")
OF_TWO = ("add", "sub", "mul", "div", "pow", "__rsub__", "__rpow__", "__rdiv__")


class _Undrawn(TorchFunctionMode):
    """Computes no initial values, of no use on the meta device: they are most of the time that a model takes to make
    there, some of it for the part of PyTorch that compiles, which takes seconds to import."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ in OF_ONE:
            return args[0] if args else kwargs["tensor"]
        if func.__name__ in OF_TWO and (dtype := torch.result_type(*args)).is_floating_point:
            shapes = (arg.shape for arg in args if isinstance(arg, Tensor))
            return torch.empty(torch.broadcast_shapes(*shapes), dtype=dtype)
        return func(*args, **kwargs or {})
