"""The mLSTM (Beck et al. 2024, xLSTM) as xLSTM-7B has it (Beck et al. 2025): a matrix memory with exponential gates.

The paper keeps a running maximum m of the gates' logarithms, since exp of an input gate has no bound. xLSTM-7B caps the
gates at cap * tanh(. / cap). Then exp(cap) is the bound, float32 holds every sum, and m, which cancels between the
memory and its normaliser, is left out: this is the recurrence of eq. 19-21 as it stands.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, linear, wide
from eutectic.errors import UserError
from eutectic.kernels import dispatch, scalar_decay

INPUT_BIAS, FORGET_BIASES = -10.0, (3.0, 6.0)
# exp(30) times values, summed over a million tokens, is far from float32's largest number
LARGEST_CAP = 30.0


class MLSTM(Mixer):
    """y = W_out(sigmoid(W_o x) * LN(C' q / max(|n q|, 1))), with LayerNorm over each head.

    C_t = f C_{t-1} + i k v', n_t = f n_{t-1} + i k, i = exp(cap(w_i x + b_i)), f = sigmoid(cap(w_f x + b_f)). n is one
    more column of C. qk_dim_factor, v_dim_factor: channels of q, k and of v for each of d_inner's. gate_soft_cap: cap.
    """

    card = Card(
        paper="Beck et al. 2024, xLSTM; Beck et al. 2025, xLSTM 7B",
        equation="C_t = f_t C_{t-1} + i_t k_t v_t', h_t = o_t * C_t' q_t / max(|n_t q_t|, 1), i_t = exp(.) (eq. 19-27)",
        state="qk_dim_factor d (v_dim_factor d_head + 1)",
        time="L",
        oracle="transformers xLSTMForCausalLM",
    )

    def __init__(
        self,
        shape: LayerShape,
        *,
        qk_dim_factor: float = 0.5,
        v_dim_factor: float = 1.0,
        gate_soft_cap: float = 15.0,
    ):
        super().__init__()
        self.n_heads, self.norm_eps, self.cap = shape.n_heads, shape.norm_eps, gate_soft_cap
        self.d_k, self.d_v = int(qk_dim_factor * shape.d_head), int(v_dim_factor * shape.d_head)
        if min(self.d_k, self.d_v) < 1:
            factors = f"qk_dim_factor={qk_dim_factor} and v_dim_factor={v_dim_factor}"
            raise UserError(f"mlstm has no channel left in a head of {shape.d_head} with {factors}; give larger ones.")
        if not 0 < gate_soft_cap <= LARGEST_CAP:
            raise UserError(f"mlstm cannot cap gates at {gate_soft_cap}; give more than 0, at most {LARGEST_CAP:g}.")
        d_value = self.n_heads * self.d_v
        self.widths = [self.n_heads * self.d_k] * 2 + [d_value] * 2
        # Nguyen and Salazar 2019's SmallInit, sqrt(2 / (5 d)), as the authors' code
        self.qkvo = linear(shape.d_model, sum(self.widths), 0.4**0.5)
        self.gates = linear(shape.d_model, 2 * self.n_heads, 0.0, bias=True)
        with torch.no_grad():
            self.gates.bias[: self.n_heads] = INPUT_BIAS
            self.gates.bias[self.n_heads :] = torch.linspace(*FORGET_BIASES, self.n_heads)
        self.gain = exempt(torch.ones(d_value))
        self.out = linear(d_value, shape.d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: C with n as its last column, (batch, heads, d_k, d_v + 1)."""
        q, k, v, gate, log_forget = self._parts(x)
        y, state = dispatch.scalar_decay(q, k, v, log_forget, state)
        return self._out(y, gate), state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        *qkv, gate, log_forget = self._parts(x)
        q, k, v = (wide(part) for part in qkv)
        state = log_forget.exp()[..., None, None] * state + k[..., :, None] * v[..., None, :]
        return self._out(torch.einsum("bhkv,bhk->bhv", state, q).to(x.dtype), gate), state

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """q, i k, v with a column of ones, each (..., heads, .), the output gate's input, and log f (..., heads)."""
        q, k, v, gate = self.qkvo(x).split(self.widths, -1)
        q, k, v = (part.unflatten(-1, (self.n_heads, -1)) for part in (q, k, v))
        log_input, forget = (self.cap * torch.tanh(wide(self.gates(x)) / self.cap)).chunk(2, -1)
        k = k * log_input.exp()[..., None].to(k.dtype)
        return q * self.d_k**-0.5, k, F.pad(v, (0, 1), value=1.0), gate, F.logsigmoid(forget)

    def _out(self, y: Tensor, gate: Tensor) -> Tensor:
        h = wide(y[..., :-1]) / wide(y[..., -1:]).abs().clamp(min=1.0)
        h = F.layer_norm(h, (self.d_v,), eps=self.norm_eps).flatten(-2).to(y.dtype)
        return self.out(torch.sigmoid(gate) * (h * self.gain.to(y.dtype)))

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The memory with its normaliser as kernels/scalar_decay.py charges it (fft: as chunked).

        Beside it, for each head: the input gate's product with d_k channels, the normaliser's and the output gate's
        with d_v.
        """
        projection = 2 * length * sum(part.weight.numel() for part in (self.qkvo, self.gates, self.out))
        sizes = length, self.n_heads, self.n_heads, self.d_k, self.d_v + 1
        elementwise = length * self.n_heads * (self.d_k + 2 * self.d_v)
        core = scalar_decay.flops(*sizes, conv_algorithm) + elementwise
        return MixerFlops(projection, core, core, projection + scalar_decay.matmul_flops(*sizes))

    def init_state(self, batch: int, capacity: int) -> State:
        return wide(self.out.weight.new_zeros(batch, self.n_heads, self.d_k, self.d_v + 1))

    def state_size(self, length: int) -> StateSize:
        return StateSize(wide=self.n_heads * self.d_k * (self.d_v + 1))
