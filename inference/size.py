"""The bytes that decoding keeps of a sequence, by kind of layer: by the mixers' formulas and of the real tensors."""

import math
import re
from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch.utils._pytree import tree_leaves

from eutectic.arch import layout, registry
from eutectic.arch.base import Mixer, State
from eutectic.arch.model import Block, blank
from eutectic.config import ModelConfig
from eutectic.errors import UserError

SHAPES = {
    "7b": ModelConfig("attn", 32, 4096, 32, 8, 14_336, 32_000, n_modes=2),  # StripedHyena-7B (Together 2023)
}


@dataclass(frozen=True)
class LayerKind:
    """Layers that are alike. formula and measured: bytes of one; measured: None where it would take too much memory."""

    kind: str
    layers: int
    formula: int
    measured: int | None


@dataclass(frozen=True)
class Sizes:
    """Of a model after `length` tokens."""

    length: int
    kinds: tuple[LayerKind, ...]

    @property
    def total(self) -> int:
        """Bytes of all layers, by formula."""
        return sum(kind.layers * kind.formula for kind in self.kinds)

    @property
    def measured(self) -> int | None:
        """Bytes of all layers, by the tensors of one of each kind; None where one was not made."""
        made = [kind.layers * kind.measured for kind in self.kinds if kind.measured is not None]
        return sum(made) if len(made) == len(self.kinds) else None


def with_shape(shape: str, arch: str) -> ModelConfig:
    """`7b`, or LAYERSxWIDTHxHEADSxKV_HEADS. Raises UserError for another."""
    stack = registry.canonical(arch, Mixer)
    if shape in SHAPES:
        return replace(SHAPES[shape], layout=stack)
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)", shape)
    if not found:
        raise UserError(f"--shape {shape!r} is no shape; write 7b, or LAYERSxWIDTHxHEADSxKV_HEADS, e.g. 8x512x8x2.")
    n_layers, d_model, n_heads, n_kv_heads = map(int, found.groups())
    if min(n_layers, n_heads, n_kv_heads) < 1 or n_heads % n_kv_heads or d_model % (2 * n_heads):
        raise UserError(
            f"--shape {shape} cannot be: the width is to be a multiple of the heads, with an even number of channels "
            "each, and these of the heads of keys and values."
        )
    return ModelConfig(stack, n_layers, d_model, n_heads, n_kv_heads, 3 * d_model, 32_000)


def sizes(model: ModelConfig, length: int, dtype: torch.dtype, most: float = math.inf) -> Sizes:
    """One layer of each kind is made, and its state with room for `length` tokens: real tensors, in the memory here,
    but for states of more than `most` bytes."""
    names = [str(term) for term in layout.expand(layout.parse(model.layout), model.n_layers)]
    blocks = dict(zip(names, blank(model).layers(), strict=True))
    layers = Counter(names)
    formulas = {name: block.state_size(length).bytes(dtype) for name, block in blocks.items()}
    kinds = [
        LayerKind(name, layers[name], size, _measured(blocks[name], length, dtype) if size <= most else None)
        for name, size in formulas.items()
    ]
    return Sizes(length, tuple(kinds))


def _measured(block: Block, length: int, dtype: torch.dtype) -> int:
    return state_bytes(block.to_empty(device="cpu").to(dtype).init_state(1, length))


def state_bytes(state: State) -> int:
    """Of its tensors, but for the integers, which count tokens."""
    numbers = [leaf for leaf in tree_leaves(state) if leaf.is_floating_point() or leaf.is_complex()]
    return sum(leaf.numel() * leaf.element_size() for leaf in numbers)
