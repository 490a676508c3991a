"""Qwen3-Next from Hugging Face, as far as it is Gated DeltaNet and SwiGLU: no full attention and no experts.

Its full attention has an output gate and partial rotary positions, which ours has not. Norms' weights are kept as their
distance from 1, but for the norm within Gated DeltaNet.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eutectic.arch.layers import wide
from eutectic.arch.mixers.gated_deltanet import TAPS
from eutectic.config import ModelConfig
from eutectic.errors import UserError


def convert(config: dict[str, Any], weights: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """config.json and Qwen3NextForCausalLM's state dict to a ModelConfig and our Model's state dict.

    Raises UserError for a feature that our layers do not have.
    """
    _refuse_other_layers(config)
    n_k_heads, n_v_heads = config["linear_num_key_heads"], config["linear_num_value_heads"]
    d_k, d_v = config["linear_key_head_dim"], config["linear_value_head_dim"]
    model = ModelConfig(
        layout=f"gated_deltanet(d_k={d_k},d_v={d_v},n_k_heads={n_k_heads},n_v_heads={n_v_heads})",
        n_layers=config["num_hidden_layers"],
        d_model=config["hidden_size"],
        n_heads=n_k_heads,
        n_kv_heads=n_k_heads,
        d_ffn=config["intermediate_size"],
        vocab_size=config["vocab_size"],
        tied=config.get("tie_word_embeddings", False),
        norm_eps=config["rms_norm_eps"],
    )
    ours = {
        "embedding.weight": weights["model.embed_tokens.weight"],
        "norm.weight": _gain(weights["model.norm.weight"]),
    }
    if not model.tied:
        ours["head.weight"] = weights["lm_head.weight"]
    # of each key head, in order: q, k, and the v and z of its value heads; likewise b and a
    values = n_v_heads // n_k_heads * d_v
    qkvz, ba = [d_k, d_k, values, values], [n_v_heads // n_k_heads] * 2
    for layer in range(model.n_layers):
        ours |= _block(weights, f"model.layers.{layer}.", f"blocks.{layer}.", qkvz, ba)
    return model, ours


def _block(weights: Mapping[str, Tensor], theirs: str, ours: str, qkvz: list[int], ba: list[int]) -> dict[str, Tensor]:
    mixer = f"{theirs}linear_attn."
    parts = _by_part(weights[f"{mixer}in_proj_qkvz.weight"], qkvz) + _by_part(weights[f"{mixer}in_proj_ba.weight"], ba)
    return {
        f"{ours}mixer_norm.weight": _gain(weights[f"{theirs}input_layernorm.weight"]),
        f"{ours}mixer.proj.weight": torch.cat(parts),
        f"{ours}mixer.fir": weights[f"{mixer}conv1d.weight"][:, 0].flip(-1),
        f"{ours}mixer.log_a": weights[f"{mixer}A_log"],
        f"{ours}mixer.dt_bias": weights[f"{mixer}dt_bias"],
        f"{ours}mixer.norm.weight": weights[f"{mixer}norm.weight"],
        f"{ours}mixer.out.weight": weights[f"{mixer}out_proj.weight"],
        f"{ours}channel_norm.weight": _gain(weights[f"{theirs}post_attention_layernorm.weight"]),
        f"{ours}channel.up.weight": torch.cat([weights[f"{theirs}mlp.{name}_proj.weight"] for name in ("gate", "up")]),
        f"{ours}channel.down.weight": weights[f"{theirs}mlp.down_proj.weight"],
    }


def _gain(weight: Tensor) -> Tensor:
    """A norm's gain of its distance from 1, in float32 at least: in bfloat16, 1 leaves 7 bits for what is added."""
    return 1 + wide(weight)


def _by_part(weight: Tensor, sizes: list[int]) -> list[Tensor]:
    """Rows of (head, part) as one block of all heads' rows for each part; sizes: each part's rows of one head."""
    return [part.flatten(0, 1) for part in weight.unflatten(0, (-1, sum(sizes))).split(sizes, 1)]


def _refuse_other_layers(config: dict[str, Any]) -> None:
    layers = range(config["num_hidden_layers"])
    interval = config.get("full_attention_interval", 4)
    attention = ["full_attention" if (i + 1) % interval == 0 else "linear_attention" for i in layers]
    if "full_attention" in (config.get("layer_types") or attention):
        raise UserError(
            "the checkpoint has full_attention among its layer_types, whose gated heads eutectic's attention has not; "
            "choose one with linear_attention alone."
        )
    dense, every = config.get("mlp_only_layers") or [], config.get("decoder_sparse_step", 1)
    experts = config.get("num_experts", 512)
    if experts and any(i not in dense and (i + 1) % every == 0 for i in layers):
        raise UserError(
            f"the checkpoint has num_experts={experts} outside its mlp_only_layers, which eutectic cannot read; "
            "choose one with dense layers alone."
        )
    for key, value in {"hidden_act": "silu", "linear_conv_kernel_dim": TAPS}.items():
        if config.get(key, value) != value:
            raise UserError(
                f"the checkpoint has {key}={config[key]!r}, which eutectic's layers cannot be; "
                f"choose one with {key}={value!r}."
            )
