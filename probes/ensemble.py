"""Many small models of one shape trained as one: weights stacked, and a step vectorised over them (torch.func).

A model that a GPU or a core computes in less time than its launches take costs no more when eight of it are computed at
once. Members differ in their weights, their learning rates and what they read; each comes to what it would alone, to
rounding. On a GPU a step is captured as one CUDA graph; to compile it as well takes longer than thousands of steps
(docs/log.md). Kernels of our own cannot be vectorised: who trains there is to force `torch` (kernels/choice.py).
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
ALIGNED = 8  # numbers, for matmuls to read them by vectors
WARM_UP = 3  # steps before the capture, which choose algorithms and reserve workspaces


class Ensemble:
    """members: modules of one shape that map tokens (batch, length) to logits (batch, length, tokens). rates: the peak
    learning rate of each, on the schedule of `optim` over `steps` steps of AdamW. shape: the module that all are
    computed by. weights: by name, (members, ...), views of one tensor, so that the optimizer takes few kernels."""

    def __init__(self, members: Sequence[nn.Module], rates: Sequence[float], optim: OptimConfig, steps: int):
        self.optim, self.taken = optim, 0
        stacked, self.buffers = stack_module_state(list(members))
        self._flat, self.weights = _laid_out(stacked)
        self._gradient, self._slots = _laid_out({name: torch.zeros_like(value) for name, value in stacked.items()})
        self._mean, self._square = (torch.zeros_like(self._flat) for _ in range(2))
        marks = dict(members[0].named_parameters())  # which weights decay, and how fast each learns
        speeds = {
            name: torch.full_like(value[:1], getattr(marks[name], "lr_scale", 1)) for name, value in stacked.items()
        }
        decays = {name: torch.full_like(value[:1], is_weight(marks[name])) for name, value in stacked.items()}
        self._speeds, self._decays = _laid_out(speeds)[0], optim.weight_decay * _laid_out(decays)[0]
        self.rates = torch.tensor(rates, dtype=torch.float64).to(self._flat)
        self.shape = copy.deepcopy(members[0])
        shares = [lr_at(optim, step, steps) / optim.lr for step in range(steps)]
        corrections = [(1 - optim.beta1**step, 1 - optim.beta2**step) for step in range(1, steps + 1)]
        turns = [(share, *pair) for share, pair in zip(shares, corrections, strict=True)]
        self._turns = torch.tensor(turns, dtype=torch.float64).to(self._flat)
        self._turn = self._turns[0].clone()
        self._apart, self._capturable = False, self._flat.is_cuda
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
        optim, (share, first, second), gradient = self.optim, self._turn, self._gradient
        torch._foreach_copy_([self._slots[name] for name in gradients], list(gradients.values()))
        norm = gradient.square().sum(1, keepdim=True).sqrt()
        gradient.mul_((optim.clip / (norm + 1e-6)).clamp(max=1.0))
        self._mean.lerp_(gradient, 1 - optim.beta1)
        self._square.mul_(optim.beta2).addcmul_(gradient, gradient, value=1 - optim.beta2)
        rates = (self.rates * share)[:, None] * self._speeds
        self._flat.mul_(1 - rates * self._decays)
        self._flat.sub_(rates * (self._mean / first) / ((self._square / second).sqrt() + optim.eps))


def _laid_out(stacked: Named) -> tuple[Tensor, Named]:
    """Copies side by side in one tensor (members, numbers), and views of it by name, each beginning at a multiple of
    ALIGNED numbers."""
    sizes = {name: value[0].numel() for name, value in stacked.items()}
    rooms = [-(-size // ALIGNED) * ALIGNED for size in sizes.values()]
    first = next(iter(stacked.values()))
    flat = first.new_zeros(len(first), sum(rooms))
    places = dict(zip(stacked, flat.split(rooms, 1), strict=True))
    views = {name: places[name][:, : sizes[name]].unflatten(1, value.shape[1:]) for name, value in stacked.items()}
    for name, value in stacked.items():
        views[name].copy_(value.detach())
    return flat, views


def asked_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, of what is asked: logits (..., length, tokens), targets (..., length)."""
    asked = targets != IGNORED
    log_p = wide(logits).log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(log_p * asked).sum() / asked.sum()


def right(logits: Tensor, targets: Tensor) -> Tensor:
    """How much of what is asked is answered rightly, by member: logits (members, batch, length, tokens)."""
    return ((logits.argmax(-1) == targets) & (targets != IGNORED)).sum((1, 2))
