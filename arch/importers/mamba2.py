"""Mamba-2 (Dao and Gu 2024) from Hugging Face."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eutectic.arch.importers.mamba import refuse_other_layers, stack, state_dict
from eutectic.config import ModelConfig
from eutectic.errors import UserError

# our mixer's names -> theirs, where the tensors are the same
SAME = {
    "in_proj.weight": "in_proj.weight",
    "dt_bias": "dt_bias",
    "A_log": "A_log",
    "D": "D",
    "gain": "norm.weight",
    "out.weight": "out_proj.weight",
}


def convert(config: dict[str, Any], weights: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """config.json and Mamba2ForCausalLM's state dict to a ModelConfig and our Model's state dict.

    Raises UserError for a feature that our layers do not have.
    """
    refuse_other_layers(config)
    _refuse_limited_steps(config)
    expand, n_heads = config["expand"], config["num_heads"]
    if n_heads % expand:
        raise UserError(
            f"the checkpoint has num_heads={n_heads}, which is no multiple of expand={expand}; choose one where it is."
        )
    layout = f"mamba2(d_state={config['state_size']},expand={expand},n_groups={config['n_groups']})"
    model = stack(config, layout, n_heads // expand, tied=config.get("tie_word_embeddings", False))
    return model, state_dict(model, weights, SAME)


def _refuse_limited_steps(config: dict[str, Any]) -> None:
    low, high = config.get("time_step_limit", (0.0, math.inf))
    # transformers 5 writes {"__float__": "Infinity"}
    high = float(high["__float__"]) if isinstance(high, dict) else high
    if low > 0 or high < math.inf:
        raise UserError(
            f"the checkpoint has time_step_limit=({low}, {high}), which eutectic's layers cannot have; "
            "choose one with (0.0, inf)."
        )
