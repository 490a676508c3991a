"""What a step does for want of memory changes nothing that is learnt."""

import dataclasses

import pytest
import torch
from torch import Tensor

from eutectic.arch.model import build
from eutectic.config import RunConfig
from eutectic.kernels import linear_cross_entropy
from eutectic.train import step
from eutectic.train.step import Stepper

# tied or not, in muP, with capped logits, and with a penalty beside the loss
HEADS = {
    "tied": {},
    "untied": {"tied": False},
    "mup": {"mup_base": 8},
    "capped": {"logit_cap": 0.3, "tied": False, "mup_base": 8},
    "moe": {"channel": "moe(experts=4)", "logit_cap": 3.0},
}


def taken(config: RunConfig) -> tuple[list[tuple[float, float]], float]:
    """Loss and gradient norm of four steps, the last of a smaller batch; and a validation's loss."""
    stepper = Stepper(build(config.model, 0), config, "cpu")
    rows = torch.randint(config.model.vocab_size, (16, 33), generator=torch.Generator().manual_seed(0))
    steps = [(loss.item(), norm.item()) for loss, norm in (stepper.step(part, 1e-2) for part in rows[:15].split(4))]
    return steps, stepper.validate(rows)


@pytest.mark.parametrize("head", HEADS)
def test_the_loss_by_chunks_is_the_loss(head: str, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(small_run, model=dataclasses.replace(small_run.model, **HEADS[head]))
    plain = taken(config)
    held: list[int] = []

    def counted(x: Tensor, weight: Tensor, targets: Tensor, cap: float, rows: int) -> Tensor:
        held.append(rows)
        return linear_cross_entropy.linear_cross_entropy(x, weight, targets, cap, rows)

    monkeypatch.setattr(linear_cross_entropy, "MOST_LOGITS", 10 * config.model.vocab_size + 1)
    monkeypatch.setattr(step, "linear_cross_entropy", counted)
    chunked = taken(config)
    assert held == [10] * (2 * 4 + 8), "every micro-batch, of training and of validation"
    for (loss, norm), (expected, expected_norm) in zip(chunked[0], plain[0], strict=True):
        assert loss == pytest.approx(expected, rel=1e-6)
        assert norm == pytest.approx(expected_norm, rel=1e-4)
    assert chunked[1] == pytest.approx(plain[1], rel=1e-6)
