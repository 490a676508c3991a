"""Two layers of a mixer learn in 200 steps what it is known to be able to, and not what it is known not to."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eutectic.arch.model import build
from eutectic.config import ModelConfig

STEPS, BATCH, LENGTH, VOCAB = 200, 16, 64, 8
COPY = (24, 24)  # what came 24 tokens ago comes again: a place to look at
INDUCTION = (8, 32)  # each sequence has its own period, to be found by what came before: contents to look for


def sequences(periods: tuple[int, int], seed: int, n: int = BATCH) -> tuple[Tensor, Tensor]:
    """Random tokens that repeat with a random period; and which of them follow from those before."""
    generator = torch.Generator().manual_seed(seed)
    period = torch.randint(periods[0], periods[1] + 1, (n, 1), generator=generator)
    first = torch.randint(0, VOCAB, (n, LENGTH), generator=generator)
    t = torch.arange(LENGTH)
    return first.gather(1, t % period), (t >= period + 2)[:, 1:]


def accuracy(layout: str, periods: tuple[int, int]) -> float:
    """Of the tokens that follow, on fresh sequences."""
    model = build(ModelConfig(layout, 2, 64, 4, 4, 128, VOCAB), 0)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 5e-3 * min(1.0, (step + 1) / 20) * (1 - 0.9 * step / STEPS)
        read, follows = sequences(periods, step)
        F.cross_entropy(model(read[:, :-1])[follows], read[:, 1:][follows]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    read, follows = sequences(periods, 10**6, 256)
    with torch.no_grad():
        guesses = model(read[:, :-1]).argmax(-1)
    return (guesses == read[:, 1:])[follows].float().mean().item()


@pytest.mark.parametrize("layout", ["attn", "hyena+attn"])
def test_attention_copies(layout: str) -> None:
    assert accuracy(layout, COPY) > 0.95


@pytest.mark.parametrize("layout", ["swa(window=8)", "hyena_se"])
def test_what_does_not_reach_back_does_not_copy(layout: str) -> None:
    """Chance is 1 / 8."""
    assert accuracy(layout, COPY) < 0.16


@pytest.mark.parametrize("layout", ["hyena+attn", "mamba2+attn"])
def test_hybrids_find_what_repeats(layout: str) -> None:
    """Attention alone needs longer to learn to see the token before, which its partner here shows it at once."""
    assert accuracy(layout, INDUCTION) > 0.9


@pytest.mark.parametrize("layout", ["hyena", "s4d"])
def test_fixed_filters_do_not(layout: str) -> None:
    """A convolution's weights do not depend on what was read: it has the periods vote, at best."""
    assert accuracy(layout, INDUCTION) < 0.6
