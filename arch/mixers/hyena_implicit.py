"""Hyena of order 2, whose long filters a small network computes from time (Poli et al. 2023, Hyena Hierarchy)."""

import itertools
import math

import torch
from torch import Tensor, nn

from eutectic.arch import ring
from eutectic.arch.base import Card, LayerShape, State, StateSize
from eutectic.arch.gated_conv import LongConv, decay_window, gated
from eutectic.arch.layers import StaysWide, exempt
from eutectic.errors import UserError
from eutectic.kernels import dispatch, long_conv

WIDTH, DEPTH = 64, 2
# sines of frequency 14 turn a step that suits the other weights into another filter; safari, too, has a rate for these
LR_SCALE = 0.1


class ImplicitFilter(StaysWide):
    """h_t = exp(-alpha t) FFN(features of t) (Poli et al. 2023, 3.3 and eq. 7), in float32 at least.

    The FFN has sines sin(frequency * x) after a layer of `features` inputs and DEPTH layers of WIDTH, all with biases,
    and a last layer without; all start as torch's linear layers, and one learned vector of frequencies serves every
    sine. Nothing of it decays, and all of it learns at LR_SCALE of the rate: it parametrizes a filter. Features are
    time, which is 1 at the last of max_length tokens, and the real and imaginary parts of exp(-2 pi i f t / max_length)
    for (features - 1) / 2 frequencies f from 1e-4 to one less than their number. Windows are decay_window's. h_t is the
    same for any sequence length, also beyond max_length. It stays in float32, for sines of frequency 14 would make
    another filter of weights that are rounded to bfloat16.
    """

    def __init__(self, channels: int, max_length: int, features: int, frequency: float):
        super().__init__()
        self.channels, self.max_length, self.features = channels, max_length, features
        widths = [features, *[WIDTH] * (DEPTH + 1)]
        self.hidden = nn.ModuleList(_dense(a, b, bias=True) for a, b in itertools.pairwise(widths))
        self.last = _dense(WIDTH, channels, bias=False)
        self.frequency = exempt(torch.full((WIDTH,), frequency), LR_SCALE)

    def forward(self, length: int) -> Tensor:
        """h (channels, length)."""
        like = self.frequency
        t = torch.arange(length, device=like.device, dtype=torch.float64)
        # autocast would round what _apply does not
        with torch.autocast(like.device.type, enabled=False):
            h = self._features(t).to(like.dtype)
            for layer in self.hidden:
                h = torch.sin(self.frequency * layer(h))
            return (self.last(h) * decay_window(t, self.channels, self.max_length).to(like.dtype)).T

    def _features(self, t: Tensor) -> Tensor:
        bands = (self.features - 1) // 2
        f = torch.linspace(1e-4, bands - 1, bands, device=t.device, dtype=t.dtype)
        angle = 2 * math.pi / self.max_length * t[:, None] * f
        return torch.cat([t[:, None] / (self.max_length - 1), angle.cos(), -angle.sin()], 1)

    def flops(self, length: int) -> int:
        """Of its matmuls."""
        layers = [*self.hidden, self.last]
        return 2 * length * sum(layer.weight.numel() for layer in layers if isinstance(layer, nn.Linear))


class HyenaImplicit(LongConv):
    """y = W_out(q * (h conv u + D u)), u = k * v, with q, k, v = FIR3(W_in x). D starts as N(0, 1).

    The filter has no finite state: decoding keeps every u that was, as attention keeps keys, and dots them with it.
    max_length: tokens that the filter's features of time span; frequency: of its sines, at the start.
    """

    card = Card(
        paper="Poli et al. 2023, Hyena Hierarchy",
        equation="y = W_out(q * (h conv u + D u)), u = k * v, h_t = exp(-alpha t) FFN(features of t) (eq. 7)",
        state="L d of the inputs so far + 6 d of the FIR",
        time="L log L; L for one more token",
        oracle="the formula in float64",
    )

    def __init__(self, shape: LayerShape, *, max_length: int = 2048, features: int = 33, frequency: float = 14.0):
        super().__init__(shape)
        if max_length < 2:
            raise UserError(f"hyena_implicit cannot have a max_length of {max_length}; give 2 or more tokens.")
        if features < 3 or features % 2 == 0:
            raise UserError(f"hyena_implicit cannot have {features} features of time; give an odd number from 3 on.")
        self.filter = ImplicitFilter(shape.d_inner, max_length, features, frequency)
        self.skip = exempt(torch.randn(shape.d_inner))

    def impulse_response(self, length: int) -> Tensor:
        h: Tensor = self.filter(length)
        return h

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        u = k * v
        return gated(q, u, dispatch.long_conv(u, self.filter(u.shape[1])), self.skip)

    def mix_after(self, q: Tensor, k: Tensor, v: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: every u so far, (batch, slots, d_inner), and the tokens seen, (batch,)."""
        u = k * v
        past, seen = state or self.init_mix(len(u), u.shape[1])
        whole = ring.extend(past, int(seen[0]), None, u)
        y = dispatch.long_conv(whole, self.filter(whole.shape[1]))[:, -u.shape[1] :]
        return gated(q, u, y, self.skip), (past, seen + u.shape[1])

    def mix_step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        u = k * v
        past, seen = state
        ring.put(past, seen, None, u)
        y = long_conv.step(past, self.filter(past.shape[1]), *ring.lags(seen, past))
        return gated(q, u, y, self.skip), (past, seen + 1)

    def mix_flops(self, length: int, conv_algorithm: str) -> tuple[int, int]:
        """Charged by `fft` whatever is asked for, as in long_conv.flops, and two gates and the skip at 2 per token and
        channel. The filter's network is shared by a batch and left out, as every mixer's filter is; torch sees it.
        """
        conv = long_conv.flops(self.d_inner, length)
        return conv + 4 * length * self.d_inner, self.filter.flops(length)

    def init_mix(self, batch: int, capacity: int) -> State:
        past = self.qkv.weight.new_zeros(batch, capacity, self.d_inner)
        return past, ring.counts(batch, past)

    def mix_size(self, length: int) -> StateSize:
        return StateSize(cached=length * self.d_inner)


def _dense(d_in: int, d_out: int, bias: bool) -> nn.Linear:
    layer = nn.Linear(d_in, d_out, bias=bias)
    for name, parameter in list(layer.named_parameters()):
        setattr(layer, name, exempt(parameter.detach(), LR_SCALE))
    return layer
