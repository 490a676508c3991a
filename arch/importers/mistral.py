"""Mistral (Jiang et al. 2023) from Hugging Face: Llama with attention to a sliding window."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eutectic.arch.importers import llama
from eutectic.config import ModelConfig


def convert(config: dict[str, Any], weights: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """config.json and MistralForCausalLM's state dict to a ModelConfig and our Model's state dict.

    Both count a window with the token itself. Later Mistrals have none (null). Raises UserError as llama.convert.
    """
    window = config["sliding_window"]
    return llama.transformer(config, weights, f"swa(window={window})" if window else "attn")
