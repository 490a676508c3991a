"""Mamba-2's checkpoints give Mamba-2's logits, and what our layers are not is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from imported import assert_logits, assert_saved_logits
from zoo import perturb

from eutectic.arch.importers import mamba2
from eutectic.errors import UserError

transformers = pytest.importorskip("transformers")

PUBLISHED = {"hidden_size": 32, "num_heads": 8, "head_dim": 8, "state_size": 16, "n_groups": 1, "chunk_size": 32}


def _config(**changes: Any) -> Any:
    return transformers.Mamba2Config(**{"vocab_size": 50, "num_hidden_layers": 2} | PUBLISHED | changes)


def _theirs(**changes: Any) -> Any:
    torch.manual_seed(3)
    return perturb(transformers.Mamba2ForCausalLM(_config(**changes)).eval())


@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": True},
        {"hidden_size": 48, "num_heads": 6, "head_dim": 16, "state_size": 5, "n_groups": 3, "num_hidden_layers": 3},
        {"hidden_size": 24, "num_heads": 9, "expand": 3, "n_groups": 9, "layer_norm_epsilon": 1e-2},
    ],
    ids=["as published", "groups", "expansion by 3"],
)
def test_logits_are_mamba2s(changes: dict[str, Any]) -> None:
    theirs = _theirs(**changes)
    assert_logits(mamba2.convert, theirs)


def test_a_saved_model_gives_its_logits(tmp_path: Path) -> None:
    assert_saved_logits(_theirs(), tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "gelu"),
        ("conv_kernel", 3),
        ("use_bias", True),
        ("use_conv_bias", False),
        ("time_step_limit", (0.0, 0.1)),
        ("time_step_limit", (0.001, {"__float__": "Infinity"})),
        ("num_heads", 7),
    ],
)
def test_refuses_what_our_layers_are_not(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=key):
        mamba2.convert(_config().to_dict() | {key: value}, {})
