"""The next token from logits, the same for a sequence whatever is sampled beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """temperature: that logits are divided by, 0 for the likeliest token. top_k: tokens to choose among, 0 for all.
    top_p: the likeliest that hold so much probability together (Holtzman et al. 2020, nucleus sampling)."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


def probabilities(logits: Tensor, by: Sampling) -> Tensor:
    """(rows, vocab), in float64, of logits (rows, vocab). Tokens as likely as the last of the k are among them."""
    logits = logits.double()
    if by.temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    logits = (logits - logits.amax(-1, keepdim=True)) / by.temperature  # which may be tiny
    if 0 < by.top_k < logits.shape[-1]:
        least = logits.topk(by.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    p = logits.softmax(-1)
    if by.top_p < 1:
        ordered, order = p.sort(descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        p = torch.zeros_like(p).scatter(-1, order, torch.where(before < by.top_p, ordered, 0))
        p = p / p.sum(-1, keepdim=True)
    return p


def sample(logits: Tensor, by: Sampling, places: Sequence[tuple[int, int]]) -> Tensor:
    """Tokens (rows,) of logits (rows, vocab). places: each row's sequence, and how many of its tokens were sampled: the
    draw follows from these and the seed alone."""
    sums = probabilities(logits, by).cumsum(-1)
    draws = [np.random.default_rng([by.seed, *place]).random() for place in places]
    drawn = torch.tensor(draws, dtype=torch.float64, device=logits.device)[:, None] * sums[:, -1:]
    return torch.searchsorted(sums, drawn, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
