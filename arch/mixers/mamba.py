"""Mamba (Gu and Dao 2023): a diagonal state space whose step, input and output maps depend on the token."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, linear, short_conv, short_conv_step, uniform_taps, wide
from eutectic.errors import UserError
from eutectic.kernels import plain, selective_scan

CONV_TAPS = 4
SHORTEST_STEP, LONGEST_STEP, STEP_FLOOR = 1e-3, 1e-1, 1e-4
# of torch's default for linear maps, uniform of standard deviation 1 / sqrt(3 fan in), which the authors' code keeps
DEFAULT_SCALE = 3**-0.5


class Mamba(Mixer):
    """y = W_out((h's read-out + D u) * silu(z)), with u, z = W_in x, u = silu(conv4(u)), as section 3.4 and figure 3.

    dt, B and C are linear in u, dt through a bottleneck of dt_rank (0: ceil(d_model / 16)). expand: channels per
    channel of the layer. d_state: modes per channel.
    """

    card = Card(
        paper="Gu and Dao 2023, Mamba",
        equation="h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t, y_t = C_t h_t + D u_t (Algorithm 2)",
        state="expand d (n + 3)",
        time="L",
        oracle="transformers MambaForCausalLM",
    )

    def __init__(self, shape: LayerShape, *, d_state: int = 16, expand: int = 2, dt_rank: int = 0):
        super().__init__()
        if min(d_state, expand) < 1 or dt_rank < 0:
            raise UserError(
                f"mamba cannot have d_state={d_state}, expand={expand}, dt_rank={dt_rank}; "
                "give 1 or more (dt_rank: 0 for ceil(d_model / 16))."
            )
        d_inner = expand * shape.d_inner
        self.d_inner, self.d_state = d_inner, d_state
        self.dt_rank = dt_rank or -(-shape.d_model // 16)
        self.in_proj = linear(shape.d_model, 2 * d_inner, DEFAULT_SCALE)
        self.taps, self.conv_bias = nn.Parameter(uniform_taps(d_inner, CONV_TAPS)), exempt(conv_bias_start(d_inner))
        self.x_proj = linear(d_inner, self.dt_rank + 2 * d_state, DEFAULT_SCALE)
        self.dt_proj = linear(self.dt_rank, d_inner)
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        self.dt_bias = exempt(dt_bias_start(d_inner))
        self.A_log = exempt(torch.arange(1, d_state + 1).float().log().repeat(d_inner, 1))
        self.D = exempt(torch.ones(d_inner))
        self.out = linear(d_inner, shape.d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: inputs of the convolution (batch, 3, channels), and h (batch, channels, d_state)."""
        past, modes = state or (None, None)
        u, z = self.in_proj(x).chunk(2, -1)
        u, past = short_conv(u, self.taps, past)
        u = F.silu(u + self.conv_bias.to(u.dtype))
        dt, b, c = self._selected(u)
        y, modes = plain.selective_scan(wide(u), dt, self.rates(), b, c, modes)
        return self._out(y, u, z), (past, modes)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, modes = state
        u, z = self.in_proj(x).chunk(2, -1)
        u, past = short_conv_step(u, self.taps, past)
        u = F.silu(u + self.conv_bias.to(u.dtype))
        dt, b, c = self._selected(u)
        modes = (dt[..., None] * self.rates()).exp() * modes + (dt * u)[..., None] * b[:, None]
        return self._out((modes * c[:, None]).sum(-1), u, z), (past, modes)

    def rates(self) -> Tensor:
        """A (channels, d_state), negative."""
        return -wide(self.A_log).exp()

    def _selected(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """dt (..., channels), B and C (..., d_state) of u (..., channels)."""
        low, b, c = self.x_proj(u).split([self.dt_rank, self.d_state, self.d_state], -1)
        return F.softplus(wide(self.dt_proj(low)) + wide(self.dt_bias)), wide(b), wide(c)

    def _out(self, y: Tensor, u: Tensor, z: Tensor) -> Tensor:
        return self.out((y.to(u.dtype) + self.D.to(u.dtype) * u) * F.silu(z))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """Projections: four matmuls. Core: the scan as kernels/selective_scan.py charges it (fft: as chunked), and per
        channel the FIR with its bias, 2 taps + 1, the skip 2 and the gate 1. It has no matmul.
        """
        weights = (self.in_proj, self.x_proj, self.dt_proj, self.out)
        projection = 2 * length * sum(layer.weight.numel() for layer in weights)
        core = selective_scan.flops(length, self.d_inner, self.d_state, conv_algorithm)
        core += length * self.d_inner * (2 * CONV_TAPS + 4)
        return MixerFlops(projection, core, core, projection)

    def init_state(self, batch: int, capacity: int) -> State:
        past = self.out.weight.new_zeros(batch, CONV_TAPS - 1, self.d_inner)
        return past, wide(self.out.weight.new_zeros(batch, self.d_inner, self.d_state))

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=(CONV_TAPS - 1) * self.d_inner, wide=self.d_inner * self.d_state)


def conv_bias_start(size: int) -> Tensor:
    """As torch starts a depthwise convolution's biases: as its taps, uniform within 1 / sqrt(taps)."""
    return torch.empty(size).uniform_(-(CONV_TAPS**-0.5), CONV_TAPS**-0.5)


def dt_bias_start(size: int) -> Tensor:
    """What softplus takes to steps uniform in log from 0.001 to 0.1 (section 3.6), of 0.0001 at least."""
    low, high = math.log(SHORTEST_STEP), math.log(LONGEST_STEP)
    dt = torch.empty(size).uniform_(low, high).exp().clamp(min=STEP_FLOOR)
    return dt + torch.log(-torch.expm1(-dt))
