"""Layers every architecture shares: RMSNorm, rotary positions, SwiGLU, and initialization by fan-in."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def linear(d_in: int, d_out: int, scale: float = 1.0) -> nn.Linear:
    """A bias-free linear map whose weights start at scale / sqrt(d_in)."""
    layer = nn.Linear(d_in, d_out, bias=False)
    nn.init.normal_(layer.weight, std=scale * d_in**-0.5)
    return layer


def rms_norm(d_model: int) -> nn.RMSNorm:
    """Zhang and Sennrich 2019, with a learned gain."""
    return nn.RMSNorm(d_model, eps=1e-6)


class SwiGLU(nn.Module):
    """W_down(silu(W_gate x) * W_up x) (Shazeer 2020). Maps (..., d_model) to the same shape."""

    def __init__(self, d_model: int, d_ffn: int, out_scale: float):
        super().__init__()
        self.up = linear(d_model, 2 * d_ffn)
        self.down = linear(d_ffn, d_model, out_scale)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)

    def flops(self, length: int) -> int:
        return 2 * length * (self.up.weight.numel() + self.down.weight.numel())


def rotary_angles(positions: Tensor, dim: int, base: float) -> tuple[Tensor, Tensor]:
    """cos and sin (length, dim / 2) of position * base^(-2i/dim) (Su et al. 2021, eq. 15), in float32 or wider."""
    inverse = base ** (-torch.arange(0, dim, 2, device=positions.device, dtype=torch.float64) / dim)
    angles = positions.double()[:, None] * inverse
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + dim/2}) of x (..., length, dim) by the angles."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
