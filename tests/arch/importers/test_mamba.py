"""Mamba's checkpoints give Mamba's logits, and what our layers are not is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from imported import assert_logits, assert_saved_logits
from zoo import perturb

from eutectic.arch.importers import mamba
from eutectic.errors import UserError

transformers = pytest.importorskip("transformers")


def _theirs(**changes: Any) -> Any:
    config = transformers.MambaConfig(**{"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2} | changes)
    torch.manual_seed(3)
    return perturb(transformers.MambaForCausalLM(config).eval())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_size": 24, "state_size": 5, "expand": 3, "time_step_rank": 7, "tie_word_embeddings": False},
        {"hidden_size": 48, "num_hidden_layers": 3, "expand": 1, "layer_norm_epsilon": 1e-2},
    ],
    ids=["as published", "other sizes untied", "no expansion"],
)
def test_logits_are_mambas(changes: dict[str, Any]) -> None:
    theirs = _theirs(**changes)
    assert_logits(mamba.convert, theirs)


def test_a_saved_model_gives_its_logits(tmp_path: Path) -> None:
    assert_saved_logits(_theirs(), tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("hidden_act", "gelu"), ("conv_kernel", 3), ("use_bias", True), ("use_conv_bias", False)]
)
def test_refuses_what_our_layers_are_not(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"{key}={value!r}"):
        mamba.convert(transformers.MambaConfig().to_dict() | {key: value}, {})
