"""xLSTM's checkpoints give xLSTM's logits."""

from typing import Any

import pytest
import torch
from imported import assert_logits
from zoo import perturb

from eutectic.arch.importers import xlstm
from eutectic.errors import UserError

transformers = pytest.importorskip("transformers")


def _config(**changes: Any) -> Any:
    return transformers.xLSTMConfig(**{"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2} | changes)


@pytest.mark.parametrize(
    "config",
    [
        _config(num_heads=4),
        _config(num_heads=2, hidden_size=48, qk_dim_factor=1.0, v_dim_factor=0.5, gate_soft_cap=5.0, norm_eps=1e-2),
        _config(num_heads=1, num_hidden_layers=3, output_logit_soft_cap=2.0, ffn_round_up_to_multiple_of=8),
    ],
    ids=["seven billion's shape", "wide keys", "one head"],
)
def test_logits_are_xlstms(config: Any) -> None:
    """Off the start, where closed gates would hide what the memory holds."""
    torch.manual_seed(3)
    theirs = perturb(transformers.xLSTMForCausalLM(config), 0.2).eval()
    with torch.no_grad():
        for block in theirs.backbone.blocks:
            block.mlstm_layer.igate_preact.bias += 9.0
    assert_logits(xlstm.convert, theirs, 150)


@pytest.mark.parametrize(("key", "value"), [("use_bias", True), ("add_out_norm", False), ("weight_mode", "fused")])
def test_refuses_what_our_layers_are_not(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=key):
        xlstm.convert(_config().to_dict() | {key: value}, {})
