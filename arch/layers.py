"""Parts that several mixers share: initialization by fan-in, norms, rotary positions, short convolutions, precision."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.kernels import dispatch


def linear(d_in: int, d_out: int, scale: float = 1.0, bias: bool = False) -> nn.Linear:
    """A linear map whose weights start at scale / sqrt(d_in) and whose bias, if any, at zero."""
    layer = nn.Linear(d_in, d_out, bias=bias)
    nn.init.normal_(layer.weight, std=scale * d_in**-0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def rms_norm(width: int, eps: float = 1e-6) -> nn.RMSNorm:
    """Zhang and Sennrich 2019, with a learned gain."""
    return nn.RMSNorm(width, eps=eps)


def l2_norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x / sqrt(|x|^2 + eps) along the last dimension."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + eps)


def exempt(value: Tensor, lr_scale: float = 1.0) -> nn.Parameter:
    """A parameter that weight decay leaves alone: a position, a rate or a gain rather than a weight.

    lr_scale: its learning rate over the model's.
    """
    parameter = nn.Parameter(value)
    parameter.lr_scale = lr_scale  # type: ignore[attr-defined]
    parameter.no_weight_decay = True  # type: ignore[attr-defined]
    return parameter


def is_weight(parameter: nn.Parameter) -> bool:
    """Whether it is a matrix or a stack of them, which decays and whose initial scale may be chosen."""
    return parameter.ndim >= 2 and not getattr(parameter, "no_weight_decay", False)


def wide(x: Tensor) -> Tensor:
    """x in float32 or wider: what decays, gates' logarithms and states are kept in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def working_dtype(x: Tensor) -> torch.dtype:
    """What a matmul would make of x: autocast's type, where that is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class StaysWide(nn.Module):
    """A module whose parameters stay in float32 where its model is cast to less.

    For phases and frequencies, of which bfloat16's rounding makes others.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def at_least_float32(parameter: Tensor) -> Tensor:
            moved = fn(parameter)
            return moved if moved.dtype.itemsize >= 4 else parameter.to(moved.device, torch.float32)

        return super()._apply(at_least_float32, recurse)


@torch.library.custom_op("eutectic::rotary_angles", mutates_args=())
def rotary_angles(positions: Tensor, dim: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin (..., dim / 2) of position * base^(-2i/dim) (Su et al. 2021, eq. 15), rounded from float64.

    An op of its own: a compiler would fuse it into what follows and compute each angle again for every batch and head.
    """
    inverse = base ** (-torch.arange(0, dim, 2, device=positions.device, dtype=torch.float64) / dim)
    angles = positions.double()[..., None] * inverse
    return angles.cos().to(dtype), angles.sin().to(dtype)


@rotary_angles.register_fake
def _(positions: Tensor, dim: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    empty = positions.new_empty(*positions.shape, -(-dim // 2), dtype=dtype)
    return empty, torch.empty_like(empty)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + dim/2}) of x (..., length, dim) by the angles."""
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def token_shift(x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
    """The token before each of x (batch, length, channels), and the last. past (batch, channels): zeros where None."""
    before = F.pad(x, (0, 0, 1, -1)) if past is None else torch.cat([past[:, None], x[:, :-1]], 1)
    return before, x[:, -1]


def identity_taps(channels: int, taps: int) -> Tensor:
    """Taps (channels, taps) of the filter that changes nothing; tap s weighs the input s tokens ago."""
    return torch.zeros(channels, taps).index_fill_(1, torch.tensor([0]), 1.0)


def uniform_taps(channels: int, taps: int) -> Tensor:
    """Taps (channels, taps) as torch's depthwise Conv1d starts them, uniform within 1 / sqrt(taps)."""
    return torch.empty(channels, taps).uniform_(-(taps**-0.5), taps**-0.5)


def short_conv(x: Tensor, taps: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
    """Depthwise causal FIR, y_t = sum_s taps_s x_{t-s}, of x (batch, length, channels), in x's dtype.

    taps (channels, n). past (batch, n - 1, channels): inputs before x, zeros where None. Returns y and the new past.
    """
    return dispatch.fir(x, taps, past)


def short_conv_step(x: Tensor, taps: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """short_conv of one token: x (batch, channels)."""
    window = torch.cat([past, x[:, None]], 1)
    return torch.einsum("btc,ct->bc", window.flip(1), taps.to(x.dtype)), window[:, 1:]
