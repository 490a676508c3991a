"""MultiHyena: long convolutions with heads, of the outer products of keys and values (Massaroli et al. 2023, 4)."""

import torch
from torch import Tensor

from eutectic.arch.base import Card, LayerShape, State, StateSize
from eutectic.arch.gated_conv import GatedConv
from eutectic.arch.layers import exempt, wide
from eutectic.arch.mixers.hyena import ModalFilter
from eutectic.errors import UserError
from eutectic.kernels import long_conv, multihead_conv, plain
from eutectic.kernels.modal_conv import parts, product


class MultiHyena(GatedConv):
    """In a head, y_t = z_t' q_t with z = h conv (k v') + D k v': one modal filter and one D for its d_head^2 products.

    n_heads: of the convolution, where 0 the model's. As many as channels are Hyena; fewer keep a larger state. The
    filter and D start d_head^(-1/2) times Hyena's, for they weigh sums of d_head products of a query and a key.
    """

    card = Card(
        paper="Massaroli et al. 2023, Laughing Hyena (section 4)",
        equation="y_t = sum_{s<=t} h_{t-s} (q_t . k_s) v_s, h_t = Re sum_n R_n p_n^t + D [t = 0]",
        state="2 n d d_head (half of it if poles are real) + 6 d of the FIR",
        time="L",
        oracle="the outer products' convolution in float64",
    )

    def __init__(self, shape: LayerShape, *, n_heads: int = 0):
        super().__init__(shape)
        self.n_heads = n_heads or shape.n_heads
        if self.n_heads < 0 or shape.d_inner % self.n_heads:
            raise UserError(f"multihyena cannot part {shape.d_inner} channels into {n_heads=}; give a divisor.")
        self.d_head = shape.d_inner // self.n_heads
        scale = self.d_head**-0.5
        self.filter = ModalFilter(self.n_heads, shape.n_modes, shape.poles == "complex", scale)
        self.skip = exempt(torch.full((self.n_heads,), scale))

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = self._heads(q, k, v)
        return plain.multihead_conv(q, k, v, *self.filter.poles(), wide(self.skip)).flatten(2)

    def mix_after(self, q: Tensor, k: Tensor, v: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the modes, real parts then imaginary parts, (batch, heads, n_modes or twice that, d_head, d_head)."""
        q, k, v = self._heads(q, k, v)
        y, state = plain.multihead_prefill(q, k, v, *self.filter.poles(), wide(self.skip), state)
        return y.flatten(2), state

    def mix_step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        q, k, v = self._heads(q, k, v)
        log_poles, residues = self.filter.poles()
        kv = wide(k)[..., :, None] * wide(v)[..., None, :]
        modes = product(parts(log_poles.exp()[..., None, None]), state.split(self.filter.n_modes, 2))
        modes = (modes[0] + kv[:, :, None], *modes[1:])
        z = product(parts(residues[..., None, None]), modes)[0].sum(2) + wide(self.skip)[:, None, None] * kv
        return (z * wide(q)[..., None]).sum(2).flatten(1).to(q.dtype), torch.cat(modes, 2)

    def _heads(self, *qkv: Tensor) -> list[Tensor]:
        return [x.unflatten(-1, (self.n_heads, self.d_head)) for x in qkv]

    def mix_flops(self, length: int, conv_algorithm: str) -> tuple[int, int]:
        """recurrence: per token and each of a head's dim^2 products: the product 1, n modes of a complex multiply-add
        (8) and a real read-out (4), or 2 and 2 where poles are real, the skip 2 and the query 2.

        chunked: matmuls of T x T scores (2 dim T^2, twice) a chunk, times the mask T^2; of states out of all chunks but
        the last and into all but the first (2 T rows dim^2 each), for which keys and queries are weighed in each row
        (T rows dim, twice); and the states' recurrence, once between two chunks that leave one.
        fft: per head, dim^2 convolutions as kernels/long_conv.py, per token the product 1, the skip 2 and the query 2.
        """
        products, rows = self.d_inner * self.d_head, self.filter.rows
        chunk = min(multihead_conv.CHUNK, length)
        n_chunks = -(-length // chunk)
        later = (n_chunks - 1) * chunk
        matmul = 4 * n_chunks * chunk * chunk * self.d_inner + 4 * later * rows * products
        complex_poles, modes = self.filter.complex_poles, self.filter.n_modes * products
        elementwise = n_chunks * chunk * chunk * self.n_heads + 2 * later * rows * self.d_inner
        mixing = {
            "recurrence": length * (modes * (12 if complex_poles else 4) + 5 * products),
            "chunked": matmul + elementwise + max(n_chunks - 2, 0) * modes * (8 if complex_poles else 2),
            "fft": long_conv.flops(products, length) + 5 * length * products,
        }[conv_algorithm]
        return mixing, matmul

    def init_mix(self, batch: int, capacity: int) -> State:
        log_poles, _ = self.filter.poles()
        return log_poles.real.new_zeros(batch, self.n_heads, self.filter.rows, self.d_head, self.d_head)

    def mix_size(self, length: int) -> StateSize:
        return StateSize(wide=self.filter.rows * self.d_inner * self.d_head)
