"""Models trained as one against the same models trained by themselves."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch.model import build
from eutectic.config import ModelConfig, OptimConfig
from eutectic.probes.ensemble import Ensemble, asked_loss, right
from eutectic.probes.recall_tasks import Recall
from eutectic.probes.task import IGNORED
from eutectic.train.optim import adamw, lr_at, set_lr

TASK, STEPS = Recall(8, 12), 6
RATES, SEEDS = (3e-2, 3e-3, 1e-2), (0, 0, 1)


def members(layout: str) -> list[nn.Module]:
    return [build(ModelConfig(layout, 2, 16, 2, 2, 32, TASK.tokens), seed).double() for seed in SEEDS]


def read(step: int) -> tuple[Tensor, Tensor]:
    """Of each member its own."""
    parts = [TASK.examples(seed, np.arange(4) + 4 * step) for seed in range(len(SEEDS))]
    tokens, targets = (torch.from_numpy(np.stack(part)) for part in zip(*parts, strict=True))
    return tokens, targets


def alone(model: nn.Module, optim: OptimConfig, member: int) -> list[float]:
    """Losses on the way, by torch's own AdamW and clipping."""
    optimizer, losses = adamw(model, optim), []
    for step in range(STEPS):
        tokens, targets = (part[member] for part in read(step))
        loss = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), optim.clip)
        set_lr(optimizer, lr_at(optim, step, STEPS))
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("layout", ["attn", "hyena+attn", "gated_deltanet", "mamba"])
def test_each_member_is_what_it_would_be_alone(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    together = members(layout)
    ensemble = Ensemble(together, RATES, OptimConfig(1.0, clip=0.5), STEPS)
    losses = torch.stack([ensemble.step(*read(step)) for step in range(STEPS)], 1)
    assert ("one by one" in capsys.readouterr().err) == (layout == "mamba")
    tokens = read(99)[0][0]
    logits = ensemble.logits(tokens, range(3))
    torch.testing.assert_close(ensemble.logits(tokens, [2, 0]), logits[[2, 0]])
    for k, model in enumerate(members(layout)):
        expected = alone(model, OptimConfig(RATES[k], clip=0.5), k)
        assert losses[k].tolist() == pytest.approx(expected, rel=1e-9)
        assert len(set(expected)) == STEPS and expected[-1] < expected[0]
        for name, value in model.named_parameters():
            torch.testing.assert_close(ensemble.weights[name][k], value.detach(), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(logits[k], model(tokens).detach(), rtol=1e-7, atol=1e-9)


def test_what_it_was_made_of_is_left_alone() -> None:
    together = members("attn")
    before = [value.clone() for model in together for value in model.state_dict().values()]
    Ensemble(together, RATES, OptimConfig(1.0), STEPS).step(*read(0))
    after = [value for model in together for value in model.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_only_what_is_asked_counts() -> None:
    g = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(2, 3, 5, 7, generator=g), torch.randint(7, (3, 5), generator=g)
    targets[0], targets[1, :2] = IGNORED, IGNORED
    for own in logits:
        expected = F.cross_entropy(own.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        torch.testing.assert_close(asked_loss(own, targets), expected)
    asked = targets != IGNORED
    guesses = logits.argmax(-1)
    assert right(logits, targets).tolist() == [(guess[asked] == targets[asked]).sum().item() for guess in guesses]
