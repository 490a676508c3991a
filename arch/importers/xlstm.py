"""xLSTM-7B's layout (Beck et al. 2025) from Hugging Face: mLSTM and SwiGLU; q, k, v, o and the gates are fused here."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eutectic.config import ModelConfig
from eutectic.errors import UserError


def convert(config: dict[str, Any], weights: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """config.json and xLSTMForCausalLM's state dict to a ModelConfig and our Model's state dict.

    Their feed-forward's width is read off its weights. Raises UserError for a feature that our layers do not have.
    """
    _refuse_other_layers(config)
    options = ",".join(f"{key}={config[key]}" for key in ("qk_dim_factor", "v_dim_factor", "gate_soft_cap"))
    model = ModelConfig(
        layout=f"mlstm({options})",
        n_layers=config["num_hidden_layers"],
        d_model=config["hidden_size"],
        n_heads=config["num_heads"],
        n_kv_heads=config["num_heads"],
        d_ffn=len(weights["backbone.blocks.0.ffn.proj_up.weight"]),
        vocab_size=config["vocab_size"],
        tied=False,
        norm_eps=config["norm_eps"],
        logit_cap=config["output_logit_soft_cap"] or 0.0,
    )
    ours = {
        "embedding.weight": weights["backbone.embeddings.weight"],
        "norm.weight": weights["backbone.out_norm.weight"],
        "head.weight": weights["lm_head.weight"],
    }
    for layer in range(model.n_layers):
        ours |= _block(weights, f"backbone.blocks.{layer}.", f"blocks.{layer}.")
    return model, ours


def _block(weights: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    def fused(*names: str) -> Tensor:
        return torch.cat([weights[f"{theirs}{name}"] for name in names])

    mixer = "mlstm_layer."
    return {
        f"{ours}mixer_norm.weight": fused("norm_mlstm.weight"),
        f"{ours}mixer.qkvo.weight": fused(*(f"{mixer}{name}.weight" for name in ("q", "k", "v", "ogate_preact"))),
        f"{ours}mixer.gates.weight": fused(f"{mixer}igate_preact.weight", f"{mixer}fgate_preact.weight"),
        f"{ours}mixer.gates.bias": fused(f"{mixer}igate_preact.bias", f"{mixer}fgate_preact.bias"),
        f"{ours}mixer.gain": fused(f"{mixer}multihead_norm.weight"),
        f"{ours}mixer.out.weight": fused(f"{mixer}out_proj.weight"),
        f"{ours}channel_norm.weight": fused("norm_ffn.weight"),
        f"{ours}channel.up.weight": fused("ffn.proj_up_gate.weight", "ffn.proj_up.weight"),
        f"{ours}channel.down.weight": fused("ffn.proj_down.weight"),
    }


def _refuse_other_layers(config: dict[str, Any]) -> None:
    needed = {"use_bias": False, "add_out_norm": True, "weight_mode": "single"}
    for key, value in needed.items():
        if config.get(key, value) != value:
            raise UserError(
                f"the checkpoint has {key}={config[key]!r}, which eutectic's layers cannot be; "
                f"choose one with {key}={value!r}."
            )
