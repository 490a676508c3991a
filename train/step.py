"""One optimizer step: on the CPU as it is written, on a GPU from compiled blocks and replayed as one CUDA graph.

Small models keep a GPU waiting for its next kernel, and compiling a whole model takes longer than training it. So what
is compiled is a block, once for all blocks of its kind, and the loss; and the whole step, gradients, clipping and AdamW
included, is then captured and costs one launch. Equal seeds are to give equal losses on equal GPUs, so algorithms are
asked for that add in a fixed order: attention's usual backward pass does not, and training amplifies rounding.

A step of several devices is launched, not captured: DDP and FSDP2 order their communication, and FSDP2 its memory, by
code that runs on the host during a step, which a graph would leave out; and a model that large keeps its GPUs busy.
"""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch._inductor.config as inductor
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch.model import Model
from eutectic.config import RunConfig
from eutectic.kernels.dispatch import linear_cross_entropy
from eutectic.kernels.linear_cross_entropy import rows_at_once
from eutectic.train.optim import adamw, set_lr
from eutectic.train.parallel import ALONE, Ranks, without_sum

WARM_UP = 3  # steps before the capture, which compile, choose algorithms and reserve workspaces


class Objective(nn.Module):
    """A model with its loss: rows (n, seq_len + 1) of token ids to their mean cross-entropy, and that with the mixers'
    penalties, if any."""

    def __init__(self, model: Model, config: RunConfig, device: str):
        super().__init__()
        self.model, self.device, self.bf16 = model, device, config.precision == "bf16"
        self.head = cross_entropy

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device, torch.bfloat16) if self.bf16 else nullcontext():
            loss = self.head(self.model, self.model.hidden(rows[:, :-1]), rows[:, 1:])
        penalty = self.model.penalty()
        return loss, loss if penalty is None else loss + penalty


def cross_entropy(model: Model, x: Tensor, targets: Tensor) -> Tensor:
    """Of what the model's blocks leave, x. Many logits are never there at once; a GPU's own kernel is as quick with
    few."""
    targets, weight = targets.flatten(), model.head_weight()
    rows = rows_at_once(len(targets), len(weight))
    if x.is_cuda or rows < len(targets):
        return linear_cross_entropy(model.head_input(x).flatten(0, 1), weight, targets, model.logit_cap, rows)
    return F.cross_entropy(model.logits(x).float().flatten(0, 1), targets)


class Stepper:
    """Takes the optimizer steps of one run, and measures losses (nats per token). Ranks call it with the same rows.

    model: on the CPU as built; its parameters are this rank's once they are here, and `optimizer` is theirs.
    recompute: as of Model.
    """

    def __init__(self, model: Model, config: RunConfig, device: str, ranks: Ranks = ALONE, recompute: bool = False):
        self.model, self.config, self.device, self.ranks = model, config, device, ranks
        model.recompute = recompute
        # as the config has it, unless some ranks would have nothing to do
        self._micro_batch = min(config.micro_batch, -(-config.batch_size // ranks.world))
        alone = ranks.world == 1
        self._taken, self._capturable, self._strict = 0, device == "cuda" and alone, alone
        self._graph: torch.cuda.CUDAGraph | None = None
        objective = Objective(model, config, device)
        if device == "cuda":
            self._order(self._strict)
            torch.compiler.reset()  # a process that trains many shapes would reach the limit of compiled versions
            self._compile(objective)
        self.objective = ranks.spread(objective, model.layers(), device)
        self.optimizer = adamw(model, config.optim)

    def step(self, rows: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """Train on rows (n, seq_len + 1) of token ids, on the CPU. Returns the loss before the update and the norm of
        its gradient, scalars on the device that the next step may overwrite."""
        set_lr(self.optimizer, lr)
        self._taken += 1
        if self._capturable and self._taken > WARM_UP and len(rows) == self.config.batch_size:
            return self._replay(rows)
        try:
            return self._take(self._there(rows))
        except RuntimeError as error:
            if "does not have a deterministic implementation" not in str(error):
                raise
            print(f"equal seeds will not give equal losses: {error}", file=sys.stderr)
            self._strict = False
            self._order(strict=False)
            self.optimizer.zero_grad()
            return self._take(self._there(rows))

    @torch.no_grad()
    def validate(self, rows: Tensor) -> float:
        """Mean loss of rows (n, seq_len + 1) on the device. Not compiled: a forward pass alone is another program."""
        self.model.eval()
        self._order(strict=False)  # of a forward pass, which is in order wherever that matters
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with self._eager():
            for part, share in self.ranks.deal(rows, self._micro_batch):
                total += self.objective(part)[0].double() * share
        self._order(self._strict)
        self.model.train()
        return float(self.ranks.sum(total))

    def _compile(self, objective: Objective) -> None:
        for block in self.model.layers():
            block.compile(dynamic=False)
        objective.head = torch.compile(cross_entropy, dynamic=False)

    def _take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros((), device=self.device)
        parts = self.ranks.deal(rows, self._micro_batch)
        for number, (part, share) in enumerate(parts, 1):
            with (
                nullcontext() if len(part) == self._micro_batch else self._eager(),
                nullcontext() if number == len(parts) else without_sum(self.objective),
            ):
                loss, objective = self.objective(part)
                (objective * (share * self.ranks.world)).backward()  # of which the ranks' mean is taken
            total += loss.detach() * share
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self.ranks.sum(total), self.ranks.whole(norm)

    def _replay(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if self._graph is None:
            self._rows = self._there(rows)
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                    self._outcome = self._take(self._rows)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                print(
                    f"the step of {self.config.run_id} cannot be captured ({reason}); it is launched.", file=sys.stderr
                )
                self._capturable = False
                self.optimizer.zero_grad()
                return self._take(self._rows)
            self._graph = graph
        else:
            self._rows.copy_(rows.pin_memory(), non_blocking=True)
        self._graph.replay()
        return self._outcome

    def _there(self, rows: Tensor) -> Tensor:
        return rows.to(self.device, non_blocking=True)

    def _eager(self) -> AbstractContextManager[Any]:
        """A batch of another size, or without gradients, would cost a compilation of its own."""
        return torch.compiler.set_stance("force_eager") if self.device == "cuda" else nullcontext()

    def _order(self, strict: bool) -> None:
        """Have a GPU's algorithms add in a fixed order; strict: raise where an op has none such."""
        if self.device == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=not strict)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            inductor.deterministic = True  # or it would time reductions, and choose among orders by that
