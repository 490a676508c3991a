"""Hyena-RTF, a gated convolution by a rational transfer function (Parnichkun et al. 2024, "State-Free Inference of
State-Space Models: The Transfer Function Approach").
"""

import torch
from torch import Tensor

from eutectic.arch.base import Card, LayerShape, State, StateSize
from eutectic.arch.gated_conv import LongConv, gated
from eutectic.arch.layers import exempt, wide
from eutectic.errors import UserError
from eutectic.kernels import dispatch, long_conv, plain, rational


class RTF(LongConv):
    """y = W_out(q * H(z) u), u = k * v, with q, k, v = FIR3(W_in x) and one H a channel,

    H(z) = h_0 + (b_1 z^-1 + ... + b_n z^-n) / (1 + a_1 z^-1 + ... + a_n z^-n), n = order. a and b start at zero, the
    paper's stable start (all poles at 0), and h_0 is normal.

    The paper divides the FFTs of b and a, which gives H's impulse response summed over periods of the training length:
    its b stands for b (I - A^length), and the recurrence has to undo that. Here b is the recurrence's own, and the
    response that of the infinite filter, the same at every length, by two transforms of the sequence as well.

    stable: a is divided by its sum of sizes where that exceeds 1, which keeps the poles within the unit circle
    (Montel's bound, a constraint that the paper tries). Without it, as the paper trains, a pole outside makes this
    response, and with it the FFTs' rounding, grow with the length, where the paper's periodic sum stays bounded.
    """

    card = Card(
        paper="Parnichkun et al. 2024, State-Free Inference of State-Space Models: The Transfer Function Approach",
        equation="y = W_out(q * H(z) (k * v)), H(z) = h_0 + sum_i b_i z^-i / (1 + sum_i a_i z^-i)",
        state="n d + 6 d of the FIR",
        time="L log L",
        oracle="the difference equation and the companion form, in float64",
    )

    def __init__(self, shape: LayerShape, *, order: int = 64, stable: bool = True):
        super().__init__(shape)
        if order < 1:
            raise UserError(f"rtf cannot have an order of {order}; give 1 or more.")
        self.order, self.stable = order, stable
        self.denominator = exempt(torch.zeros(shape.d_inner, order))
        self.numerator = exempt(torch.zeros(shape.d_inner, order))
        self.skip = exempt(torch.randn(shape.d_inner))

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """a and b (d_inner, order) that act."""
        a, b = wide(self.denominator), wide(self.numerator)
        return (a / a.abs().sum(-1, keepdim=True).clamp(min=1) if self.stable else a), b

    def impulse_response(self, length: int) -> Tensor:
        return plain.rational_filter(*self.coefficients(), length)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        u = k * v
        return gated(q, u, dispatch.long_conv(u, self.impulse_response(u.shape[1])), self.skip)

    def mix_after(self, q: Tensor, k: Tensor, v: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: w of the companion form, (batch, order, d_inner)."""
        u = k * v
        y, state = plain.rational_prefill(u, *self.coefficients(), self.init_mix(len(u), 0) if state is None else state)
        return gated(q, u, y, self.skip), state

    def mix_step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        u = k * v
        y, state = rational.step(u, *self.coefficients(), state)
        return gated(q, u, y, self.skip), state

    def mix_flops(self, length: int, conv_algorithm: str) -> tuple[int, int]:
        """Per token and channel: two gates, h_0 at 2, and H.

        recurrence: a multiply-add for each a and b. fft: as kernels/long_conv.py. There is no chunked form, which is
        charged as fft.
        """
        recurrence = 4 * length * self.d_inner * self.order
        conv = recurrence if conv_algorithm == "recurrence" else long_conv.flops(self.d_inner, length)
        return conv + 4 * length * self.d_inner, 0

    def init_mix(self, batch: int, capacity: int) -> State:
        return wide(self.numerator).new_zeros(batch, self.order, self.d_inner)

    def mix_size(self, length: int) -> StateSize:
        return StateSize(wide=self.order * self.d_inner)
