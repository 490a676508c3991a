"""How well a model foretells text: the loss of each token of held-out windows."""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from eutectic.arch.model import Model

AT_ONCE = 2**14  # tokens: their logits, and what a layer has of them, exist together


@torch.no_grad()
def token_losses(model: Model, rows: Tensor) -> Tensor:
    """Nats (n, length) of each token of rows (n, length + 1), on the CPU, after those before it in its row."""
    device = model.embedding.weight.device
    found = []
    for part in rows.split(max(1, AT_ONCE // rows.shape[1])):
        part = part.to(device)
        logits = model(part[:, :-1]).float()
        found.append(cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none").cpu())
    return torch.cat(found)


def perplexity(model: Model, rows: Tensor) -> float:
    """exp of the mean loss over all tokens of rows (n, length + 1)."""
    return math.exp(token_losses(model, rows).double().mean())
