"""Qwen3-Next's Gated DeltaNet gives its logits, and what our layers are not is refused."""

import inspect
from typing import Any

import pytest
import torch
from imported import assert_logits

from eutectic.arch.importers import qwen3_next
from eutectic.errors import UserError

transformers = pytest.importorskip("transformers")

SMALL = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 6}
PLAIN = {"linear_num_key_heads": 3, "linear_num_value_heads": 3, "linear_key_head_dim": 4, "linear_value_head_dim": 16}
SHARED = {"linear_num_key_heads": 1, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 8}


def _config(**changes: Any) -> Any:
    shape = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_experts": 0}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    return transformers.Qwen3NextConfig(**{"layer_types": ["linear_attention"] * 2} | shape | heads | SMALL | changes)


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({}, 150),
        (PLAIN | {"tie_word_embeddings": True, "hidden_size": 48}, 64),
        (SHARED | {"num_hidden_layers": 3, "layer_types": ["linear_attention"] * 3, "rms_norm_eps": 1e-3}, 70),
        ({"num_experts": 4, "mlp_only_layers": [0], "decoder_sparse_step": 3}, 9),
    ],
    ids=["grouped values", "plain tied", "shared key", "dense beside experts"],
)
def test_logits_are_qwens(changes: dict[str, Any], length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    modeling = inspect.getmodule(transformers.Qwen3NextForCausalLM)
    for name, function in inspect.getmembers(modeling, inspect.isfunction):
        if name.startswith("torch_"):  # and is fla's kernel, where Triton is there to import it
            monkeypatch.setattr(modeling, name, inspect.unwrap(function))
    config = _config(**changes, initializer_range=0.1)
    torch.manual_seed(3)
    theirs = transformers.Qwen3NextForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "norm" in name or "dt_bias" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    assert_logits(qwen3_next.convert, theirs, length)


def test_gains_of_a_bfloat16_checkpoint_are_not_rounded() -> None:
    config = _config()
    weights = transformers.Qwen3NextForCausalLM(config).bfloat16().state_dict()
    weights["model.norm.weight"] += 0.001
    _, ours = qwen3_next.convert(config.to_dict(), weights)
    assert ours["norm.weight"].mean().item() == pytest.approx(1.001, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"layer_types": ["linear_attention", "full_attention"]}, "full_attention"),
        ({"layer_types": None, "num_hidden_layers": 4}, "full_attention"),
        ({"num_experts": 4, "mlp_only_layers": [0]}, "num_experts=4"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"linear_conv_kernel_dim": 3}, "linear_conv_kernel_dim=3"),
    ],
)
def test_refuses_what_our_layers_are_not(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(UserError, match=name):
        qwen3_next.convert(_config().to_dict() | changes, {})
