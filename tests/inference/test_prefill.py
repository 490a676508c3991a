"""Reading a text at once, after a state or none: what it holds grows with the text, and not with the states."""

import pytest
import torch
from memory import Largest

from eutectic.arch import registry
from eutectic.arch.base import Mixer
from eutectic.arch.model import build
from eutectic.config import ModelConfig

LENGTH, WIDTH, MODES = 4096, 32, 32


@pytest.mark.parametrize("mixer", registry.names(Mixer))
def test_no_tensor_has_all_states_of_all_tokens(mixer: str) -> None:
    """Of modal filters that would be 64 floats a token and channel. Attention to a cache has a mask, on CPUs of all."""
    model = build(ModelConfig(mixer, 2, WIDTH, 2, 2, 64, 50, n_modes=MODES), 0).eval()
    tokens, states = torch.zeros(1, LENGTH, dtype=torch.long), None
    with torch.no_grad(), Largest() as largest:
        if mixer not in ("attn", "swa"):
            _, states = model.prefill(tokens[:, :1], model.init_state(1, LENGTH))
        model.prefill(tokens[:, 1:], states)
    assert largest.floats <= 16 * LENGTH * WIDTH
