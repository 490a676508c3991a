"""Mamba (Gu and Dao 2023) from Hugging Face."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eutectic.config import ModelConfig
from eutectic.errors import UserError

# our mixer's names -> theirs, where the tensors are the same
SAME = {
    "in_proj.weight": "in_proj.weight",
    "x_proj.weight": "x_proj.weight",
    "dt_proj.weight": "dt_proj.weight",
    "dt_bias": "dt_proj.bias",
    "A_log": "A_log",
    "D": "D",
    "out.weight": "out_proj.weight",
}


def convert(config: dict[str, Any], weights: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """config.json and MambaForCausalLM's state dict to a ModelConfig and our Model's state dict.

    Raises UserError for a feature that our layers do not have.
    """
    refuse_other_layers(config)
    d_state, expand, dt_rank = (config[key] for key in ("state_size", "expand", "time_step_rank"))
    if dt_rank == -(-config["hidden_size"] // 16):
        dt_rank = 0
    layout = f"mamba(d_state={d_state},expand={expand},dt_rank={dt_rank})"
    model = stack(config, layout, n_heads=1, tied=config.get("tie_word_embeddings", True))
    return model, state_dict(model, weights, SAME)


def refuse_other_layers(config: dict[str, Any]) -> None:
    needed = {"hidden_act": "silu", "conv_kernel": 4, "use_bias": False, "use_conv_bias": True}
    for key, value in needed.items():
        if config.get(key, value) != value:
            raise UserError(
                f"the checkpoint has {key}={config[key]!r}, which eutectic's layers cannot be; "
                f"choose one with {key}={value!r}."
            )


def stack(config: dict[str, Any], layout: str, n_heads: int, tied: bool) -> ModelConfig:
    """A model of such mixers and nothing between them."""
    return ModelConfig(
        layout=layout,
        n_layers=config["num_hidden_layers"],
        d_model=config["hidden_size"],
        n_heads=n_heads,
        n_kv_heads=n_heads,
        d_ffn=0,
        vocab_size=config["vocab_size"],
        channel="none",
        tied=tied,
        norm_eps=config["layer_norm_epsilon"],
    )


def state_dict(model: ModelConfig, weights: Mapping[str, Tensor], same: dict[str, str]) -> dict[str, Tensor]:
    """Our Model's tensors. Their convolution's last tap weighs the newest input, ours the first."""
    ours = {"embedding.weight": weights["backbone.embeddings.weight"], "norm.weight": weights["backbone.norm_f.weight"]}
    if not model.tied:
        ours["head.weight"] = weights["lm_head.weight"]
    for layer in range(model.n_layers):
        block, theirs = f"blocks.{layer}", f"backbone.layers.{layer}"
        ours[f"{block}.mixer_norm.weight"] = weights[f"{theirs}.norm.weight"]
        ours[f"{block}.mixer.taps"] = weights[f"{theirs}.mixer.conv1d.weight"][:, 0].flip(1)
        ours[f"{block}.mixer.conv_bias"] = weights[f"{theirs}.mixer.conv1d.bias"]
        for name, other in same.items():
            ours[f"{block}.mixer.{name}"] = weights[f"{theirs}.mixer.{other}"]
    return ours
