"""H3, a shift state space and a diagonal one between three projections (Fu et al. 2023, "Hungry Hungry Hippos")."""

import torch
from torch import Tensor

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, linear, short_conv_step, uniform_taps
from eutectic.arch.mixers.s4d import DiagonalSSM, checked_state
from eutectic.errors import UserError
from eutectic.kernels import dispatch


class H3(Mixer):
    """y = W_out(q * SSM_diag(SSM_shift(k) * v)), with q, k, v = W_in x (section 3.1).

    SSM_shift's state is the last `shift` keys, its matrix the shift and its B = e_1, so its learned C is an FIR's taps;
    they start as the released code's, uniform within 1 / sqrt(shift), and its normal skip is one with the tap at lag 0.
    SSM_diag is S4D-Lin with a skip, by zero-order hold where the released code is bilinear. head_dim: of heads, whose k
    and v meet in an outer product and whose entries share one SSM_diag; q reads it out over the keys' side. By default,
    as in the released models, it is 1: all products are elementwise.
    """

    card = Card(
        paper="Fu et al. 2023, Hungry Hungry Hippos",
        equation="y = W_out(q * SSM_diag(SSM_shift(k) * v)) (section 3.1)",
        state="n d d_head, in n / 2 conjugate pairs, d_head = 1 by default, + (shift - 1) d",
        time="L",
        oracle="both dense state spaces, recurrent, in float64",
    )

    def __init__(self, shape: LayerShape, *, d_state: int = 64, shift: int = 64, head_dim: int = 1):
        super().__init__()
        if shift < 1:
            raise UserError(f"h3 cannot have a shift of {shift}; give 1 or more taps.")
        if head_dim < 1 or shape.d_inner % head_dim:
            raise UserError(f"h3 cannot split {shape.d_inner} channels into heads of {head_dim}; give a divisor.")
        self.d_inner, self.head_dim = shape.d_inner, head_dim
        self.qkv = linear(shape.d_model, 3 * shape.d_inner)
        self.out = linear(shape.d_inner, shape.d_model, shape.out_scale)
        taps = uniform_taps(shape.d_inner, shift)
        taps[:, 0] += torch.randn(shape.d_inner)
        self.taps = exempt(taps)
        self.ssm = DiagonalSSM(shape.d_inner // head_dim, checked_state("h3", d_state))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        k, _ = dispatch.fir(k, self.taps, None)
        return self._read(q, self.ssm(self._outer(k, v)))

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: keys, (batch, shift - 1, d_inner), and modes, (batch, head_dim, head_dim, heads, d_state / 2)."""
        past, modes = state or (None, None)
        q, k, v = self.qkv(x).chunk(3, -1)
        k, past = dispatch.fir(k, self.taps, past)
        y, modes = self.ssm.prefill(self._outer(k, v), None if modes is None else modes.flatten(0, 2))
        return self._read(q, y), (past, self._by_sequence(modes))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past, modes = state
        q, k, v = self.qkv(x).chunk(3, -1)
        k, past = short_conv_step(k, self.taps, past)
        y, modes = self.ssm.step(self._outer(k[:, None], v[:, None])[:, 0], modes.flatten(0, 2))
        return self._read(q[:, None], y[:, None])[:, 0], (past, self._by_sequence(modes))

    def _outer(self, k: Tensor, v: Tensor) -> Tensor:
        """k v' of each head, (batch x head_dim x head_dim, length, heads), of k and v (batch, length, d_inner)."""
        k, v = (t.unflatten(-1, (-1, self.head_dim)) for t in (k, v))
        return (k[..., :, None] * v[..., None, :]).permute(0, 3, 4, 1, 2).flatten(0, 2)

    def _read(self, q: Tensor, y: Tensor) -> Tensor:
        """W_out (q' y), of q (batch, length, d_inner) and y as _outer gives it."""
        q = q.unflatten(-1, (-1, self.head_dim))
        y = self._by_sequence(y).permute(0, 3, 4, 1, 2)
        return self.out((q[..., None] * y).sum(-2).flatten(2))

    def _by_sequence(self, t: Tensor) -> Tensor:
        return t.unflatten(0, (-1, self.head_dim, self.head_dim))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """Per token and channel: the keys' FIR, head_dim products of k and v and 2 head_dim - 1 FLOPs of the read-out;
        per entry of a head, the diagonal state spaces' FLOPs, which DiagonalSSM.flops derives.

        The FIR is charged 2 per tap by recurrence and fft, and by chunked its blocks' Toeplitz matmuls: per block of
        `block` outputs, 2 block (block + shift - 1).
        """
        projection = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        shift = self.taps.shape[1]
        block = min(shift, length)
        fir_matmul = -(-length // block) * 2 * block * (block + shift - 1) * self.d_inner
        fir_charge = fir_matmul if conv_algorithm == "chunked" else 2 * shift * length * self.d_inner
        ssm, ssm_matmul = (self.head_dim**2 * flops for flops in self.ssm.flops(length, conv_algorithm))
        core = fir_charge + ssm + length * self.d_inner * (3 * self.head_dim - 1)
        return MixerFlops(projection, core, core, projection + fir_matmul + ssm_matmul)

    def init_state(self, batch: int, capacity: int) -> State:
        past = self.qkv.weight.new_zeros(batch, self.taps.shape[1] - 1, self.d_inner)
        return past, self._by_sequence(self.ssm.init_state(batch * self.head_dim**2))

    def state_size(self, length: int) -> StateSize:
        modes = 2 * self.ssm.n_modes * self.d_inner * self.head_dim
        return StateSize(cached=(self.taps.shape[1] - 1) * self.d_inner, wide=modes)
