"""Makes an architecture as large, or as costly, as pure attention with SwiGLU on the same rung of the ladder."""

import bisect
import dataclasses
from collections.abc import Callable

from eutectic.config import ModelConfig
from eutectic.errors import UserError

MODES = ("width", "params", "flops")
REFERENCE_CHANNEL = "swiglu"
TOLERANCE = 0.02
# hidden widths that a GPU likes, where they are fine enough
COARSE_STEP, COARSE_FROM = 8, 512


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
