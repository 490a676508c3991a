"""The MLP of Monarch matrices (Fu et al. 2023, Monarch Mixer; the matrices are Dao et al. 2022, Monarch)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch.base import Card, ChannelMixer, LayerShape
from eutectic.errors import UserError


class MonarchLinear(nn.Module):
    """y = P2 diag(L) P1 diag(R) x: n_blocks blocks, their outputs dealt out in turn to n_blocks others, and collected.

    The values in between are as many as the fewer of d_in and d_out, both multiples of n_blocks. Each factor's weights
    start at 1 / sqrt(its inputs), the second's times scale.
    """

    def __init__(self, d_in: int, d_out: int, n_blocks: int, scale: float = 1.0):
        super().__init__()
        self.n_blocks = n_blocks
        inner, between, outer = (width // n_blocks for width in (d_in, min(d_in, d_out), d_out))
        self.right = nn.Parameter(torch.randn(n_blocks, between, inner) * inner**-0.5)
        self.left = nn.Parameter(torch.randn(n_blocks, outer, between) * (scale * between**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, length, d_in) to (batch, length, d_out)."""
        blocks = x.flatten(0, 1).unflatten(-1, (self.n_blocks, -1)).transpose(0, 1)
        dealt = (blocks @ self.right.mT).transpose(0, 1).flatten(1).unflatten(-1, (-1, self.n_blocks))
        y = dealt.permute(2, 0, 1) @ self.left.mT
        return y.permute(1, 2, 0).flatten(1).unflatten(0, x.shape[:2])


class MonarchMLP(ChannelMixer):
    """W_down gelu(W_up x), both Monarch, of hidden width 3/2 of d_ffn as mlp's.

    nblocks: of each factor, or where it does not divide both widths the largest number below that does. A factor has
    1 / nblocks of the weights of a dense matrix.
    """

    card = Card(
        paper="Fu et al. 2023, Monarch Mixer; Dao et al. 2022, Monarch",
        equation="W_down gelu(W_up x), W = P_2 diag(L_1, ..) P_1 diag(R_1, ..)",
        state="none",
        time="L",
        oracle="the dense product of the factors, in float64",
    )

    def __init__(self, shape: LayerShape, *, nblocks: int = 4):
        super().__init__()
        if nblocks < 1:
            raise UserError(f"monarch_mlp cannot have {nblocks} blocks; give 1 or more.")
        hidden = 3 * shape.d_ffn // 2
        n_blocks = _largest_divisor(math.gcd(shape.d_model, hidden), nblocks)
        self.up = MonarchLinear(shape.d_model, hidden, n_blocks)
        self.down = MonarchLinear(hidden, shape.d_model, n_blocks, shape.out_scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))

    def flops(self, length: int) -> int:
        """A multiply-add for each weight of the blocks."""
        return 2 * length * sum(p.numel() for p in self.parameters())


def _largest_divisor(n: int, most: int) -> int:
    return next(d for d in range(most, 0, -1) if n % d == 0)
