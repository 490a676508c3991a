"""SwiGLU, the gated channel mixer of most language models since PaLM (Shazeer 2020, eq. 6)."""

from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.base import Card, ChannelMixer, LayerShape
from eutectic.arch.layers import linear


class SwiGLU(ChannelMixer):
    """W_down(silu(W_gate x) * W_up x), d_ffn wide."""

    card = Card(
        paper="Shazeer 2020, GLU Variants",
        equation="W_down(silu(W_gate x) * W_up x) (eq. 6)",
        state="none",
        time="L",
        oracle="transformers LlamaForCausalLM",
    )

    def __init__(self, shape: LayerShape):
        super().__init__()
        self.up = linear(shape.d_model, 2 * shape.d_ffn)
        self.down = linear(shape.d_ffn, shape.d_model, shape.out_scale)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)

    def flops(self, length: int) -> int:
        return 2 * length * (self.up.weight.numel() + self.down.weight.numel())
