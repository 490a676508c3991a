"""Multi-scale retention (Sun et al. 2023, RetNet): linear attention whose heads forget at fixed rates of their own.

Two of the paper's parts cancel and are left out: xPos's growth and decay, which with gamma are one decay (after eq. 3),
and the normalisations of scores in 2.3, constant over a head's channels, which the norm of its output undoes. That norm
is RMSNorm without a gain, as in the authors' released code, where the paper's eq. 8 has GroupNorm.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch import ring
from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import linear, rotary_angles, rotate, wide
from eutectic.errors import UserError
from eutectic.kernels import dispatch, scalar_decay

# of the Xavier initialization in the authors' code
GAIN = 2**-2.5


class Retention(Mixer):
    """y = W_out(swish(W_g x) * norm(S_t' q_t)), S_t = gamma S_{t-1} + k_t v_t', gamma = 1 - 2^(-5-h) for head h from 0.

    Queries and keys are turned by rotary positions. expand_v: channels of v for each of k.
    """

    card = Card(
        paper="Sun et al. 2023, Retentive Network",
        equation="S_t = gamma S_{t-1} + k_t v_t', y_t = W_out(swish(W_g x_t) * GN(S_t' q_t)) (eq. 6, 8)",
        state="d d_head expand_v",
        time="L",
        oracle="torchscale's MultiScaleRetention; flash-linear-attention's naive_retention",
    )

    def __init__(self, shape: LayerShape, *, expand_v: int = 2):
        super().__init__()
        if expand_v < 1:
            raise UserError(f"retention cannot have expand_v={expand_v}; give 1 or more.")
        self.n_heads, self.d_head, self.expand_v = shape.n_heads, shape.d_head, expand_v
        self.rope_base, self.norm_eps = shape.rope_base, shape.norm_eps
        d_inner, d_value = shape.d_inner, expand_v * shape.d_inner
        self.widths = [d_inner, d_inner, d_value, d_value]
        self.qkvg = linear(shape.d_model, sum(self.widths))
        for part in self.qkvg.weight.data.split(self.widths):
            nn.init.xavier_uniform_(part, GAIN)
        self.out = linear(d_value, shape.d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: S (batch, heads, d_head, expand_v d_head) and the tokens seen, (batch,)."""
        past, seen = state or self.init_state(len(x), 0)
        positions = ring.positions(seen, x.shape[1])
        q, k, v, gate = self._heads(x, positions)
        log_decay = self.log_decay().to(wide(v).dtype).expand(v.shape[:3])
        y, past = dispatch.scalar_decay(q, k, v, log_decay, past)
        return self._out(y, gate), (past, seen + x.shape[1])

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, seen = state
        q, k, v, gate = self._heads(x[:, None], seen[:, None])
        q, k, v = (wide(part[:, 0]) for part in (q, k, v))
        past = self.log_decay().exp().to(past.dtype)[:, None, None] * past + k[..., :, None] * v[..., None, :]
        y = torch.einsum("bhkv,bhk->bhv", past, q).to(x.dtype)
        return self._out(y, gate[:, 0]), (past, seen + 1)

    def log_decay(self) -> Tensor:
        """log gamma (heads,) in float64."""
        head = torch.arange(self.n_heads, device=self.out.weight.device, dtype=torch.float64)
        return torch.log1p(-torch.exp2(-5 - head))

    def _heads(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, k, v (batch, length, heads, .) and the gate's input, of x (batch, length, .) at positions (1 or batch,
        length)."""
        q, k, v, gate = self.qkvg(x).split(self.widths, -1)
        q, k, v = (part.unflatten(-1, (self.n_heads, -1)) for part in (q, k, v))
        cos, sin = (angle[:, :, None] for angle in rotary_angles(positions, self.d_head, self.rope_base, q.dtype))
        return rotate(q, cos, sin), rotate(k * self.d_head**-0.5, cos, sin), v, gate

    def _out(self, y: Tensor, gate: Tensor) -> Tensor:
        return self.out(F.silu(gate) * F.rms_norm(y, y.shape[-1:], eps=self.norm_eps).flatten(-2))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The retention itself as kernels/scalar_decay.py charges it (fft: as chunked), and a product with the gate."""
        projection = 2 * length * (self.qkvg.weight.numel() + self.out.weight.numel())
        sizes = length, self.n_heads, self.n_heads, self.d_head, self.expand_v * self.d_head
        core = scalar_decay.flops(*sizes, conv_algorithm) + length * self.out.in_features
        return MixerFlops(projection, core, core, projection + scalar_decay.matmul_flops(*sizes))

    def init_state(self, batch: int, capacity: int) -> State:
        past = wide(self.out.weight.new_zeros(batch, self.n_heads, self.d_head, self.expand_v * self.d_head))
        return past, ring.counts(batch, past)

    def state_size(self, length: int) -> StateSize:
        return StateSize(wide=self.n_heads * self.expand_v * self.d_head**2)
