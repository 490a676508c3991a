"""RWKV-6's time mixing (Peng et al. 2024, Eagle and Finch): a matrix state whose rows decay at data-dependent rates.

Initialized as the authors' trainer, BlinkDL/RWKV-LM's x060, but for the output projection, which starts at zero there.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, linear, token_shift, wide
from eutectic.errors import UserError
from eutectic.kernels import plain, vector_decay

# of the norm of a head's output, 1e-5 for an output divided by 8
NORM_EPS = 64e-5


class RWKV6(Mixer):
    """S_t = diag(w_t) S_{t-1} + k_t v_t', o_t = (S_{t-1} + diag(u) k_t v_t')' r_t, y = W_out(silu(g) * norm(o)).

    r, k, v, g and w are read from x_t + (x_{t-1} - x_t) (mu_i + B_i tanh(A_i x')), each with its own i; x' is the same
    with a mu alone. w = exp(-exp(w_0 + B tanh(A x_w))). mix_rank and decay_rank are the widths between A and B.
    """

    card = Card(
        paper="Peng et al. 2024, Eagle and Finch (RWKV-6)",
        equation="S_t = diag(w_t) S_{t-1} + k_t v_t', y_t = (S_{t-1} + diag(u) k_t v_t')' r_t, w_t = exp(-exp(w(x_t)))",
        state="d d_head + d of the token shift",
        time="L",
        oracle="PyPI rwkv's logits; flash-linear-attention's naive RWKV-6",
    )

    def __init__(self, shape: LayerShape, *, mix_rank: int = 32, decay_rank: int = 64):
        super().__init__()
        if min(mix_rank, decay_rank) < 1:
            raise UserError(f"rwkv6 cannot have ranks of {mix_rank} and {decay_rank}; give 1 or more to both.")
        d_model, d_inner = shape.d_model, shape.d_inner
        self.n_heads, self.d_head = shape.n_heads, shape.d_head
        depth, height = shape.layer / max(1, shape.n_layers - 1), 1 - shape.layer / shape.n_layers
        self.mu_x, self.mu = (exempt(mu) for mu in _token_shifts(d_model, depth, height))
        self.mix_down = exempt(torch.zeros(d_model, 5 * mix_rank))
        self.mix_up = exempt(torch.empty(5, mix_rank, d_model).uniform_(-0.01, 0.01))
        channel = torch.arange(d_inner)
        place = channel / (d_inner - 1)
        self.decay = exempt(5 * place ** (0.7 + 1.3 * depth) - 6)
        self.decay_down = exempt(torch.zeros(d_model, decay_rank))
        self.decay_up = exempt(torch.empty(decay_rank, d_inner).uniform_(-0.01, 0.01))
        self.bonus = exempt(depth * (1 - place) + 0.1 * ((channel + 1) % 3 - 1))
        self.receptance, self.key, self.value, self.gate = (linear(d_model, d_inner) for _ in range(4))
        for layer, gain in ((self.receptance, 1), (self.key, 0.1), (self.value, 1), (self.gate, 0.1)):
            nn.init.orthogonal_(layer.weight, gain)
        self.norm = nn.GroupNorm(self.n_heads, d_inner, NORM_EPS)
        nn.init.constant_(self.norm.weight, ((1 + shape.layer) / shape.n_layers) ** 0.7)
        self.out = linear(d_inner, d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the last token's x, (batch, d_model), and S (batch, heads, d_head, d_head)."""
        past, matrix = state or (None, None)
        before, last = token_shift(x, past)
        r, k, v, log_decay, gate = self._inputs(x, before)
        y, matrix = plain.vector_decay(r, k, v, log_decay, matrix, self._bonus())
        return self._out(y, gate), (last, matrix)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        before, matrix = state
        r, k, v, log_decay, gate = self._inputs(x, before)
        y, matrix = vector_decay.step(r, k, v, log_decay, matrix, self._bonus())
        return self._out(y, gate), (x, matrix)

    def _inputs(self, x: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        """r, k, v, log w (..., heads, d_head) and silu(g) (..., d_inner) of x and the tokens before, (..., d_model)."""
        change = before - x
        low = torch.tanh((x + change * self.mu_x) @ self.mix_down).unflatten(-1, (5, -1))
        mu = self.mu + torch.einsum("...ir,ird->...id", low, self.mix_up)
        x_w, x_k, x_v, x_r, x_g = (x[..., None, :] + change[..., None, :] * mu).unbind(-2)
        log_log = wide(self.decay) + wide(torch.tanh(x_w @ self.decay_down) @ self.decay_up)
        heads = self.receptance(x_r), self.key(x_k), self.value(x_v), -log_log.exp()
        return *(t.unflatten(-1, (self.n_heads, -1)) for t in heads), F.silu(self.gate(x_g))

    def _bonus(self) -> Tensor:
        return self.bonus.view(self.n_heads, self.d_head)

    def _out(self, y: Tensor, gate: Tensor) -> Tensor:
        y = y.flatten(-2)
        return self.out(self.norm(y.flatten(0, -2)).view(y.shape) * gate)

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The core is vector_decay's, and, per token, of the bonus 3 and 2 a channel, the gate's product 1, and the
        five token shifts 18 a channel of the model: the change 1, the first shift 2, the others' mu 5 and shifts 10.

        There is no FFT form: fft is charged as chunked.
        """
        d_model, d_inner = self.out.out_features, self.out.in_features
        weights = (self.receptance, self.key, self.value, self.gate, self.out)
        low_rank = (self.mix_down, self.mix_up, self.decay_down, self.decay_up)
        projection = 2 * length * sum(w.numel() for w in (*(layer.weight for layer in weights), *low_rank))
        heads = self.n_heads, self.d_head, self.d_head
        matmul, other = vector_decay.flops(length, *heads)
        mixing = vector_decay.recurrence_flops(length, *heads) if conv_algorithm == "recurrence" else matmul + other
        core = mixing + length * (6 * d_inner + 18 * d_model)
        return MixerFlops(projection, core, core, projection + matmul)

    def init_state(self, batch: int, capacity: int) -> State:
        zeros = self.out.weight.new_zeros
        return zeros(batch, self.out.out_features), wide(zeros(batch, self.n_heads, self.d_head, self.d_head))

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=self.out.out_features, wide=self.out.in_features * self.d_head)


def _token_shifts(d_model: int, depth: float, height: float) -> tuple[Tensor, Tensor]:
    """Initial mu of the first shift, (d_model,), and of those of w, k, v, r and g, (5, d_model).

    depth: from 0 in the first layer to 1 in the last; height: 1 - layer / layers. Higher channels look back less.
    """
    place = torch.arange(d_model) / d_model
    slow, fast = 1 - place**height, 1 - place ** (height / 2)
    return slow, torch.stack([slow, slow, slow - 0.3 * depth, fast, fast])
