"""Gated linear attention (Yang et al. 2024): linear attention whose key channels forget at data-dependent rates.

As the authors' code, and unlike the paper's text: the heads' norm is an RMSNorm (LayerNorm in the paper), queries are
scaled by 1 / sqrt(d_k), and the output gate has no bias. Projections start by Xavier with a gain of 2^-2.5, as there.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import linear, rms_norm, wide
from eutectic.kernels import plain, vector_decay

# a = sigmoid(.)^(1 / TAU), and the rank of the gate's projection (4.4)
TAU, GATE_RANK = 16, 16
XAVIER_GAIN = 2**-2.5


class GLA(Mixer):
    """S_t = diag(a_t) S_{t-1} + k_t v_t', o_t = S_t' q_t and y = W_out(silu(W_g x) * norm(o)), in heads.

    Keys are half as wide as values, d_k = d_head / 2 (4.4). a_t = sigmoid(W_2 W_1 x_t + b)^(1/16).
    """

    card = Card(
        paper="Yang et al. 2024, Gated Linear Attention",
        equation="S_t = diag(a_t) S_{t-1} + k_t v_t', y_t = S_t' q_t, a_t = sigmoid(W_2 W_1 x_t + b)^(1/16)",
        state="d d_head / 2",
        time="L",
        oracle="flash-linear-attention's naive GLA; the recurrence in float64",
    )

    def __init__(self, shape: LayerShape):
        super().__init__()
        self.n_heads, self.d_v, self.d_k = shape.n_heads, shape.d_head, max(1, shape.d_head // 2)
        keys, values = self.n_heads * self.d_k, self.n_heads * self.d_v
        self.sizes = [keys, keys, values, values]
        self.qkvg = linear(shape.d_model, sum(self.sizes))
        for part in self.qkvg.weight.data.split(self.sizes):
            nn.init.xavier_uniform_(part, XAVIER_GAIN)
        self.decay_down = linear(shape.d_model, GATE_RANK)
        self.decay_up = linear(GATE_RANK, keys, bias=True)
        self.norm = rms_norm(self.d_v, shape.norm_eps)
        self.out = linear(values, shape.d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: S (batch, heads, d_k, d_v)."""
        q, k, v, log_decay, gate = self._inputs(x)
        y, state = plain.vector_decay(q, k, v, log_decay, state)
        return self._out(y, gate), state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        q, k, v, log_decay, gate = self._inputs(x)
        y, state = vector_decay.step(q, k, v, log_decay, state)
        return self._out(y, gate), state

    def _inputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """q, k, v, log a and the gate of x (..., d_model), each (..., heads, its width)."""
        q, k, v, gate = self.qkvg(x).split(self.sizes, -1)
        log_decay = F.logsigmoid(wide(self.decay_up(self.decay_down(x)))) / TAU
        q, k, v, log_decay, gate = (t.unflatten(-1, (self.n_heads, -1)) for t in (q, k, v, log_decay, gate))
        return q * self.d_k**-0.5, k, v, log_decay, gate

    def _out(self, y: Tensor, gate: Tensor) -> Tensor:
        return self.out((F.silu(gate) * self.norm(y)).flatten(-2))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The core is vector_decay's and the output gate's product; fft, which there is not, is charged as chunked."""
        weights = (self.qkvg, self.decay_down, self.decay_up, self.out)
        projection = 2 * length * sum(layer.weight.numel() for layer in weights)
        heads = self.n_heads, self.d_k, self.d_v
        matmul, other = vector_decay.flops(length, *heads)
        mixing = vector_decay.recurrence_flops(length, *heads) if conv_algorithm == "recurrence" else matmul + other
        core = mixing + length * self.n_heads * self.d_v
        return MixerFlops(projection, core, core, projection + matmul)

    def init_state(self, batch: int, capacity: int) -> State:
        return wide(self.qkvg.weight.new_zeros(batch, self.n_heads, self.d_k, self.d_v))

    def state_size(self, length: int) -> StateSize:
        return StateSize(wide=self.n_heads * self.d_k * self.d_v)
