"""One run on several devices, a process each: who they are, what they agree on, and how they share a model and a batch.

Both ways are torch's own. DDP: each process has the whole model and optimizer. FSDP2 (`fully_shard`; Zhao et al. 2023):
each keeps a share of every weight, gradient and moment, and gathers a block's weights for as long as it computes it.
"""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from signal import NSIG

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Ranks:
    """This process's rank among `world`. sharded: by FSDP2 rather than DDP; None where that is yet to be decided."""

    rank: int = 0
    world: int = 1
    sharded: bool | None = None

    @property
    def first(self) -> bool:
        """Whether this is the rank that claims, logs and writes for all."""
        return self.rank == 0

    def union(self, signals: set[int]) -> set[int]:
        """The signals, 0 to NSIG, that any rank has."""
        if self.world == 1:
            return signals
        there = torch.zeros(NSIG, dtype=torch.uint8)
        there[list(signals)] = 1
        dist.all_reduce(there, dist.ReduceOp.MAX)
        return set(there.nonzero().flatten().tolist())

    def any(self, value: bool) -> bool:
        return bool(self.union({0} if value else set()))

    def sum(self, value: Tensor) -> Tensor:
        """In place; the same on all ranks, to the bit."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """What the first rank does within is done before the others begin."""
        if not self.first:
            self.any(False)
        yield
        if self.first:
            self.any(False)

    def deal(self, rows: Tensor, size: int) -> list[tuple[Tensor, float]]:
        """This rank's parts of a batch, of `size` rows or fewer, each with its share of all rows.

        Whole parts are dealt, so that each is the forward pass that a single device would make. Ranks compute in step:
        where parts do not go round, the last of some is a row that counts nothing.
        """
        parts = rows.split(size)
        own = [(part, len(part) / len(rows)) for part in parts[self.rank :: self.world]]
        return own if len(own) == -(-len(parts) // self.world) else [*own, (rows[:1], 0.0)]

    def spread(self, module: nn.Module, blocks: Sequence[nn.Module], device: str) -> nn.Module:
        """The module on this rank's device, its gradients the mean of all ranks'. Sharding puts other parameters in the
        place of the module's. blocks: parts of it that are gathered one by one."""
        if self.world == 1:
            return module.to(device)
        if not self.sharded:
            return DistributedDataParallel(module.to(device), gradient_as_bucket_view=True)
        from torch.distributed.fsdp import fully_shard  # slow to import, and most runs have one device

        marks = {name: vars(parameter) for name, parameter in module.named_parameters()}
        mesh = dist.init_device_mesh(device, (self.world,))
        for part in (*blocks, module):
            # also the last: a validation would leave its parameters gathered, and those the optimizer does not know
            fully_shard(part, mesh=mesh, reshard_after_forward=True)
        for name, parameter in module.named_parameters():
            vars(parameter).update(marks[name])
        return module

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a parameter, or of what goes with one, of which ranks may hold shares; every rank must ask."""
        return tensor.full_tensor() if self.sharded else tensor  # type: ignore[attr-defined]

    def shared_as(self, parameter: Tensor, tensor: Tensor) -> Tensor:
        """What this rank holds, where it holds it, of a tensor of a parameter's shape that every rank has whole."""
        tensor = tensor.to(parameter.device)
        if not self.sharded:
            return tensor
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(parameter, DTensor)
        return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None)


ALONE = Ranks()


@contextmanager
def joined(device: str, offset: int = 0, sharded: bool | None = None) -> Iterator[Ranks]:
    """This process among those of its job, as torchrun's environment has it: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR
    and MASTER_PORT; alone without it. offset: GPUs of this machine that are others'."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield ALONE
        return
    if device == "cuda":
        torch.cuda.set_device((offset + int(os.environ["LOCAL_RANK"])) % torch.cuda.device_count())
    # what ranks agree on goes by gloo also beside a GPU, which then need not be waited for
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    ranks = Ranks(dist.get_rank(), world, sharded)
    yield ranks
    ranks.any(False)  # none leaves while another needs it; after an error there is no such hope, and the process ends
    # what is wrapped refers to the group, in circles where FSDP2 did it; threads of a group that outlives this may hold
    # a tensor as the process exits, which aborts it
    gc.collect()
    dist.destroy_process_group()


def lost_another(error: Exception) -> bool:
    """Whether this rank fails only because another has ended, which knows why, or was killed. Gloo's errors have no
    type of their own."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def without_sum(module: nn.Module) -> AbstractContextManager[None]:
    """Within, DDP leaves a gradient with its rank, to be added to. FSDP2 does not: it is for want of memory, and each
    rank would have to hold all of the gradient."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()
