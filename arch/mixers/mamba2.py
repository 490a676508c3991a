"""Mamba-2 (Dao and Gu 2024): a state space with one decay per head and token, which chunked matmuls compute (SSD)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, linear, short_conv, short_conv_step, uniform_taps, wide
from eutectic.arch.mixers.mamba import CONV_TAPS, DEFAULT_SCALE, conv_bias_start, dt_bias_start
from eutectic.errors import UserError
from eutectic.kernels import dispatch, scalar_decay

SLOWEST_RATE, FASTEST_RATE = 1.0, 16.0


class Mamba2(Mixer):
    """y = W_out norm((S' C + D u) * silu(z)), with z, (u, B, C), dt = W_in x, (u, B, C) = silu(conv4(u, B, C)).

    Section 7.1 and figure 6. expand: channels per channel of the layer, in as many more heads, each as wide as the
    layer's. d_state: rows of a head's state. n_groups: heads are in groups that share B, C and a norm.
    """

    card = Card(
        paper="Dao and Gu 2024, Mamba-2",
        equation="S_t = exp(dt_t A) S_{t-1} + dt_t B_t u_t', y_t = S_t' C_t + D u_t",
        state="expand d (n + 3) + 6 n n_groups",
        time="L",
        oracle="transformers Mamba2ForCausalLM",
    )

    def __init__(self, shape: LayerShape, *, d_state: int = 128, expand: int = 2, n_groups: int = 1):
        super().__init__()
        self.n_heads, self.d_head = expand * shape.n_heads, shape.d_head
        if min(d_state, expand, n_groups) < 1:
            raise UserError(
                f"mamba2 cannot have d_state={d_state}, expand={expand}, n_groups={n_groups}; give 1 or more."
            )
        if self.n_heads % n_groups:
            raise UserError(f"mamba2 cannot part its {self.n_heads} heads into n_groups={n_groups}; give a divisor.")
        self.d_inner, self.d_state, self.n_groups = expand * shape.d_inner, d_state, n_groups
        self.d_conv = self.d_inner + 2 * n_groups * d_state
        self.norm_eps = shape.norm_eps
        self.in_proj = linear(shape.d_model, self.d_inner + self.d_conv + self.n_heads, DEFAULT_SCALE)
        self.taps, self.conv_bias = (
            nn.Parameter(uniform_taps(self.d_conv, CONV_TAPS)),
            exempt(conv_bias_start(self.d_conv)),
        )
        self.dt_bias = exempt(dt_bias_start(self.n_heads))
        self.A_log = exempt(torch.empty(self.n_heads).uniform_(SLOWEST_RATE, FASTEST_RATE).log())
        self.D = exempt(torch.ones(self.n_heads))
        self.gain = exempt(torch.ones(self.d_inner))
        self.out = linear(self.d_inner, shape.d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: inputs of the convolution (batch, 3, channels), and S (batch, heads, d_state, d_head)."""
        past, heads = state or (None, None)
        z, mixed, dt = self._projected(x)
        mixed, past = short_conv(mixed, self.taps, past)
        u, b, c = self._heads(mixed)
        y, heads = dispatch.scalar_decay(c, b, (dt[..., None] * u).to(u.dtype), dt * self.rates(), heads)
        return self._out(y, u, z), (past, heads)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, heads = state
        z, mixed, dt = self._projected(x)
        mixed, past = short_conv_step(mixed, self.taps, past)
        u, b, c = self._heads(mixed)
        b, c = (wide(part).repeat_interleave(self.n_heads // self.n_groups, 1) for part in (b, c))
        decay = (dt * self.rates()).exp()[..., None, None]
        heads = decay * heads + b[..., :, None] * (dt[..., None] * u)[..., None, :]
        return self._out(torch.einsum("bhnp,bhn->bhp", heads, c), u, z), (past, heads)

    def rates(self) -> Tensor:
        """A (heads,), negative."""
        return -wide(self.A_log).exp()

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z (..., d_inner), what is convolved (..., d_conv), and dt (..., heads)."""
        z, mixed, dt = self.in_proj(x).split([self.d_inner, self.d_conv, self.n_heads], -1)
        return z, mixed, F.softplus(wide(dt) + wide(self.dt_bias))

    def _heads(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u (..., heads, d_head), B and C (..., groups, d_state) of the convolution's output."""
        mixed = F.silu(mixed + self.conv_bias.to(mixed.dtype))
        n = self.n_groups * self.d_state
        u, b, c = mixed.split([self.d_inner, n, n], -1)
        return u.unflatten(-1, (self.n_heads, -1)), *(part.unflatten(-1, (self.n_groups, -1)) for part in (b, c))

    def _out(self, y: Tensor, u: Tensor, z: Tensor) -> Tensor:
        y = (y.to(u.dtype) + self.D.to(u.dtype)[:, None] * u).flatten(-2) * F.silu(z)
        y = y.unflatten(-1, (self.n_groups, -1))
        return self.out(F.rms_norm(y, y.shape[-1:], eps=self.norm_eps).flatten(-2) * self.gain)

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The state space as kernels/scalar_decay.py charges it (fft: as chunked); the FIR with its bias, 2 taps + 1
        per channel; dt u, the skip and the gate, 4 per channel of u; dt A, one per head.
        """
        projection = 2 * length * (self.in_proj.weight.numel() + self.out.weight.numel())
        sizes = length, self.n_heads, self.n_groups, self.d_state, self.d_head
        core = scalar_decay.flops(*sizes, conv_algorithm)
        core += length * ((2 * CONV_TAPS + 1) * self.d_conv + 4 * self.d_inner + self.n_heads)
        return MixerFlops(projection, core, core, projection + scalar_decay.matmul_flops(*sizes))

    def init_state(self, batch: int, capacity: int) -> State:
        past = self.out.weight.new_zeros(batch, CONV_TAPS - 1, self.d_conv)
        return past, wide(self.out.weight.new_zeros(batch, self.n_heads, self.d_state, self.d_head))

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=(CONV_TAPS - 1) * self.d_conv, wide=self.d_inner * self.d_state)
