"""The oracle of a linear head's loss: the mean negative logarithm of the softmax at each token's target."""

import torch
from torch import Tensor


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor, cap: float) -> Tensor:
    """Mean over tokens of -log(exp(l_t) / sum_v exp(l_v)) at the target t, in nats; l = W x.

    x (tokens, width), weight (vocab, width), targets (tokens,) of integers below vocab. cap: logits are
    cap * tanh(l / cap) (Gemma 2), 0 for as they are. Returns a scalar.
    """
    logits = x @ weight.mT
    if cap:
        logits = cap * torch.tanh(logits / cap)
    token = torch.arange(len(x), device=x.device)
    return -logits.softmax(-1)[token, targets].log().mean()
