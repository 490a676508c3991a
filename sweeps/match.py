"""Makes an architecture as large, or as costly, as pure attention with SwiGLU on the same rung of the ladder, or gives
its layers states of one size."""

import bisect
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from eutectic.arch import flops, layout, registry
from eutectic.arch.layout import MixerTerm
from eutectic.config import ModelConfig
from eutectic.errors import UserError

MODES = ("width", "params", "flops")
REFERENCE_CHANNEL = "swiglu"
TOLERANCE = 0.02
# hidden widths that a GPU likes, where they are fine enough
COARSE_STEP, COARSE_FROM = 8, 512
# what sets how much a mixer keeps: an option of its own, the model's modes or its heads. Of others, such as attention,
# the length of what they have read does, or nothing
OWN_OPTION = {
    **dict.fromkeys(("h3", "s4d", "mamba", "mamba2"), "d_state"),
    **{"rtf": "order", "hyena_mr": "taps", "swa": "window", "mega": "ema_dim"},
}
BY_MODES = ("hyena", "multihyena")
BY_HEADS = ("linear_attn", "gla", "retention", "deltanet", "gated_deltanet", "rwkv6", "rwkv7", "mlstm")
LARGEST_STATE, LEAST_HEAD = 512, 8  # of what sets it, and channels of a head


def to_attention(model: ModelConfig, size: Callable[[ModelConfig], int], mode: str) -> ModelConfig:
    """The model with the hidden width of its channel mixers at which its size is nearest to pure attention's.

    size: parameters, or FLOPs of a sequence, whichever `mode` says. Depth, width and heads stay. Raises UserError where
    the channel mixers cannot make up the difference to 2%.
    """
    target = size(dataclasses.replace(model, layout="attn", channel=REFERENCE_CHANNEL))
    step = COARSE_STEP if model.d_model >= COARSE_FROM else 1
    candidates = [dataclasses.replace(model, d_ffn=d) for d in range(step, 4 * model.d_ffn, step)]
    above = bisect.bisect_left(candidates, target, key=size)
    best = min(candidates[max(0, above - 1) : above + 1], key=lambda candidate: abs(size(candidate) - target))
    if abs(size(best) / target - 1) > TOLERANCE:
        raise UserError(
            f"{model.layout} of width {model.d_model} with channel mixer {model.channel} cannot have attn's {mode} of "
            f"{target:,}: the nearest is {size(best):,}; use match width."
        )
    return best


def to_state(model: ModelConfig, numbers: int, length: int) -> ModelConfig:
    """The model whose layers each keep as nearly so many numbers of a sequence of `length` as their mixers' options
    allow. Modes and heads are the whole model's, and follow the first mixer that they matter to."""
    names = dict.fromkeys(term.name for part in layout.parse(model.layout).block for term, _ in part.parts)
    for name in names:
        if name in OWN_OPTION:
            model = dataclasses.replace(model, layout=_with_own(model, name, numbers, length))
    modal, headed = (next((n for n in names if n in kind), None) for kind in (BY_MODES, BY_HEADS))
    if headed:
        heads = [n for n in range(1, model.d_model // LEAST_HEAD + 1) if model.d_model % n == 0]
        found = _nearest(heads, numbers, lambda n: _state(_alone(model, headed, n_heads=n, n_kv_heads=n), length))
        model = dataclasses.replace(model, n_heads=found, n_kv_heads=found)
    if modal:
        modes = range(1, LARGEST_STATE + 1)
        found = _nearest(modes, numbers, lambda n: _state(_alone(model, modal, n_modes=n), length))
        model = dataclasses.replace(model, n_modes=found)
    return model


def _with_own(model: ModelConfig, name: str, numbers: int, length: int) -> str:
    option = OWN_OPTION[name]

    def size(value: int) -> int:
        return _state(_alone(model, registry.filled(name, option, value)), length)

    value = _nearest(range(2, LARGEST_STATE + 1, 2), numbers, size)

    def change(term: MixerTerm) -> MixerTerm:
        others = {key: text for key, text in term.options if key != option}
        return MixerTerm(name, tuple(sorted({**others, option: str(value)}.items()))) if term.name == name else term

    return registry.canonical(str(layout.parse(model.layout).with_terms(change)))


def _alone(model: ModelConfig, term: str, **numbers: Any) -> ModelConfig:
    return dataclasses.replace(model, layout=term, n_layers=1, **numbers)


def _state(model: ModelConfig, length: int) -> int:
    return flops.count(model, length).state.dim


def _nearest(values: Sequence[int], target: int, size: Callable[[int], int]) -> int:
    """Of values that size() only grows or only falls with, the one nearest to the target."""
    ordered = values if size(values[0]) <= size(values[-1]) else values[::-1]
    above = bisect.bisect_left(ordered, target, key=size)
    return min(ordered[max(0, above - 1) : above + 1], key=lambda value: abs(size(value) - target))
