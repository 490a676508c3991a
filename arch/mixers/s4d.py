"""S4D, the state space with a diagonal matrix (Gu et al. 2022, "On the Parameterization and Initialization of Diagonal
State Space Models"), and its bank of state spaces, one a channel, which H3 has, too.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import StaysWide, exempt, linear
from eutectic.errors import UserError
from eutectic.kernels import modal_conv, plain

SHORTEST_DT, LONGEST_DT = 1e-3, 1e-1
# imaginary parts of A's diagonal for n = 0, 1, ..., of a state of size N: S4D-Lin and S4D-Inv
ANGLES = {
    "lin": lambda n, size: math.pi * n,
    "inv": lambda n, size: size / math.pi * (size / (2 * n + 1) - 1),
}


class DiagonalSSM(StaysWide):
    """y_t = Re(2 C x_t) + D u_t, x_t = e^{dt A} x_{t-1} + A^{-1} (e^{dt A} - 1) u_t, one diagonal A a channel.

    The zero-order hold of x' = A x + u; each of the d_state / 2 entries stands for a conjugate pair. At the start A =
    -e^log_decay + i angle has the real part -1/2 (section 4), C is complex normal of variance 1, D normal and dt
    log-uniform in [0.001, 0.1]. B is 1, for only its product with C counts. The state kept is x without its input gain,
    s_t = e^{dt A} s_{t-1} + u_t.

    bfloat16's error of dt, 1%, would be one of radians in phases, which turn by up to 100 dt a token.
    """

    def __init__(self, channels: int, d_state: int, init: str = "lin"):
        super().__init__()
        n_modes = d_state // 2
        self.channels, self.n_modes = channels, n_modes
        self.log_dt = exempt(torch.empty(channels).uniform_(math.log(SHORTEST_DT), math.log(LONGEST_DT)))
        self.log_decay = exempt(torch.full((channels, n_modes), math.log(0.5)))
        self.angle = exempt(ANGLES[init](torch.arange(n_modes), d_state).repeat(channels, 1))
        self.readout = exempt(torch.randn(channels, n_modes, 2) * 0.5**0.5)
        self.skip = exempt(torch.randn(channels))

    def modes(self) -> tuple[Tensor, Tensor]:
        """log p = dt A and R = 2 C A^{-1} (p - 1), complex (channels, d_state / 2), of h_t = Re sum_n R_n p_n^t."""
        a = torch.complex(-self.log_decay.exp(), self.angle)
        log_poles = self.log_dt.exp()[:, None] * a
        return log_poles, 2 * torch.complex(*self.readout.unbind(-1)) * torch.expm1(log_poles) / a

    def forward(self, u: Tensor) -> Tensor:
        """u (batch, length, channels) to the same."""
        return self._skipped(u, plain.modal_conv(u, *self.modes()))

    def prefill(self, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """forward after, and with, a state (batch, channels, d_state / 2), complex."""
        y, state = plain.modal_prefill(u, *self.modes(), state)
        return self._skipped(u, y), state

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        log_poles, residues = self.modes()
        state = state * log_poles.exp() + u[..., None]
        return self._skipped(u, (state * residues).sum(-1).real), state

    def _skipped(self, u: Tensor, y: Tensor) -> Tensor:
        return y.to(u.dtype) + self.skip.to(u.dtype) * u

    def flops(self, length: int, conv_algorithm: str) -> tuple[int, int]:
        """Of one sequence, as kernels/modal_conv.py charges it and the skip at 2, and those that are matmuls."""
        conv, matmul = modal_conv.flops(length, self.channels, self.n_modes, True, conv_algorithm)
        return conv + 2 * length * self.channels, matmul

    def init_state(self, batch: int) -> Tensor:
        return self.modes()[0].new_zeros(batch, self.channels, self.n_modes)


def checked_state(name: str, d_state: int) -> int:
    """d_state, of conjugate pairs. Raises UserError where it is odd or none."""
    if d_state < 2 or d_state % 2:
        raise UserError(f"{name} cannot have a d_state of {d_state}: it counts conjugate pairs; give an even number.")
    return d_state


class S4D(Mixer):
    """y = W_out gelu(SSM(W_in x)): d_inner state spaces with a skip each.

    The paper's layer has no W_in, and its later code has a gated linear unit after W_out; here W_in makes the channels
    d_inner of them, and gating is left to the channel mixer. init: lin or inv, for S4D-Lin and S4D-Inv.
    """

    card = Card(
        paper="Gu et al. 2022, On the Parameterization and Initialization of Diagonal State Space Models",
        equation="y = W_out gelu(h conv u + D u), h_t = 2 Re sum_n C_n A_n^-1 (e^{dt A_n} - 1) e^{t dt A_n}",
        state="n d, in n / 2 conjugate pairs",
        time="L",
        oracle="the dense state space, discretized by zero-order hold and recurrent, in float64",
    )

    def __init__(self, shape: LayerShape, *, d_state: int = 64, init: str = "lin"):
        super().__init__()
        if init not in ANGLES:
            raise UserError(f"s4d has no init {init!r}; there are {', '.join(ANGLES)}.")
        self.into = linear(shape.d_model, shape.d_inner)
        self.ssm = DiagonalSSM(shape.d_inner, checked_state("s4d", d_state), init)
        self.out = linear(shape.d_inner, shape.d_model, shape.out_scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.ssm(self.into(x))))

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the modes, complex (batch, d_inner, d_state / 2)."""
        y, state = self.ssm.prefill(self.into(x), state)
        return self.out(F.gelu(y)), state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.ssm.step(self.into(x), state)
        return self.out(F.gelu(y)), state

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The core is the state spaces', which DiagonalSSM.flops derives."""
        projection = 2 * length * (self.into.weight.numel() + self.out.weight.numel())
        core, matmul = self.ssm.flops(length, conv_algorithm)
        return MixerFlops(projection, core, core, projection + matmul)

    def init_state(self, batch: int, capacity: int) -> State:
        return self.ssm.init_state(batch)

    def state_size(self, length: int) -> StateSize:
        return StateSize(wide=2 * self.ssm.channels * self.ssm.n_modes)
