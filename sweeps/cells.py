"""What a tuning is to find the best settings of, and the ranges in which it looks."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps.cost import Cost, Load, estimate
from eutectic.sweeps.plan import FEWEST_STEPS, three_digits
from eutectic.sweeps.recipe import Recipe

# the learning rate is looked for within this factor of the recipe's, the batch within this power of two of it
LR_FACTOR, BATCH_DOUBLINGS = 10.0, 3
# fields of OptimConfig that may be looked for as well, each within this factor of the recipe's
FURTHER = {"weight_decay": 10.0, "warmup_fraction": 3.0, "init_scale": 3.0}


@dataclass(frozen=True)
class Cell:
    """A model and a number of tokens to find the best settings of.

    base: the run with the recipe's own settings. lr: lowest and highest. doublings: lowest and highest power of two of
    the batch in sequences. micro_batch: most sequences in one forward pass, a power of two. sampler: of tune.SAMPLERS.
    further: those of FURTHER that vary as well. prune: whether runs that are hopeless beside others are given up.
    """

    base: RunConfig
    lr: tuple[float, float]
    doublings: tuple[int, int]
    micro_batch: int
    sampler: str = "tpe"
    further: tuple[str, ...] = ()
    prune: bool = False

    @property
    def study(self) -> str:
        parts = (f"{self.base.model.layout} at {self.base.budget:.3g}", *self.further, self.base.run_id)
        return ", ".join(parts)

    def trial(self, lr: float, doublings: int, **further: float) -> RunConfig:
        """The cell's run with other settings, of which three digits read well and hash alike."""
        rounded: dict[str, Any] = {name: three_digits(value) for name, value in {"lr": lr, **further}.items()}
        optim = dataclasses.replace(self.base.optim, **rounded)
        batch = 2**doublings
        micro = min(batch, self.micro_batch)
        return dataclasses.replace(self.base, optim=optim, batch_size=batch, micro_batch=micro)

    def cost(self, device: str) -> Cost:
        """Of a trial that is not asked yet: the mean over the batches that it may have; memory is of the largest."""
        lowest, highest = self.doublings
        costs = [estimate(self.trial(self.lr[0], k), device) for k in range(lowest, highest + 1)]
        seconds = sum(cost.seconds for cost in costs)
        busy = sum(cost.seconds * cost.busy for cost in costs) / seconds
        return dataclasses.replace(costs[-1], seconds=seconds / len(costs), busy=busy)

    def load(self, device: str) -> Load:
        """That part of the cost which is kept of trials that are due."""
        cost = self.cost(device)
        return Load(seconds=cost.seconds, busy=cost.busy, at_once=cost.at_once)


def cells(
    recipe: Recipe,
    rows: Sequence[RunConfig],
    sampler: str = "tpe",
    further: tuple[str, ...] = (),
    prune: bool = False,
    sizes: int = 1,
) -> list[Cell]:
    """Cells for each seed, budget and architecture of a plan's rows: the size expected best, or so many about it.

    Raises UserError where a further setting is 0 in the recipe, about which there is no range of factors, and where the
    sizes are not some of the recipe's with one in their middle.
    """
    if sizes % 2 == 0 or sizes > recipe.sizes:
        raise UserError(
            f"--sizes {sizes} are not to be had about the size expected best; give an odd number of the {recipe.sizes} "
            f"of recipe {recipe.name}."
        )
    for name in further:
        if getattr(recipe.optim, name) == 0:
            raise UserError(f"{name} is 0 in recipe {recipe.name}, and no factor changes that; leave it out of --also.")
    micro = 2 ** int(math.log2(max(1, recipe.micro_tokens // recipe.seq_len)))
    found = []
    for k, base in enumerate(rows):
        if abs(k // len(set(recipe.seeds)) % recipe.sizes - recipe.sizes // 2) > sizes // 2:
            continue
        middle, highest = round(math.log2(base.batch_size)), int(math.log2(base.sequences // FEWEST_STEPS))
        doublings = max(0, middle - BATCH_DOUBLINGS), min(highest, middle + BATCH_DOUBLINGS)
        lr = base.optim.lr / LR_FACTOR, base.optim.lr * LR_FACTOR
        found.append(Cell(base, lr, doublings, micro, sampler, further, prune))
    return found
