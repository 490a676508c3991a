"""Llama (Touvron et al. 2023) from Hugging Face: rotary attention and SwiGLU, with q, k, v and gate, up fused here."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eutectic.config import ModelConfig
from eutectic.errors import UserError


def convert(config: dict[str, Any], weights: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """config.json and LlamaForCausalLM's state dict to a ModelConfig and our Model's state dict.

    Raises UserError for a feature that our layers do not have.
    """
    return transformer(config, weights, "attn")


def transformer(
    config: dict[str, Any], weights: Mapping[str, Tensor], layout: str
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """convert() for every model that is named as Llama is and differs only in its attention, `layout`."""
    rope = _rope(config)
    _refuse_other_layers(config, rope)
    model = ModelConfig(
        layout=layout,
        n_layers=config["num_hidden_layers"],
        d_model=config["hidden_size"],
        n_heads=config["num_attention_heads"],
        n_kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        d_ffn=config["intermediate_size"],
        vocab_size=config["vocab_size"],
        rope_base=rope["rope_theta"],
        tied=config.get("tie_word_embeddings", False),
        norm_eps=config["rms_norm_eps"],
    )
    ours = {"embedding.weight": weights["model.embed_tokens.weight"], "norm.weight": weights["model.norm.weight"]}
    if not model.tied:
        ours["head.weight"] = weights["lm_head.weight"]
    for layer in range(model.n_layers):
        ours |= _block(weights, f"model.layers.{layer}.", f"blocks.{layer}.")
    return model, ours


def _block(weights: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    def fused(*names: str) -> Tensor:
        return torch.cat([weights[f"{theirs}{name}_proj.weight"] for name in names])

    return {
        f"{ours}mixer_norm.weight": weights[f"{theirs}input_layernorm.weight"],
        f"{ours}mixer.qkv.weight": fused("self_attn.q", "self_attn.k", "self_attn.v"),
        f"{ours}mixer.out.weight": fused("self_attn.o"),
        f"{ours}channel_norm.weight": weights[f"{theirs}post_attention_layernorm.weight"],
        f"{ours}channel.up.weight": fused("mlp.gate", "mlp.up"),
        f"{ours}channel.down.weight": fused("mlp.down"),
    }


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """Rotary parameters: those of transformers 5, or of 4, where theta stands alone and scaling is `rope_scaling`."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = config.get("rope_theta", 10_000.0)
    return {"rope_theta": theta, "rope_type": found.get("type", "default"), "partial_rotary_factor": 1.0} | found


def _refuse_other_layers(config: dict[str, Any], rope: dict[str, Any]) -> None:
    d_head = config["hidden_size"] // config["num_attention_heads"]
    needed = {
        "rope_type": "default",
        "partial_rotary_factor": 1.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "head_dim": d_head,
    }
    found = needed | rope | {key: config[key] for key in needed if config.get(key) is not None}
    for key, value in needed.items():
        if found[key] != value:
            raise UserError(
                f"the checkpoint has {key}={found[key]!r}, which eutectic's layers cannot be; "
                f"choose one with {key}={value!r}."
            )
