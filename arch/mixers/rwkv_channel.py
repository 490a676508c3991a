"""RWKV's channel mixing in its RWKV-6 form (Peng et al. 2024, Eagle and Finch): a squared-ReLU MLP behind a gate.

It sees the token before, too, through a token shift, so that it has a state.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch.base import Card, ChannelMixer, LayerShape, State, StateSize
from eutectic.arch.layers import exempt, linear, token_shift


class RWKVChannel(ChannelMixer):
    """y = sigmoid(W_r x_r) * W_v relu(W_k x_k)^2, x_r and x_k between x_t and x_{t-1} by a learned mu per channel.

    Hidden width (3 d_ffn - d_model) / 2, so that with the square receptance W_r it has SwiGLU's parameters: the paper's
    3.5 d_model where d_ffn is 8/3 d_model. The receptance starts at zero, as in the authors' trainer.
    """

    card = Card(
        paper="Peng et al. 2024, Eagle and Finch (RWKV-6)",
        equation="y = sigmoid(W_r x_r) * W_v relu(W_k x_k)^2, x_i = x_t + (x_{t-1} - x_t) mu_i",
        state="d",
        time="L",
        oracle="PyPI rwkv's channel mixing",
    )

    def __init__(self, shape: LayerShape):
        super().__init__()
        d_model = shape.d_model
        hidden = max(1, (3 * shape.d_ffn - d_model) // 2)
        place = torch.arange(d_model) / d_model
        self.mu = exempt((1 - place ** (1 - shape.layer / shape.n_layers)).repeat(2, 1))
        self.key = linear(d_model, hidden)
        nn.init.orthogonal_(self.key.weight)
        self.receptance = linear(d_model, d_model, 0.0)
        self.value = linear(hidden, d_model, shape.out_scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.prefill(x, None)[0]

    def prefill(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """State: the last token's x, (batch, d_model)."""
        before, last = token_shift(x, state)
        return self._mix(x, before), last

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self._mix(x, state), x

    def _mix(self, x: Tensor, before: Tensor) -> Tensor:
        x_k, x_r = (x + (before - x) * mu for mu in self.mu)
        return torch.sigmoid(self.receptance(x_r)) * self.value(F.relu(self.key(x_k)).square())

    def flops(self, length: int) -> int:
        return 2 * length * sum(layer.weight.numel() for layer in (self.key, self.receptance, self.value))

    def init_state(self, batch: int, capacity: int) -> State:
        return self.key.weight.new_zeros(batch, self.key.in_features)

    def state_size(self, length: int) -> StateSize:
        return StateSize(cached=self.key.in_features)
