"""Gated DeltaNet: the delta rule with Mamba-2's decay of the whole state (Yang et al. 2025), as in Qwen3-Next.

The decay's A starts uniform in (0, 16] and its dt log-uniform in [0.001, 0.1], as in Mamba-2 and the authors' code.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, l2_norm, linear, rms_norm, short_conv, short_conv_step, uniform_taps, wide
from eutectic.arch.mixers.mamba import dt_bias_start
from eutectic.errors import UserError
from eutectic.kernels import delta_rule, plain

TAPS = 4
LARGEST_A = 16.0


class GatedDeltaNet(Mixer):
    """y = W_out of the value heads' RMSNorm(S_t^T q_t) * silu(W_z x), with decay exp(-A softplus(W_a x + b)).

    q, k, v = silu(FIR4(W x)), q and k of unit length, q scaled by 1 / sqrt(d_k), beta = sigmoid(W_b x).

    n_k_heads of queries and keys, d_k wide; n_v_heads of values, d_v wide, of which consecutive ones share a key head.
    Where they are 0, both counts are the model's, keys take 3/4 of the mixed channels and values twice that, the
    authors' allotment, which gives Mamba-2's 6 d^2 parameters.
    """

    card = Card(
        paper="Yang et al. 2025, Gated Delta Networks",
        equation="S_t = a_t (I - beta_t k_t k_t') S_{t-1} + beta_t k_t v_t', y_t = S_t' q_t * silu(z_t)",
        state="9/8 d d_head + 9 d of the FIR",
        time="L d_head",
        oracle="transformers Qwen3NextForCausalLM; flash-linear-attention's naive gated_delta_rule",
    )

    def __init__(self, shape: LayerShape, *, n_k_heads: int = 0, n_v_heads: int = 0, d_k: int = 0, d_v: int = 0):
        super().__init__()
        if min(n_k_heads, n_v_heads, d_k, d_v) < 0:
            raise UserError(f"gated_deltanet has {n_k_heads=}, {n_v_heads=}, {d_k=}, {d_v=}; give none below 0.")
        self.n_k_heads = n_k_heads or shape.n_heads
        self.n_v_heads = n_v_heads or self.n_k_heads
        if self.n_v_heads % self.n_k_heads:
            raise UserError(
                f"gated_deltanet cannot share {self.n_k_heads} key heads among n_v_heads={self.n_v_heads}; "
                f"give a multiple of {self.n_k_heads}."
            )
        self.d_k = d_k or max(1, 3 * shape.d_head // 4)
        self.d_v = d_v or 2 * self.d_k
        keys, values = self.n_k_heads * self.d_k, self.n_v_heads * self.d_v
        # q, k, v, z, b, a
        self.parts = [keys, keys, values, values, self.n_v_heads, self.n_v_heads]
        self.proj = linear(shape.d_model, sum(self.parts))
        self.fir = exempt(uniform_taps(2 * keys + values, TAPS))
        self.log_a = exempt((LARGEST_A * (1 - torch.rand(self.n_v_heads))).log())
        self.dt_bias = exempt(dt_bias_start(self.n_v_heads))
        self.norm = rms_norm(self.d_v, shape.norm_eps)
        self.out = linear(values, shape.d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the FIR's inputs (batch, 3, those of q, k, v) and S (batch, value heads, d_k, d_v)."""
        past, memory = state or (None, None)
        qkv, gate, beta, log_decay = self._projected(x)
        convolved, past = short_conv(wide(qkv), self.fir, past)
        q, k, v = (part.to(qkv.dtype) for part in self._heads(convolved))
        y, memory = plain.delta_rule(q, k, v, beta, log_decay, memory)
        return self._out(y, gate), (past.to(qkv.dtype), memory)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, memory = state
        qkv, gate, beta, log_decay = self._projected(x)
        convolved, past = short_conv_step(wide(qkv), self.fir, past)
        y, memory = delta_rule.step(*self._heads(convolved), beta, log_decay, memory)
        return self._out(y.to(qkv.dtype), gate), (past.to(qkv.dtype), memory)

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, k and v before the FIR, z, beta and log a of x (..., d_model)."""
        qkv, gate, beta, rate = self.proj(x).split([sum(self.parts[:3]), *self.parts[3:]], -1)
        log_decay = -wide(self.log_a).exp() * F.softplus(wide(rate) + wide(self.dt_bias))
        return qkv, gate, wide(beta).sigmoid(), log_decay

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k (..., value heads, d_k) and v (..., value heads, d_v) of what the FIR gives."""
        q, k, v = F.silu(qkv).split(self.parts[:3], -1)
        groups = self.n_v_heads // self.n_k_heads
        q, k = (l2_norm(part.unflatten(-1, (-1, self.d_k))).repeat_interleave(groups, -2) for part in (q, k))
        return q * self.d_k**-0.5, k, v.unflatten(-1, (-1, self.d_v))

    def _out(self, y: Tensor, gate: Tensor) -> Tensor:
        return self.out(self.norm(y).flatten(-2) * F.silu(gate))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """Per token FIR of 2 TAPS on each channel of q, k, v, a gate on each of v's, and for each value head the rule.

        It is charged as kernels/delta_rule.py does; its chunked form stands for fft, too.
        """
        sizes = (length, self.n_v_heads, self.d_k, self.d_v)
        projection = 2 * length * (self.proj.weight.numel() + self.out.weight.numel())
        core = delta_rule.flops(*sizes, conv_algorithm)
        core += length * (len(self.fir) * 2 * TAPS + self.out.in_features)
        return MixerFlops(projection, core, core, projection + delta_rule.matmul_flops(*sizes))

    def init_state(self, batch: int, capacity: int) -> State:
        past = self.proj.weight.new_zeros(batch, TAPS - 1, len(self.fir))
        return past, wide(past.new_zeros(batch, self.n_v_heads, self.d_k, self.d_v))

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=(TAPS - 1) * len(self.fir), wide=self.n_v_heads * self.d_k * self.d_v)
