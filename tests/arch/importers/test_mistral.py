"""Mistral's checkpoints give Mistral's logits, its sliding window included."""

from typing import Any

import pytest
import torch
from imported import assert_logits
from public import assert_same
from zoo import tokens

from eutectic.arch.importers import mistral
from eutectic.errors import UserError

transformers = pytest.importorskip("transformers")


def _config(heads: int, kv_heads: int, window: int | None, **changes: Any) -> Any:
    return transformers.MistralConfig(
        vocab_size=50,
        hidden_size=8 * heads,
        intermediate_size=12 * heads,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        sliding_window=window,
        initializer_range=0.2,
        **changes,
    )


@pytest.mark.parametrize(
    "config",
    [
        _config(4, 4, 7),
        _config(6, 2, 16, tie_word_embeddings=True),
        _config(4, 1, 1),
        _config(4, 2, None),
        _config(4, 2, 4096),
    ],
    ids=["multi-head", "grouped tied", "multi-query", "no window", "window beyond the sequence"],
)
def test_logits_are_mistrals(config: Any) -> None:
    torch.manual_seed(3)
    theirs = transformers.MistralForCausalLM(config).eval()
    ours = assert_logits(mistral.convert, theirs)
    read = tokens(2, 90)
    with torch.no_grad():
        assert_same(ours.double()(read).float(), theirs(read).logits)


def test_refuses_what_our_layers_are_not() -> None:
    with pytest.raises(UserError, match="head_dim"):
        mistral.convert(_config(4, 2, 8, head_dim=16).to_dict(), {})
