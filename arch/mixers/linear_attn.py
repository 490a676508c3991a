"""Linear attention (Katharopoulos et al. 2020, Transformers are RNNs): softmax's kernel replaced by a feature map's.

The paper adds positions to its models' embeddings. Ours have none, so that without `rotary` the past is a set.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch import ring
from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import linear, rotary_angles, rotate, wide
from eutectic.kernels import dispatch, scalar_decay

SMALLEST = 1e-30


class LinearAttention(Mixer):
    """y = W_out of the heads' sum_s (R_t phi(q_t))' R_s phi(k_s) v_s / sum_s phi(q_t)' phi(k_s), phi(x) = elu(x) + 1.

    rotary: R_t turns features by rotary positions, in the numerator alone, since turned ones are not positive and their
    sum may vanish (Su et al. 2021, RoFormer, 3.3, eq. 19); else R_t = 1, which is the paper's eq. 9.
    """

    card = Card(
        paper="Katharopoulos et al. 2020, Transformers are RNNs; rotary positions Su et al. 2021, RoFormer",
        equation="y_t = S_t' R_t phi(q_t) / z_t' phi(q_t), S_t = S_{t-1} + R_t phi(k_t) v_t', z_t = z_{t-1} + phi(k_t)",
        state="d (d_head + 1)",
        time="L",
        oracle="RoFormer's eq. 19 in float64; without rotary, eq. 9 and fla's naive_recurrent_linear_attn",
    )

    def __init__(self, shape: LayerShape, *, rotary: bool = True):
        super().__init__()
        self.n_heads, self.d_head = shape.n_heads, shape.d_head
        self.rotary, self.rope_base = rotary, shape.rope_base
        self.qkv = linear(shape.d_model, 3 * shape.d_inner)
        self.out = linear(shape.d_inner, shape.d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: S (batch, heads, d_head, d_head) and z (batch, heads, d_head) (eq. 16-20), and the tokens seen,
        (batch,)."""
        past, z, seen = state or self.init_state(len(x), 0)
        positions = ring.positions(seen, x.shape[1])
        q, k, v = self._heads(x)
        z = z[:, None] + wide(k).cumsum(1)
        no_decay = wide(v.new_zeros(v.shape[:3]))
        y, past = dispatch.scalar_decay(*self._turned(q, k, positions), v, no_decay, past)
        return self._out(y, q, z), (past, z[:, -1], seen + x.shape[1])

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, z, seen = state
        q, k, v = (wide(part) for part in self._heads(x[:, None]))
        z = z + k[:, 0]
        turned_q, turned_k = self._turned(q, k, seen[:, None])
        past = past + turned_k[:, 0, :, :, None] * v[:, 0, :, None]
        y = torch.einsum("bhkv,bhk->bhv", past, turned_q[:, 0])
        return self._out(y, q[:, 0], z), (past, z, seen + 1)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """phi(q), phi(k) and v (batch, length, heads, d_head) of x (batch, length, d_model)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, self.d_head)).unbind(-3)
        return feature_map(q), feature_map(k), v

    def _turned(self, q: Tensor, k: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """R phi(q) and R phi(k), at positions (1 or batch, length)."""
        if not self.rotary:
            return q, k
        cos, sin = (angle[:, :, None] for angle in rotary_angles(positions, self.d_head, self.rope_base, q.dtype))
        return rotate(q, cos, sin), rotate(k, cos, sin)

    def _out(self, y: Tensor, q: Tensor, z: Tensor) -> Tensor:
        # features of far negative queries underflow: no key is then attended to, and 0 / 0 is 0
        normaliser = (wide(q) * z).sum(-1, keepdim=True).clamp(min=SMALLEST)
        return self.out((y / normaliser).flatten(-2).to(self.out.weight.dtype))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The normaliser, per channel: an addition to z, a multiply-add with phi(q) and a division. And, for S:

        recurrence: a multiply-add in and one out, 4 per entry and step.
        chunked, and fft, which it has not: the matmuls, the sum of their two parts, one per channel, and the states'
        running sum, one per entry and chunk.
        """
        d_inner = self.out.in_features
        projection = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        matmul = scalar_decay.matmul_flops(length, self.n_heads, self.n_heads, self.d_head, self.d_head)
        if conv_algorithm == "recurrence":
            core = 4 * length * d_inner * self.d_head
        else:
            n_chunks = -(-length // scalar_decay.CHUNK)
            core = matmul + d_inner * (length + n_chunks * self.d_head)
        core += 4 * length * d_inner
        return MixerFlops(projection, core, core, projection + matmul)

    def init_state(self, batch: int, capacity: int) -> State:
        z = wide(self.out.weight.new_zeros(batch, self.n_heads, self.d_head))
        return z.new_zeros(*z.shape, self.d_head), z, ring.counts(batch, z)

    def state_size(self, length: int) -> StateSize:
        return StateSize(wide=self.out.in_features * (self.d_head + 1))


def feature_map(x: Tensor) -> Tensor:
    """elu(x) + 1 (eq. 7), positive where 1 - (1 - exp(x)) would round to zero."""
    return F.relu(x) + x.clamp(max=0).exp()
