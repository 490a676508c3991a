"""One architecture on one task: as many models as there are seeds and learning rates, trained as one.

The rate is chosen by the validation examples' mean accuracy over seeds; only models of that rate read test examples,
and they read them once. Examples to train on, to choose by and to test with differ in their index.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from eutectic.arch.layers import rms_norm
from eutectic.arch.model import Model, build
from eutectic.config import ModelConfig, OptimConfig
from eutectic.probes.draws import Draws, Ints
from eutectic.probes.ensemble import Ensemble, right
from eutectic.probes.task import IGNORED, Examples, Task

VALIDATION, TEST = 1 << 40, 1 << 41  # where their examples begin
AT_ONCE = 256  # examples that every member reads at once, to be judged
SHUFFLED = 0x5C4FF1ED  # of the control's answers


@dataclass(frozen=True)
class Trial:
    """tokens: that each model is trained on, of `examples` examples, gone through in a new order each time. judged:
    examples to choose by, and as many to test with. control: answers are drawn anew, so that nothing is to be learnt.
    """

    task: Task
    model: ModelConfig
    seeds: tuple[int, ...] = (0, 1, 2)
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    tokens: int = 32_768_000
    examples: int = 12_800
    batch: int = 128
    judged: int = 1280
    control: bool = False

    @property
    def steps(self) -> int:
        return max(1, self.tokens // (self.batch * self.task.length))


@dataclass(frozen=True)
class Score:
    """Of one model. test: its accuracy on test examples, NaN where its rate was not chosen."""

    seed: int
    rate: float
    loss: float
    valid: float
    test: float


def run(trial: Trial, device: str) -> list[Score]:
    members = list(product(trial.seeds, trial.rates))
    models = [_model(trial, seed).to(device) for seed, _ in members]
    ensemble = Ensemble(models, [rate for _, rate in members], OptimConfig(lr=1.0), trial.steps)
    losses = torch.zeros(len(members))
    for tokens, targets in _batches(trial):
        losses = ensemble.step(tokens.to(device), targets.to(device))
    by_rate = torch.arange(len(members)).view(len(trial.seeds), -1)
    valid = torch.stack(
        [
            _accuracy(trial, ensemble, seed, own, VALIDATION, device)
            for seed, own in zip(trial.seeds, by_rate.tolist(), strict=True)
        ]
    )
    best = int(valid.mean(0).argmax())
    test = torch.full_like(valid, math.nan)
    for row, seed in enumerate(trial.seeds):
        test[row, best] = _accuracy(trial, ensemble, seed, [int(by_rate[row, best])], TEST, device)
    numbers = zip(members, losses.tolist(), valid.flatten().tolist(), test.flatten().tolist(), strict=True)
    return [Score(seed, rate, loss, one, other) for (seed, rate), loss, one, other in numbers]


class FromOneState(nn.Module):
    """A model's last state, and from it, by a place's embedding and two layers, the logits of every place."""

    def __init__(self, model: Model, length: int, width: int):
        super().__init__()
        self.model = model
        self.places = nn.Embedding(length, width)
        self.norm = rms_norm(width, 1e-6)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        z = self.norm(self.model.hidden(tokens)[:, -1:]) + self.places.weight
        return self.model.logits(z + self.down(gelu(self.up(z))))


def _model(trial: Trial, seed: int) -> nn.Module:
    model = build(trial.model, seed)
    return FromOneState(model, trial.task.length, trial.model.d_model) if trial.task.summary else model


def examples(trial: Trial, seed: int, index: Ints) -> Examples:
    tokens, targets = trial.task.examples(seed, index)
    if trial.control:
        answers = trial.task.answers
        drawn = answers.start + Draws(seed ^ SHUFFLED, index).below(len(answers), trial.task.length)
        targets = np.where(targets == IGNORED, IGNORED, drawn)
    return tokens, targets


def _batches(trial: Trial) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens and targets (members, batch, length), those of a seed alike."""
    for step in range(trial.steps):
        place = step * trial.batch + np.arange(trial.batch)
        parts = [examples(trial, seed, _order(trial, seed, place)) for seed in trial.seeds]
        tokens, targets = (np.repeat(np.stack(part), len(trial.rates), 0) for part in zip(*parts, strict=True))
        yield torch.from_numpy(tokens), torch.from_numpy(targets)


def _order(trial: Trial, seed: int, place: Ints) -> Ints:
    """The examples that are read at these places, each once in every round."""
    rounds, within = place // trial.examples, place % trial.examples
    orders = {k: Draws(seed, np.array([VALIDATION + TEST + k])).orders(trial.examples)[0] for k in set(rounds.tolist())}
    return np.array([orders[k][j] for k, j in zip(rounds.tolist(), within.tolist(), strict=True)])


def _accuracy(trial: Trial, ensemble: Ensemble, seed: int, members: list[int], first: int, device: str) -> Tensor:
    """(members,), on examples of that seed from index `first`."""
    found, asked = torch.zeros(len(members)), 0
    for start in range(0, trial.judged, AT_ONCE):
        index = first + np.arange(start, min(start + AT_ONCE, trial.judged))
        tokens, targets = (torch.from_numpy(part).to(device) for part in examples(trial, seed, index))
        found += right(ensemble.logits(tokens, members), targets).cpu()
        asked += int((targets != IGNORED).sum())
    return found / asked
