"""Hyena-RTF, a gated convolution by a rational transfer function (Parnichkun et al. 2024, "State-Free Inference of
State-Space Models: The Transfer Function Approach").
"""

import math

import torch
from torch import Tensor

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, identity_taps, linear, short_conv, short_conv_step, wide
from eutectic.errors import UserError
from eutectic.kernels import rational

FIR_TAPS = 3


class RTF(Mixer):
    """y = W_out(q * H(z) u), u = k * v, with q, k, v = FIR3(W_in x) and one H a channel,

    H(z) = h_0 + (b_1 z^-1 + ... + b_n z^-n) / (1 + a_1 z^-1 + ... + a_n z^-n), n = order. a and b start at zero, the
    paper's stable start (all poles at 0), and h_0 is normal.

    The paper divides the FFTs of b and a, which gives H's impulse response summed over periods of the training length:
    its b stands for b (I - A^length), and the recurrence has to undo that. Here b is the recurrence's own, and the
    response that of the infinite filter, the same at every length, by two transforms of the sequence as well.

    stable: a is divided by its sum of sizes where that exceeds 1, which keeps the poles within the unit circle
    (Montel's bound, a constraint that the paper tries). Without it, as the paper trains, a pole outside makes this response, and
    with it the FFTs' rounding, grow with the length, where the paper's periodic sum stays bounded.
    """

    card = Card(
        paper="Parnichkun et al. 2024, State-Free Inference of State-Space Models: The Transfer Function Approach",
        equation="y = W_out(q * H(z) (k * v)), H(z) = h_0 + sum_i b_i z^-i / (1 + sum_i a_i z^-i)",
        state="n d + 6 d of the FIR",
        time="L log L",
        oracle="the difference equation and the companion form, in float64",
    )

    def __init__(self, shape: LayerShape, *, order: int = 64, stable: bool = True):
        super().__init__()
        if order < 1:
            raise UserError(f"rtf cannot have an order of {order}; give 1 or more.")
        self.d_inner, self.order, self.stable = shape.d_inner, order, stable
        self.qkv = linear(shape.d_model, 3 * shape.d_inner)
        self.out = linear(shape.d_inner, shape.d_model, shape.out_scale)
        self.fir = exempt(identity_taps(3 * shape.d_inner, FIR_TAPS))
        self.denominator = exempt(torch.zeros(shape.d_inner, order))
        self.numerator = exempt(torch.zeros(shape.d_inner, order))
        self.skip = exempt(torch.randn(shape.d_inner))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = short_conv(self.qkv(x), self.fir, None)[0].chunk(3, -1)
        u = k * v
        return self._gated(q, u, rational.conv(u, *self._coefficients()))

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the inputs of the FIR, (batch, 2, 3 d_inner), and w of the companion form, (batch, order, d_inner)."""
        past, w = state or self.init_state(len(x))
        qkv, past = short_conv(self.qkv(x), self.fir, past)
        q, k, v = qkv.chunk(3, -1)
        u = k * v
        y, w = rational.prefill(u, *self._coefficients(), w)
        return self._gated(q, u, y), (past, w)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, w = state
        qkv, past = short_conv_step(self.qkv(x), self.fir, past)
        q, k, v = qkv.chunk(3, -1)
        u = k * v
        y, w = rational.step(u, *self._coefficients(), w)
        return self._gated(q, u, y), (past, w)

    def _coefficients(self) -> tuple[Tensor, Tensor]:
        a, b = wide(self.denominator), wide(self.numerator)
        return (a / a.abs().sum(-1, keepdim=True).clamp(min=1) if self.stable else a), b

    def _gated(self, q: Tensor, u: Tensor, y: Tensor) -> Tensor:
        return self.out(q * (y.to(u.dtype) + self.skip.to(u.dtype) * u))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """Per token and channel: FIR 2 taps each on q, k, v; two gates; h_0; and H.

        recurrence: a multiply-add for each a and b. fft: two real transforms of 2 length at 2.5 (2 length) log2(2
        length), the filter's shared by a batch and left out, and a product at 6 for length + 1 frequencies. There is no
        chunked form, which is charged as fft.
        """
        projection = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        doubled = 2 * length
        fft = round(self.d_inner * (2 * 2.5 * doubled * math.log2(doubled) + 6 * (length + 1)))
        conv = 4 * length * self.d_inner * self.order if conv_algorithm == "recurrence" else fft
        core = conv + length * self.d_inner * (3 * 2 * FIR_TAPS + 4)
        return MixerFlops(projection, core, core, projection)

    def init_state(self, batch: int) -> State:
        past = self.qkv.weight.new_zeros(batch, FIR_TAPS - 1, self.qkv.out_features)
        return past, wide(past).new_zeros(batch, self.order, self.d_inner)

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=3 * self.d_inner * (FIR_TAPS - 1), wide=self.order * self.d_inner)
