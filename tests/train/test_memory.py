"""What a step does for want of memory changes nothing that is learnt."""

import dataclasses

import pytest
import torch
from memory import peak_bytes
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from zoo import CASES, IDS
from zoo import shape as small

from eutectic.arch.model import build
from eutectic.config import ModelConfig, RunConfig
from eutectic.kernels import linear_cross_entropy
from eutectic.sweeps import cost
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


def taken(config: RunConfig, recompute: bool = False) -> tuple[list[tuple[float, float]], float]:
    """Loss and gradient norm of four steps, the last of a smaller batch; and a validation's loss."""
    stepper = Stepper(build(config.model, 0), config, "cpu", recompute=recompute)
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


@pytest.mark.parametrize(("layout", "channel"), CASES, ids=IDS)
def test_what_is_computed_again_is_the_same_to_the_bit(layout: str, channel: str) -> None:
    tokens = torch.randint(50, (2, 40), generator=torch.Generator().manual_seed(0))
    found = []
    for recompute in (False, True):
        model = build(small(layout, channel), 0)
        model.recompute = recompute
        loss, penalty = model(tokens).square().mean(), model.penalty()
        (loss if penalty is None else loss + penalty).backward()
        found.append([loss, *(p.grad for p in model.parameters())])
    for plain, again in zip(*found, strict=True):
        assert (plain is None and again is None) or torch.equal(plain, again)


def test_a_step_that_computes_again_is_the_same_to_the_bit(small_run: RunConfig) -> None:
    for head in HEADS.values():
        config = dataclasses.replace(small_run, model=dataclasses.replace(small_run.model, **head))
        assert taken(config) == taken(config, recompute=True)


@pytest.mark.parametrize("channel", ["swiglu", "moe(experts=4)"])
def test_of_blocks_that_are_computed_again_one_at_a_time_is_held(channel: str) -> None:
    """Of sixteen, with and without a penalty of their own; neither way holds more than the cost model says."""
    shape, tokens, peaks = ModelConfig("attn", 16, 16, 1, 1, 48, 4, channel=channel), torch.zeros(1, 4096).long(), []
    for recompute in (False, True):
        model = build(shape, 0)
        model.recompute = recompute
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            loss, penalty = model(tokens).square().mean(), model.penalty()
            (loss if penalty is None else loss + penalty).backward()
        peaks.append(peak_bytes(seen))
        assert peaks[-1] < 4 * cost._activations(shape, tokens.numel(), recompute)
    assert peaks[1] < 0.15 * peaks[0]
