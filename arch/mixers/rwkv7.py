"""RWKV-7's time mixing (Peng et al. 2025, Goose): a delta rule with decays and learning rates for each channel.

What the layer lacks of the paper is the mix of each layer's values with the first layer's: it would cross layers, which
a mixer here cannot. Initialized as the authors' trainer, BlinkDL/RWKV-LM's x070, but for the output projection, which
starts at zero there.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, linear, token_shift, wide
from eutectic.kernels import dplr, plain

# of the norm of a head's output, whatever its width
NORM_EPS = 64e-5
# the strongest decay of a step is exp(-exp(-1/2)), about 0.545
LOG_STRONGEST = -math.exp(-0.5)


class RWKV7(Mixer):
    """S_t = (diag(w_t) - (kappa_t * eta_t) kappa_t') S_{t-1} + k_t v_t', y = W_out(g * (norm(S_t' r_t) + bonus)).

    Each of r, w, k, v, eta and g reads x_t + (x_{t-1} - x_t) mu, with a mu of its own. log w = -exp(-1/2) sigmoid(w_0 +
    B tanh(A x)); rates eta = sigmoid(eta_0 + B A x); g = B sigmoid(A x). kappa is k * k_k with heads of unit length;
    the k written is k (1 + (eta - 1) k_a). The bonus is (r * r_k) k times v, by head.
    """

    card = Card(
        paper="Peng et al. 2025, RWKV-7 Goose (without its value residual across layers)",
        equation="S_t = (diag(w_t) - (kappa_t * eta_t) kappa_t') S_{t-1} + k_t v_t', y_t = S_t' r_t",
        state="d d_head + d of the token shift",
        time="L d_head",
        oracle="PyPI rwkv's logits; flash-linear-attention's naive dplr",
    )

    def __init__(self, shape: LayerShape):
        super().__init__()
        d_model, d_inner = shape.d_model, shape.d_inner
        self.n_heads, self.d_head = shape.n_heads, shape.d_head
        self.mu = exempt(_token_shifts(d_model, 1 - shape.layer / shape.n_layers))
        self.receptance, self.key, self.value = (linear(d_model, d_inner) for _ in range(3))
        for layer, gain in ((self.receptance, 1), (self.key, 0.1), (self.value, 1)):
            nn.init.orthogonal_(layer.weight, gain)
        self.decay_down, self.decay_up = _low_rank(d_model, d_inner, 2.5)
        self.rate_down, self.rate_up = _low_rank(d_model, d_inner, 2.5)
        self.gate_down, self.gate_up = _low_rank(d_model, d_inner, 5)
        # from -1/2 to 1/2 over all channels, and from -1 to 1 within each head, flat in its middle
        place = torch.linspace(-0.5, 0.5, d_inner)
        zigzag = torch.linspace(-1, 1, self.d_head).repeat(self.n_heads)
        zigzag = zigzag * zigzag.abs()
        depth = shape.layer / max(1, shape.n_layers - 1)
        self.decay = exempt(6 * (place + 0.5) ** (1 + depth**0.3) - 5.5 + 2.5 * zigzag)
        self.rate = exempt(0.4 * place + 0.3 * zigzag - 0.19)
        self.k_k = exempt(0.71 - 0.1 * place)
        self.k_a = exempt(torch.full((d_inner,), 1.02))
        self.r_k = exempt(torch.full((self.n_heads, self.d_head), -0.04))
        self.norm = nn.GroupNorm(self.n_heads, d_inner, NORM_EPS)
        nn.init.constant_(self.norm.weight, ((1 + shape.layer) / shape.n_layers) ** 0.7)
        self.out = linear(d_inner, d_model, shape.out_scale)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the last token's x, (batch, d_model), and S (batch, heads, d_head, d_head)."""
        past, memory = state or (None, None)
        before, last = token_shift(x, past)
        r, k, v, a, b, log_decay, gate = self._inputs(x, before)
        y, memory = plain.dplr(r, k, v, a, b, log_decay, memory)
        return self._out(y, r, k, v, gate), (last, memory)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        before, memory = state
        r, k, v, a, b, log_decay, gate = self._inputs(x, before)
        y, memory = dplr.step(wide(r), wide(k), wide(v), wide(a), wide(b), log_decay, memory)
        return self._out(y.to(gate.dtype), r, k, v, gate), (x, memory)

    def _inputs(self, x: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        """r, k, v, -kappa, kappa * eta, log w (..., heads, d_head) and g (..., d_inner) of x and the tokens before."""
        x_r, x_w, x_k, x_v, x_a, x_g = (x[..., None, :] + (before - x)[..., None, :] * self.mu).unbind(-2)
        r, k, v = self.receptance(x_r), self.key(x_k), self.value(x_v)
        decay = wide(self.decay) + wide(torch.tanh(x_w @ self.decay_down) @ self.decay_up)
        rate = torch.sigmoid(wide(self.rate) + wide(x_a @ self.rate_down @ self.rate_up))
        gate = torch.sigmoid(x_g @ self.gate_down) @ self.gate_up
        kappa = F.normalize(self._by_head(wide(k) * self.k_k), dim=-1)
        written = wide(k) * (1 + (rate - 1) * self.k_a)
        low = (r, written, v, -kappa.flatten(-2), kappa.flatten(-2) * rate)
        parts = (*(part.to(k.dtype) for part in low), LOG_STRONGEST * torch.sigmoid(decay))
        return *(self._by_head(part) for part in parts), gate

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, self.d_head))

    def _out(self, y: Tensor, r: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> Tensor:
        bonus = (r * k * self.r_k).sum(-1, keepdim=True) * v
        normed = self.norm(y.flatten(-2).flatten(0, -2)).view(gate.shape)
        return self.out((normed + bonus.flatten(-2)) * gate)

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The core is as kernels/dplr.py charges it, and, per token, the six token shifts 13 a channel of the model and
        12 a mixed channel: kappa 1 and its rates 1, the k written 4, the bonus 5 and the gate 1.

        There is no FFT form: fft is charged as chunked.
        """
        d_model, d_inner = self.out.out_features, self.out.in_features
        weights = [layer.weight for layer in (self.receptance, self.key, self.value, self.out)]
        weights += [self.decay_down, self.decay_up, self.rate_down, self.rate_up, self.gate_down, self.gate_up]
        projection = 2 * length * sum(weight.numel() for weight in weights)
        sizes = (length, self.n_heads, self.d_head, self.d_head)
        core = dplr.flops(*sizes, conv_algorithm) + length * (13 * d_model + 12 * d_inner)
        return MixerFlops(projection, core, core, projection + dplr.matmul_flops(*sizes))

    def init_state(self, batch: int, capacity: int) -> State:
        zeros = self.out.weight.new_zeros
        return zeros(batch, self.out.out_features), wide(zeros(batch, self.n_heads, self.d_head, self.d_head))

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=self.out.out_features, wide=self.out.in_features * self.d_head)


def _token_shifts(d_model: int, height: float) -> Tensor:
    """Initial mu (6, d_model) of r, w, k, v, eta and g. height: 1 - layer / layers. Higher channels look back less."""
    place = torch.arange(d_model) / d_model
    return torch.stack([1 - place ** (power * height) for power in (0.2, 0.9, 0.7, 0.7, 0.9, 0.2)])


def _low_rank(d_model: int, d_inner: int, scale: float) -> tuple[nn.Parameter, nn.Parameter]:
    """A (d_model, rank) of zeros and orthogonal B (rank, d_inner); the rank is scale sqrt(d_inner) in steps of 32."""
    rank = max(32, 32 * round(scale * d_inner**0.5 / 32))
    up = torch.empty(rank, d_inner)
    nn.init.orthogonal_(up, 0.1 * max(1.0, rank / d_inner) ** 0.5)
    return exempt(torch.zeros(d_model, rank)), exempt(up)
