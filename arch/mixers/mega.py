"""Mega-chunk (Ma et al. 2023, Moving Average Equipped Gated Attention): attention within chunks to a moving average,
which carries what is past from chunk to chunk.

The paper's gated residual, Y = X + phi * (H - X), is split: the mixer gives phi * (H - X), with X normed, and its block
adds X. A skip and an activation follow the moving average, silu(EMA(X) + omega * X): the paper's text leaves them out,
the authors' code (facebookresearch/mega) has them.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch import ring
from eutectic.arch.base import Card, LayerShape, Mixer, MixerFlops, State, StateSize
from eutectic.arch.layers import exempt, linear, wide
from eutectic.errors import UserError
from eutectic.kernels import modal_conv, plain


class Mega(Mixer):
    """X' = silu(EMA(X) + omega * X) and Z = silu(W_z X'); q and k are Z scaled and shifted, v = silu(W_v X).

    O = softmax(q k' + b) v and H = silu(W_h X' + U_h(gamma * O)), with gates gamma = silu(W_gamma X') and
    phi = sigmoid(W_phi X') (3.2). Z has d / 4 channels and v 2 d, as in the paper's language models, and b is one
    learned bias per lag (3.3). chunk: tokens that attend to each other, in the paper 128 on the long-range benchmark
    and 1024 to 2048 in language models; ema_dim: averages per channel.
    """

    card = Card(
        paper="Ma et al. 2023, Mega (Mega-chunk)",
        equation=(
            "h_t = alpha beta x_t + (1 - alpha delta) h_{t-1}, x'_t = silu(eta' h_t + omega x_t); "
            "gated attention of x' in chunks"
        ),
        state="ema_dim d + (9 / 4) d min(L, chunk)",
        time="L chunk",
        oracle="the paper's 3.1 and 3.2, with the authors' skip and silu, in float64",
    )

    def __init__(self, shape: LayerShape, *, chunk: int = 128, ema_dim: int = 16):
        super().__init__()
        if min(chunk, ema_dim) < 1:
            raise UserError(f"mega cannot have a chunk of {chunk} and an ema_dim of {ema_dim}; give 1 or more to both.")
        d_model = shape.d_model
        self.d_model, self.chunk, self.ema_dim = d_model, chunk, ema_dim
        self.d_z, self.d_v = max(1, shape.d_inner // 4), 2 * shape.d_inner
        self.alpha, self.delta = (exempt(0.2 * torch.randn(d_model, ema_dim)) for _ in range(2))
        self.beta = exempt(0.02 * torch.randn(d_model, ema_dim) + (-1.0) ** torch.arange(ema_dim))
        self.eta = exempt(torch.randn(d_model, ema_dim) * ema_dim**-0.5)
        self.omega = exempt(torch.randn(d_model))
        self.value = linear(d_model, self.d_v, bias=True)
        self.sizes = [self.d_z, self.d_v, d_model, d_model]
        self.averaged = linear(d_model, sum(self.sizes), bias=True)
        self.scale, self.offset = exempt(0.02 * torch.randn(2, self.d_z)), exempt(torch.zeros(2, self.d_z))
        self.lag_bias = exempt(0.02 * torch.randn(chunk))
        self.out = linear(self.d_v, d_model, shape.out_scale)

    def average(self) -> tuple[Tensor, Tensor]:
        """log p and R, both (d_model, ema_dim), of the average as a filter, sum_n R_n p_n^t (3.1).

        p = 1 - alpha delta and R = alpha beta eta, alpha and delta in (0, 1).
        """
        alpha, delta = torch.sigmoid(wide(self.alpha)), torch.sigmoid(wide(self.delta))
        return torch.log1p(-alpha * delta), alpha * wide(self.beta) * wide(self.eta)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v, *gates = self._inputs(x, plain.modal_conv(x, *self.average()))
        return self._out(x, chunk_attention(q, k, v, self.lag_bias), *gates)

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: keys (batch, slots, d_z) and values (batch, slots, d_v) of a chunk, the averages less their factor
        alpha beta, (batch, d_model, ema_dim), and the tokens seen, (batch,).
        """
        keys, values, means, seen = state or self.init_state(len(x), x.shape[1])
        averaged, means = plain.modal_prefill(x, *self.average(), means)
        q, k, v, *gates = self._inputs(x, averaged)
        first = int(seen[0])
        unfinished = first % self.chunk + x.shape[1]  # tokens since a chunk began
        k, v = (ring.extend(*of) for of in ((keys, first, self.chunk, k), (values, first, self.chunk, v)))
        k, v = (t[:, t.shape[1] - unfinished :] for t in (k, v))
        y = self._out(x, chunk_attention(q, k, v, self.lag_bias), *gates)
        return y, (keys, values, means, seen + x.shape[1])

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        keys, values, means, seen = state
        log_poles, residues = self.average()
        means = means * log_poles.exp() + x[..., None]
        q, k, v, *gates = self._inputs(x, (means * residues).sum(-1).to(x.dtype))
        ring.put(keys, seen, self.chunk, k)
        ring.put(values, seen, self.chunk, v)
        lag = (seen % self.chunk)[:, None] - torch.arange(keys.shape[1], device=x.device)
        bias = self.lag_bias[lag.clamp(min=0)].masked_fill(lag < 0, float("-inf")).to(x.dtype)
        weights = (torch.einsum("bz,bsz->bs", q, keys) + bias).softmax(-1)
        y = self._out(x, torch.einsum("bs,bsv->bv", weights, values), *gates)
        return y, (keys, values, means, seen + 1)

    def _inputs(self, x: Tensor, averaged: Tensor) -> tuple[Tensor, ...]:
        """q over sqrt(d_z), k, v, gamma, W_phi X' and W_h X' of x and its average, (..., d_model)."""
        moved = F.silu(averaged + self.omega * x)
        z, reset, update, candidate = self.averaged(moved).split(self.sizes, -1)
        q, k = (F.silu(z)[..., None, :] * self.scale + self.offset).unbind(-2)
        return q * self.d_z**-0.5, k, F.silu(self.value(x)), F.silu(reset), update, candidate

    def _out(self, x: Tensor, attended: Tensor, reset: Tensor, update: Tensor, candidate: Tensor) -> Tensor:
        return torch.sigmoid(update) * (F.silu(candidate + self.out(reset * attended)) - x)

    def flops(self, length: int, conv_algorithm: str) -> MixerFlops:
        """The average, as kernels/modal_conv.py charges a convolution with ema_dim real poles a channel.

        The attention: two matmuls of the square of each chunk, halved in the causal core. The rest, per token: the
        scale and offset of q and k 4 d_z, gamma d_v, and per channel the skip's two, the sum in H and phi's two.
        """
        projection = 2 * length * sum(layer.weight.numel() for layer in (self.value, self.averaged, self.out))
        size = min(self.chunk, length)
        attention = 2 * -(-length // size) * size**2 * (self.d_z + self.d_v)
        causal = (length // size * size**2 + (length % size) ** 2) * (self.d_z + self.d_v)
        average, toeplitz = modal_conv.flops(length, self.d_model, self.ema_dim, False, conv_algorithm)
        rest = average + length * (4 * self.d_z + self.d_v + 5 * self.d_model)
        return MixerFlops(projection, rest + causal, rest + attention, projection + toeplitz + attention)

    def init_state(self, batch: int, capacity: int) -> State:
        zeros, slots = self.value.weight.new_zeros, ring.slots(capacity, self.chunk)
        means = wide(zeros(batch, self.d_model, self.ema_dim))
        return zeros(batch, slots, self.d_z), zeros(batch, slots, self.d_v), means, ring.counts(batch, means)

    def state_size(self, length: int) -> StateSize:
        slots = ring.slots(length, self.chunk)
        return StateSize(cached=slots * (self.d_z + self.d_v), wide=self.d_model * self.ema_dim)


def chunk_attention(q: Tensor, k: Tensor, v: Tensor, lag_bias: Tensor) -> Tensor:
    """Causal softmax(q k' + lag_bias[lag]) v within chunks of len(lag_bias) tokens.

    q (batch, length, d_z); k and v (batch, past + length, their width) begin with a chunk, in which q may begin later.
    """
    total = k.shape[1]
    past, size = total - q.shape[1], min(len(lag_bias), total)
    q, k, v = (F.pad(t, (0, 0, total - t.shape[1], -total % size)).unflatten(1, (-1, size)) for t in (q, k, v))
    lag = torch.arange(size, device=q.device)[:, None] - torch.arange(size, device=q.device)
    bias = lag_bias[lag.clamp(min=0)].masked_fill(lag < 0, float("-inf")).to(q.dtype)
    return ((q @ k.transpose(-1, -2) + bias).softmax(-1) @ v).flatten(1, 2)[:, past:total]
