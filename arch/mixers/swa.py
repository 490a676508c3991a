"""Sliding-window attention (Beltagy et al. 2020, 3.1; Mistral 7B, Jiang et al. 2023, 2): attention to a window.

Alternated with `attn` it is the local-global attention of the Sparse Transformer and GPT-3: `swa(window=128)+attn`.
"""

from eutectic.arch.base import Card, LayerShape
from eutectic.arch.mixers.attn import Attention
from eutectic.errors import UserError


class SlidingWindow(Attention):
    """Attention of each token to itself and the window - 1 before it; the state keeps as many."""

    card = Card(
        paper="Beltagy et al. 2020, Longformer; Jiang et al. 2023, Mistral 7B",
        equation="y_t = sum_{t-W<s<=t} softmax_s(q_t k_s / sqrt(d_head)) v_s",
        state="2 min(L, W) d n_kv_heads / n_heads",
        time="L W",
        oracle="transformers MistralForCausalLM",
    )

    def __init__(self, shape: LayerShape, *, window: int = 64, qk_norm: bool = False):
        super().__init__(shape, qk_norm=qk_norm)
        if window < 1:
            raise UserError(f"swa cannot have a window of {window}; give 1 or more tokens.")
        self.window = window
