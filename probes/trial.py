"""One architecture on one task: as many models as there are seeds and learning rates, trained as one.

The rate is chosen by the validation examples' mean accuracy over seeds; only models of that rate read test examples,
and they read them once. Examples to train on, to choose by and to test with differ in their index.
"""

import contextlib
import dataclasses
import functools
import hashlib
import math
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from eutectic.arch.layers import rms_norm
from eutectic.arch.model import Model, build
from eutectic.config import ModelConfig, OptimConfig, canonical_json
from eutectic.errors import UserError
from eutectic.probes import tasks
from eutectic.probes.draws import Draws, Ints
from eutectic.probes.ensemble import Ensemble, right
from eutectic.probes.task import IGNORED, Examples, Task
from eutectic.train import preemption

VALIDATION, TEST = 1 << 40, 1 << 41  # where their examples begin
AT_ONCE = 256  # examples that every member reads at once, to be judged
SHUFFLED = 0x5C4FF1ED  # of the control's answers


@dataclass(frozen=True)
class Trial:
    """tokens: that each model is trained on, of `examples` examples, gone through in a new order each time, `batch` of
    them a step. judged: examples to choose by, and as many to test with. control: answers are drawn anew, also where a
    text goes on with them, so that nothing is to be learnt. arch: the layout as it was asked for; match: what it has in
    common with others.
    """

    task: Task
    model: ModelConfig
    seeds: tuple[int, ...] = (0, 1, 2)
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    tokens: int = 8_192_000
    examples: int = 12_800
    batch: int = 32
    judged: int = 1280
    control: bool = False
    arch: str = ""
    match: str = "width"

    @property
    def steps(self) -> int:
        return max(1, self.tokens // (self.batch * self.task.length))

    @functools.cached_property
    def trial_id(self) -> str:
        """Sixteen hex digits of the SHA-256 of its canonical JSON."""
        return hashlib.sha256(canonical_json(self.to_dict()).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"task": tasks.written(self.task)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Trial":
        """Raises UserError where a field is none of this version's."""
        try:
            told = {"task": tasks.find(fields["task"]), "model": ModelConfig(**fields["model"])}
            return cls(**fields | told | {name: tuple(fields[name]) for name in ("seeds", "rates")})
        except (TypeError, KeyError) as error:
            raise UserError(f"a trial that this version of eutectic cannot read ({error}); use a new --name.") from None


@dataclass(frozen=True)
class Score:
    """Of one model. test: its accuracy on test examples, NaN where its rate was not chosen."""

    seed: int
    rate: float
    loss: float
    valid: float
    test: float


@dataclass(frozen=True)
class Ablated:
    """Of one model of the chosen rate: its accuracy on validation examples, and that without a layer's mixer."""

    seed: int
    rate: float
    layer: int
    valid: float
    without: float


def run(trial: Trial, device: str) -> tuple[list[Score], list[Ablated]]:
    """The scores of all its models, and what each layer's sequence mixer is to those of the chosen rate.

    Raises Preempted where this process is to go: a trial is short, and is begun anew.
    """
    members = list(product(trial.seeds, trial.rates))
    models = [_model(trial, seed).to(device) for seed, _ in members]
    ensemble = Ensemble(models, [rate for _, rate in members], OptimConfig(lr=1.0), trial.steps)
    losses = torch.zeros(len(members))
    for tokens, targets in _batches(trial, device):
        if signal.SIGUSR2 in preemption.asked():
            raise preemption.Preempted
        losses = ensemble.step(tokens, targets)
    by_seed = torch.arange(len(members)).view(len(trial.seeds), -1).tolist()
    judged = [_judged(trial, seed, VALIDATION) for seed in trial.seeds]
    valid = torch.stack([_accuracy(ensemble, part, own) for part, own in zip(judged, by_seed, strict=True)])
    best = int(valid.mean(0).argmax())
    test, ablated = torch.full_like(valid, math.nan), []
    for row, seed in enumerate(trial.seeds):
        own = [by_seed[row][best]]
        test[row, best] = _accuracy(ensemble, _judged(trial, seed, TEST), own)
        for layer in range(trial.model.n_layers):
            with _silenced(ensemble.shape, layer):
                without = float(_accuracy(ensemble, judged[row], own))
            ablated.append(Ablated(seed, trial.rates[best], layer, float(valid[row, best]), without))
    numbers = zip(members, losses.tolist(), valid.flatten().tolist(), test.flatten().tolist(), strict=True)
    return [Score(seed, rate, loss, one, other) for (seed, rate), loss, one, other in numbers], ablated


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
    if not trial.task.summary:
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FromOneState(model, trial.task.length, trial.model.d_model)


def examples(trial: Trial, seed: int, index: Ints) -> Examples:
    tokens, targets = trial.task.examples(seed, index)
    if trial.control:
        answers, asked = trial.task.answers, targets != IGNORED
        drawn = answers.start + Draws(seed ^ SHUFFLED, index).below(len(answers), trial.task.length)
        targets = np.where(asked, drawn, IGNORED)
        if trial.task.told_next:  # so that who sees what comes is found out
            tokens[:, 1:] = np.where(asked[:, :-1], drawn[:, :-1], tokens[:, 1:])
    return tokens, targets


def _batches(trial: Trial, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens and targets (members, batch, length), those of a seed alike."""
    drawn = [examples(trial, seed, np.arange(trial.examples)) for seed in trial.seeds]
    tokens, targets = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*drawn, strict=True))
    order = torch.from_numpy(np.stack([_order(trial, seed) for seed in trial.seeds])).to(device)
    seeds = torch.arange(len(trial.seeds), device=device)[:, None]
    for at in order.split(trial.batch, 1)[: trial.steps]:
        read, asked = (part[seeds, at].repeat_interleave(len(trial.rates), 0) for part in (tokens, targets))
        yield read, asked


def _order(trial: Trial, seed: int) -> Ints:
    """The examples that a seed's models read one after another, each once in every round."""
    read = trial.steps * trial.batch
    rounds = VALIDATION + TEST + np.arange(-(-read // trial.examples))
    return Draws(seed, rounds).orders(trial.examples).flatten()[:read]


def _judged(trial: Trial, seed: int, first: int) -> Examples:
    """The examples of that seed from index `first` that its models are judged by."""
    return examples(trial, seed, first + np.arange(trial.judged))


def _accuracy(ensemble: Ensemble, judged: Examples, members: list[int]) -> Tensor:
    """(members,)."""
    device, found = ensemble.rates.device, torch.zeros(len(members))
    for parts in zip(*(torch.from_numpy(part).split(AT_ONCE) for part in judged), strict=True):
        tokens, targets = (part.to(device) for part in parts)
        found += right(ensemble.logits(tokens, members), targets).cpu()
    return found / int((judged[1] != IGNORED).sum())


@contextlib.contextmanager
def _silenced(shape: nn.Module, layer: int) -> Iterator[None]:
    """Have a layer's sequence mixer give zeros, so that its block passes on what it read."""
    model = shape.model if isinstance(shape, FromOneState) else shape
    assert isinstance(model, Model)
    mixer = model.layers()[layer].mixer
    mixer.forward = torch.zeros_like  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        del mixer.forward
