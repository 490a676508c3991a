"""Many small models of one shape trained as one: weights stacked, and a step vectorised over them (torch.func).

A model that a GPU or a core computes in less time than its launches take costs no more when eight of it are computed at
once. Members differ in their weights, their learning rates and what they read; each comes to what it would alone, to
rounding. On a GPU a step is captured as one CUDA graph. Kernels of our own cannot be vectorised: who trains there is to
force `torch` (kernels/choice.py).
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
WARM_UP = 3  # steps before the capture, which choose algorithms and reserve workspaces


class Ensemble:
    """members: modules of one shape that map tokens (batch, length) to logits (batch, length, tokens). rates: the peak
    learning rate of each, on the schedule of `optim` over `steps` steps of AdamW. shape: the module that all are
    computed by."""

    def __init__(self, members: Sequence[nn.Module], rates: Sequence[float], optim: OptimConfig, steps: int):
        self.optim, self.taken = optim, 0
        stacked, self.buffers = stack_module_state(list(members))
        self.weights: Named = {name: value.detach() for name, value in stacked.items()}
        first = next(iter(self.weights.values()))
        self.rates = torch.tensor(rates, device=first.device, dtype=first.dtype)
        self.shape = copy.deepcopy(members[0])
        self._marks = dict(members[0].named_parameters())  # which weights decay, and how fast each learns
        self._means = {name: torch.zeros_like(value) for name, value in self.weights.items()}
        self._squares = {name: torch.zeros_like(value) for name, value in self.weights.items()}
        shares = [lr_at(optim, step, steps) / optim.lr for step in range(steps)]
        corrections = [(1 - optim.beta1**step, 1 - optim.beta2**step) for step in range(1, steps + 1)]
        turns = [(share, *pair) for share, pair in zip(shares, corrections, strict=True)]
        self._turns = torch.tensor(turns, dtype=torch.float64).to(self.rates)
        self._turn = self._turns[0].clone()
        self._apart, self._capturable = False, self.rates.is_cuda
        self._graph: torch.cuda.CUDAGraph | None = None

    def step(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Train on tokens and targets (members, batch, length). Returns each member's loss before, (members,), which
        the next step may overwrite."""
        self._turn.copy_(self._turns[self.taken])
        self.taken += 1
        if self._capturable and self.taken > WARM_UP:
            return self._replay(tokens, targets)
        return self._take(tokens, targets)

    @torch.no_grad()
    def logits(self, tokens: Tensor, members: Sequence[int]) -> Tensor:
        """Of the same tokens (batch, length) by some members: (members, batch, length, tokens)."""
        if self._apart:
            return torch.stack([self._forward(*self._member(k), tokens) for k in members])
        own = list(members)
        weights, buffers = ({name: value[own] for name, value in part.items()} for part in (self.weights, self.buffers))
        found: Tensor = vmap(self._forward, in_dims=(0, 0, None))(weights, buffers, tokens)
        return found

    def _take(self, tokens: Tensor, targets: Tensor) -> Tensor:
        gradients, losses = self._gradients(tokens, targets)
        self._update(gradients)
        return losses

    def _replay(self, tokens: Tensor, targets: Tensor) -> Tensor:
        if self._graph is None:
            self._read, graph = (tokens.clone(), targets.clone()), torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph):
                    self._losses = self._take(*self._read)
            except RuntimeError as error:
                print(f"the step cannot be captured ({str(error).splitlines()[0]}); it is launched.", file=sys.stderr)
                self._capturable = False
                return self._take(tokens, targets)
            self._graph = graph
        for place, given in zip(self._read, (tokens, targets), strict=True):
            place.copy_(given)
        self._graph.replay()
        return self._losses

    def _forward(self, weights: Named, buffers: Named, tokens: Tensor) -> Tensor:
        found: Tensor = functional_call(self.shape, (weights, buffers), (tokens,))
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
                if not any(words in str(error) for words in ("saved tensor hooks", "does not have vmap support")):
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
    def _update(self, gradients: Named) -> None:
        """AdamW as train/optim.py sets it up, each member's gradient clipped by its own norm."""
        optim, (share, first, second) = self.optim, self._turn
        rates = self.rates * share
        norm = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
        clip = (optim.clip / (norm + 1e-6)).clamp(max=1.0)
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
