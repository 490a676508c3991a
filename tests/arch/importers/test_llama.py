"""Llama's checkpoints give Llama's logits, and what our layers are not is refused."""

from typing import Any

import pytest
import torch
from imported import assert_logits

from eutectic.arch.importers import llama
from eutectic.errors import UserError

transformers = pytest.importorskip("transformers")

MULTI_HEAD = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 4}
GROUPED = {"hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 6, "num_key_value_heads": 2}
MULTI_QUERY = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 1}


def _config(**changes: Any) -> Any:
    return transformers.LlamaConfig(**{"vocab_size": 50, "num_hidden_layers": 2, "rms_norm_eps": 1e-5} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        MULTI_HEAD | {"tie_word_embeddings": True},
        GROUPED | {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        MULTI_QUERY | {"num_hidden_layers": 3, "rms_norm_eps": 1e-2},
    ],
    ids=["multi-head tied", "grouped", "multi-query"],
)
def test_logits_are_llamas(changes: dict[str, Any]) -> None:
    config = _config(**changes, initializer_range=0.2)
    torch.manual_seed(3)
    theirs = transformers.LlamaForCausalLM(config).eval()
    assert_logits(llama.convert, theirs)


def test_reads_configs_of_transformers_4() -> None:
    config = _config(**GROUPED, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    weights = transformers.LlamaForCausalLM(config).state_dict()
    older = config.to_dict() | {"rope_theta": 500.0, "rope_scaling": None}
    del older["rope_parameters"], older["head_dim"]
    assert llama.convert(older, weights)[0] == llama.convert(config.to_dict(), weights)[0]
    assert llama.convert(older, weights)[0].rope_base == 500.0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "gelu"),
        ("attention_bias", True),
        ("mlp_bias", True),
        ("head_dim", 16),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("rope_parameters", {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}),
    ],
)
def test_refuses_what_our_layers_are_not(key: str, value: Any) -> None:
    config = _config(**MULTI_HEAD).to_dict()
    if key == "rope_scaling":
        del config["rope_parameters"]
    with pytest.raises(UserError, match=r"rope_type|partial_rotary" if key.startswith("rope") else key):
        llama.convert(config | {key: value}, {})
