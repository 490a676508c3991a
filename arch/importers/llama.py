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


def is_llama(model: ModelConfig) -> bool:
    """Whether LlamaForCausalLM computes what the model does."""
    layers = model.layout, model.channel, model.logit_cap, model.mup_base
    return layers == ("attn", "swiglu", 0.0, 0)


def invert(model: ModelConfig, weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What convert() makes this ModelConfig and state dict of, of a model that is_llama()."""
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": model.n_layers,
        "hidden_size": model.d_model,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.n_kv_heads,
        "intermediate_size": model.d_ffn,
        "vocab_size": model.vocab_size,
        "hidden_act": "silu",
        "rope_theta": model.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_base},
        "rms_norm_eps": model.norm_eps,
        "tie_word_embeddings": model.tied,
    }
    theirs = {"model.embed_tokens.weight": weights["embedding.weight"], "model.norm.weight": weights["norm.weight"]}
    if not model.tied:
        theirs["lm_head.weight"] = weights["head.weight"]
    for layer in range(model.n_layers):
        theirs |= _their_block(model, weights, f"model.layers.{layer}.", f"blocks.{layer}.")
    return config, theirs


def _their_block(model: ModelConfig, weights: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    d_kv = model.d_model // model.n_heads * model.n_kv_heads
    q, k, v = weights[f"{ours}mixer.qkv.weight"].split([model.d_model, d_kv, d_kv])
    gate, up = weights[f"{ours}channel.up.weight"].chunk(2)
    named = {
        "input_layernorm": weights[f"{ours}mixer_norm.weight"],
        "self_attn.q_proj": q,
        "self_attn.k_proj": k,
        "self_attn.v_proj": v,
        "self_attn.o_proj": weights[f"{ours}mixer.out.weight"],
        "post_attention_layernorm": weights[f"{ours}channel_norm.weight"],
        "mlp.gate_proj": gate,
        "mlp.up_proj": up,
        "mlp.down_proj": weights[f"{ours}channel.down.weight"],
    }
    return {f"{theirs}{name}.weight": tensor.clone() for name, tensor in named.items()}


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
