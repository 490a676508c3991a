"""Linear attention (Katharopoulos et al. 2020, Transformers are RNNs): softmax's kernel replaced by a feature map's.

Queries and keys have no positions, as in the paper, whose models add those to their embeddings.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import linear, wide
from eutectic.kernels import scalar_decay


class LinearAttention(Mixer):
    """y = W_out of the heads' sum_s phi(q) phi(k_s) v_s / sum_s phi(q) phi(k_s), phi(x) = elu(x) + 1.

    The normaliser is one more channel of v, of ones.
    """

    card = Card(
        paper="Katharopoulos et al. 2020, Transformers are RNNs",
        equation="y_t = S_t' phi(q_t) / z_t' phi(q_t), S_t = S_{t-1} + phi(k_t) v_t', z_t = z_{t-1} + phi(k_t)",
        state="d (d_head + 1)",
        time="L",
        oracle="eq. 9 in float64; flash-linear-attention's naive_recurrent_linear_attn",
    )

    def __init__(self, shape: LayerShape):
        super().__init__()
        self.n_heads, self.d_head = shape.n_heads, shape.d_head
        self.qkv = linear(shape.d_model, 3 * shape.d_inner)
        self.out = linear(shape.d_inner, shape.d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: S with z as its last column, (batch, heads, d_head, d_head + 1) (eq. 16-20)."""
        q, k, v = self._heads(x)
        no_decay = wide(v.new_zeros(v.shape[:3]))
        y, state = scalar_decay.chunked(q, k, v, no_decay, state)
        return self._out(y), state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        q, k, v = (wide(part) for part in self._heads(x))
        state = state + k[..., :, None] * v[..., None, :]
        return self._out(torch.einsum("bhkv,bhk->bhv", state, q).to(x.dtype)), state

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """phi(q), phi(k) (..., heads, d_head) and v with a column of ones of x (..., d_model)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, self.d_head)).unbind(-3)
        return feature_map(q), feature_map(k), F.pad(v, (0, 1), value=1.0)

    def _out(self, y: Tensor) -> Tensor:
        return self.out((y[..., :-1] / y[..., -1:]).flatten(-2))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The normaliser's division, one per channel, and, for a state of d_head (d_head + 1) per head:

        recurrence: a multiply-add in and one out, 4 per entry and step.
        chunked, and fft, which it has not: the matmuls, the sum of their two parts, one per channel of v, and the
        states' running sum, one per entry and chunk.
        """
        n_heads, d_v = self.n_heads, self.d_head + 1
        projection = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        matmul = scalar_decay.matmul_flops(length, n_heads, n_heads, self.d_head, d_v)
        if conv_algorithm == "recurrence":
            core = 4 * length * n_heads * self.d_head * d_v
        else:
            n_chunks = -(-length // scalar_decay.CHUNK)
            core = matmul + n_heads * d_v * (length + n_chunks * self.d_head)
        core += length * n_heads * self.d_head
        return MixerFlops(projection, core, core, projection + matmul)

    def init_state(self, batch: int) -> State:
        return wide(self.out.weight.new_zeros(batch, self.n_heads, self.d_head, self.d_head + 1))

    def state_size(self, length: int) -> StateSize:
        return StateSize(wide=self.n_heads * self.d_head * (self.d_head + 1))


def feature_map(x: Tensor) -> Tensor:
    """elu(x) + 1 (eq. 7), positive where 1 - (1 - exp(x)) would round to zero."""
    return F.relu(x) + x.clamp(max=0).exp()
