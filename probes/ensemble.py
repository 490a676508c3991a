"""Many small models of one shape trained as one: weights stacked, and a step vectorised over them (torch.func).

A model that a GPU or a core computes in less time than its launches take costs no more when eight of it are computed at
once. Members differ in their weights, their learning rates and what they read; each comes to what it would alone, to
rounding.
"""

import copy
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from eutectic.arch.layers import is_weight, wide
from eutectic.config import OptimConfig
from eutectic.probes.task import IGNORED
from eutectic.train.optim import lr_at

Named = dict[str, Tensor]


class Ensemble:
    """members: modules of one shape that map tokens (batch, length) to logits (batch, length, tokens). rates: the peak
    learning rate of each, on the schedule of `optim` over `steps` steps of AdamW."""

    def __init__(self, members: Sequence[nn.Module], rates: Sequence[float], optim: OptimConfig, steps: int):
        self.optim, self.steps, self.taken = optim, steps, 0
        stacked, self.buffers = stack_module_state(list(members))
        self.weights: Named = {name: value.detach() for name, value in stacked.items()}
        first = next(iter(self.weights.values()))
        self.rates = torch.tensor(rates, device=first.device, dtype=first.dtype)
        self._shape = copy.deepcopy(members[0])
        self._marks = dict(members[0].named_parameters())  # which weights decay, and how fast each learns
        self._means = {name: torch.zeros_like(value) for name, value in self.weights.items()}
        self._squares = {name: torch.zeros_like(value) for name, value in self.weights.items()}
        self._apart = False

    def step(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Train on tokens and targets (members, batch, length). Returns each member's loss before, (members,)."""
        gradients, losses = self._gradients(tokens, targets)
        share = lr_at(self.optim, self.taken, self.steps) / self.optim.lr
        self.taken += 1
        self._update(gradients, self.rates * share)
        return losses

    @torch.no_grad()
    def logits(self, tokens: Tensor, members: Sequence[int]) -> Tensor:
        """Of the same tokens (batch, length) by some members: (members, batch, length, tokens)."""
        if self._apart:
            return torch.stack([self._forward(*self._member(k), tokens) for k in members])
        own = list(members)
        weights, buffers = ({name: value[own] for name, value in part.items()} for part in (self.weights, self.buffers))
        found: Tensor = vmap(self._forward, in_dims=(0, 0, None))(weights, buffers, tokens)
        return found

    def _forward(self, weights: Named, buffers: Named, tokens: Tensor) -> Tensor:
        found: Tensor = functional_call(self._shape, (weights, buffers), (tokens,))
        return found

    def _loss(self, weights: Named, buffers: Named, tokens: Tensor, targets: Tensor) -> Tensor:
        return asked_loss(self._forward(weights, buffers, tokens), targets)

    def _gradients(self, tokens: Tensor, targets: Tensor) -> tuple[Named, Tensor]:
        if not self._apart:
            try:
                found: tuple[Named, Tensor] = vmap(grad_and_value(self._loss))(
                    self.weights, self.buffers, tokens, targets
                )
                return found
            except RuntimeError as error:
                if "saved tensor hooks" not in str(error):
                    raise
                print("these mixers compute parts again, which cannot be vectorised: one by one", file=sys.stderr)
                self._apart = True
        each = [self._alone(k, tokens[k], targets[k]) for k in range(len(self.rates))]
        stacked = {name: torch.stack([gradients[name] for gradients, _ in each]) for name in self.weights}
        return stacked, torch.stack([loss for _, loss in each])

    def _alone(self, member: int, tokens: Tensor, targets: Tensor) -> tuple[Named, Tensor]:
        weights, buffers = self._member(member)
        weights = {name: value.requires_grad_() for name, value in weights.items()}
        loss = self._loss(weights, buffers, tokens, targets)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        return dict(zip(weights, gradients, strict=True)), loss.detach()

    def _member(self, k: int) -> tuple[Named, Named]:
        return {n: w[k].detach() for n, w in self.weights.items()}, {n: b[k] for n, b in self.buffers.items()}

    @torch.no_grad()
    def _update(self, gradients: Named, rates: Tensor) -> None:
        """AdamW as train/optim.py sets it up, each member's gradient clipped by its own norm."""
        optim = self.optim
        norm = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
        clip = (optim.clip / (norm + 1e-6)).clamp(max=1.0)
        first, second = (1 - beta**self.taken for beta in (optim.beta1, optim.beta2))
        for name, weight in self.weights.items():
            each = (-1, *[1] * (weight.ndim - 1))
            mark = self._marks[name]
            rate = (rates * getattr(mark, "lr_scale", 1.0)).view(each)
            gradient = gradients[name] * clip.view(each)
            mean, square = self._means[name], self._squares[name]
            mean.lerp_(gradient, 1 - optim.beta1)
            square.mul_(optim.beta2).addcmul_(gradient, gradient, value=1 - optim.beta2)
            if is_weight(mark):
                weight.mul_(1 - rate * optim.weight_decay)
            weight.sub_(rate * (mean / first) / ((square / second).sqrt() + optim.eps))


def asked_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, of what is asked: logits (..., length, tokens), targets (..., length)."""
    asked = targets != IGNORED
    log_p = wide(logits).log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(log_p * asked).sum() / asked.sum()


def right(logits: Tensor, targets: Tensor) -> Tensor:
    """How much of what is asked is answered rightly, by member: logits (members, batch, length, tokens)."""
    return ((logits.argmax(-1) == targets) & (targets != IGNORED)).sum((1, 2))
