"""The schedules' values at the steps that define them, and which parameters decay."""

import math

import pytest

from eutectic.arch.model import build
from eutectic.config import ModelConfig, OptimConfig
from eutectic.train.optim import adamw, lr_at


def test_cosine() -> None:
    optim = OptimConfig(lr=2.0, schedule="cosine", warmup_fraction=0.1, lr_min_ratio=0.1)
    rates = [lr_at(optim, step, 101) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == pytest.approx(2.0)
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(0.2 + 1.8 * (1 + math.cos(math.pi / 2)) / 2)
    assert rates[100] == pytest.approx(0.2)


def test_wsd() -> None:
    optim = OptimConfig(lr=2.0, schedule="wsd", warmup_fraction=0.1, decay_fraction=0.2, lr_min_ratio=0.0)
    rates = [lr_at(optim, step, 101) for step in range(101)]
    assert rates[4] == pytest.approx(1.0)
    assert rates[10:82] == pytest.approx([2.0] * 72)
    assert rates[81 + 7] == pytest.approx(2.0 * (1 - 7 / 19))
    assert rates[100] == pytest.approx(0.0)


def test_only_matrices_decay() -> None:
    model = build(ModelConfig("hyena+attn", 2, 8, 1, 1, 24, 11), 0)
    decayed, exempt = adamw(model, OptimConfig(lr=1.0)).param_groups
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.1, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    kinds = {names[id(p)].rpartition(".")[2] for p in exempt["params"]}
    assert kinds == {"fir", "log_decay", "residues", "angle", "skip", "weight"}
    assert all("norm" in names[id(p)] for p in exempt["params"] if names[id(p)].endswith("weight"))
    assert {names[id(p)].split(".")[-2] for p in decayed["params"]} == {"embedding", "qkv", "out", "up", "down"}


def test_marked_parameters_learn_at_a_rate_of_their_own() -> None:
    model = build(ModelConfig("hyena_implicit", 1, 8, 1, 1, 24, 11), 0)
    groups = adamw(model, OptimConfig(lr=1.0)).param_groups
    assert [(group["weight_decay"], group["lr_scale"]) for group in groups] == [(0.1, 1.0), (0.0, 1.0), (0.0, 0.1)]
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(".filter." in names[id(p)] for p in groups[2]["params"])
    assert sum(len(group["params"]) for group in groups) == len(names)
