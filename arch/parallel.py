"""Several mixers side by side in one layer, each with a share of the channels (Falcon-H1, Zuo et al. 2025)."""

import dataclasses

from torch import Tensor, nn

from eutectic.arch import registry
from eutectic.arch.base import LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layout import LayerTerm
from eutectic.errors import UserError


class Parallel(Mixer):
    """The sum of its mixers' outputs. All read the whole width; a mixer with share s has s * d_inner inner channels.

    Concatenating the inner channels under one output projection, as Falcon-H1 does, is the same map.
    """

    def __init__(self, shape: LayerShape, term: LayerTerm):
        super().__init__()
        self.mixers = nn.ModuleList(
            registry.make(mixer, Mixer, _part(shape, term, share.numerator, share.denominator))
            for mixer, share in term.parts
        )

    def _parts(self) -> list[Mixer]:
        return [mixer for mixer in self.mixers if isinstance(mixer, Mixer)]

    def forward(self, x: Tensor) -> Tensor:
        y = sum(mixer(x) for mixer in self.mixers)
        assert isinstance(y, Tensor)
        return y

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        parts = self._parts()
        pairs = [mixer.prefill(x, s) for mixer, s in zip(parts, state or [None] * len(parts), strict=True)]
        return sum(y for y, _ in pairs), tuple(s for _, s in pairs)  # type: ignore[return-value]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        pairs = [mixer.step(x, s) for mixer, s in zip(self._parts(), state, strict=True)]
        return sum(y for y, _ in pairs), tuple(s for _, s in pairs)  # type: ignore[return-value]

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        each = [mixer.flops(length, conv_algorithm) for mixer in self._parts()]
        return MixerFlops(*(sum(column) for column in zip(*map(dataclasses.astuple, each), strict=True)))

    def init_state(self, batch: int, capacity: int) -> State:
        return tuple(mixer.init_state(batch, capacity) for mixer in self._parts())

    def state_size(self, length: int) -> StateSize:
        return sum((mixer.state_size(length) for mixer in self._parts()), StateSize())


def _part(shape: LayerShape, term: LayerTerm, numerator: int, denominator: int) -> LayerShape:
    """The shape of a mixer that has numerator / denominator of the heads. Raises UserError where they do not divide."""
    if shape.n_heads * numerator % denominator:
        raise UserError(
            f"layer {term} gives a mixer {numerator}/{denominator} of {shape.n_heads} heads; "
            f"use a model whose heads are a multiple of {denominator}."
        )
    heads = shape.n_heads * numerator // denominator
    kv_heads = max(1, shape.n_kv_heads * numerator // denominator)
    while heads % kv_heads:
        kv_heads -= 1
    d_inner = shape.d_inner * numerator // denominator
    return dataclasses.replace(shape, d_inner=d_inner, n_heads=heads, n_kv_heads=kv_heads)
