"""Maximal update parametrization: the learning rate that is best at one width is best at the others.

Yang et al. 2022 (Tensor Programs V), table 8, for Adam: what sums over the width learns at a rate of base / width, and
logits are multiplied by that too; vectors, filters and the embedding keep the rate, and so do low-rank factors that are
no linear maps (RWKV's). Weights start as they do without it, at a variance of 1 / fan-in. Heads are to keep their size,
for then scores sum over a fixed number of channels.
"""

import dataclasses

from torch import nn

from eutectic.config import ModelConfig


def scale_rates(model: nn.Module, wider: nn.Module, config: ModelConfig) -> None:
    """Mark the parameters that sum over the width with their share of the learning rate, beside any of their own.

    wider: the same model at twice the width, whose shapes say which dimensions grow.
    """
    summing = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    for parameter, other in zip(model.parameters(), wider.parameters(), strict=True):
        grows = [b > a for a, b in zip(parameter.shape, other.shape, strict=True)]
        # a linear map sums over its last dimension; any other tensor that grows twice over is a matrix, too
        if grows[-1] if id(parameter) in summing else sum(grows) > 1:
            own = getattr(parameter, "lr_scale", 1.0)
            parameter.lr_scale = own * config.mup_base / config.d_model  # type: ignore[attr-defined]


def doubled(config: ModelConfig) -> ModelConfig:
    return dataclasses.replace(config, d_model=2 * config.d_model, d_ffn=2 * config.d_ffn, mup_base=0)
