"""The two-layer MLP with GELU (Vaswani 2017; Hendrycks and Gimpel 2016) or squared ReLU (So et al. 2021, Primer)."""

from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.base import Card, ChannelMixer, LayerShape
from eutectic.arch.layers import linear
from eutectic.errors import UserError

ACTIVATIONS = {"gelu": F.gelu, "relu2": lambda x: F.relu(x).square()}


class MLP(ChannelMixer):
    """W_down f(W_up x). Hidden width 3/2 of d_ffn, so that it has SwiGLU's parameters. activation: gelu or relu2."""

    card = Card(
        paper="Vaswani et al. 2017; squared ReLU So et al. 2021, Primer",
        equation="W_down f(W_up x), f = GELU or ReLU^2",
        state="none",
        time="L",
        oracle="the formula in float64",
    )

    def __init__(self, shape: LayerShape, *, activation: str = "gelu"):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UserError(f"mlp has no activation {activation!r}; there are {', '.join(ACTIVATIONS)}.")
        self.activation = ACTIVATIONS[activation]
        hidden = 3 * shape.d_ffn // 2
        self.up = linear(shape.d_model, hidden)
        self.down = linear(hidden, shape.d_model, shape.out_scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))

    def flops(self, length: int) -> int:
        return 2 * length * (self.up.weight.numel() + self.down.weight.numel())
