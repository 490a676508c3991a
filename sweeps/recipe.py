"""A recipe: everything a sweep's rows follow from, frozen and named. An experiment is a recipe in sweeps/grids/, or in
a file of the user's (sweeps/recipe_file.py)."""

import importlib
import pkgutil
from dataclasses import dataclass

from eutectic.config import OptimConfig
from eutectic.errors import UserError


@dataclass(frozen=True)
class Shape:
    """A rung of the ladder. The channel mixer's hidden width is 8/3 of d_model, to a multiple of 8."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int

    @property
    def d_ffn(self) -> int:
        return -(-8 * self.d_model // 24) * 8


# heads of 16 to 64 channels, two query heads to a key-value head; depths that blocks of four layers divide
LADDER = (
    Shape(4, 4, 1, 1),
    Shape(4, 6, 1, 1),
    Shape(4, 8, 1, 1),
    Shape(4, 12, 1, 1),
    Shape(4, 16, 1, 1),
    Shape(4, 24, 2, 1),
    Shape(4, 32, 2, 1),
    Shape(4, 48, 4, 2),
    Shape(4, 64, 4, 2),
    Shape(4, 96, 4, 2),
    Shape(4, 128, 4, 2),
    Shape(4, 192, 4, 2),
    Shape(4, 256, 4, 2),
    Shape(8, 256, 4, 2),
    Shape(8, 384, 6, 3),
    Shape(8, 512, 8, 4),
    Shape(12, 640, 10, 5),
    Shape(12, 896, 14, 7),
    Shape(16, 1024, 16, 8),
    Shape(20, 1280, 20, 10),
    Shape(24, 1536, 24, 12),
    Shape(24, 2048, 32, 16),
)


@dataclass(frozen=True)
class PowerRule:
    """value(x) = at * (x / reference)^exponent."""

    at: float
    reference: float
    exponent: float

    def __call__(self, x: float) -> float:
        return self.at * (x / self.reference) ** self.exponent


@dataclass(frozen=True)
class Recipe:
    """What `eutectic plan` turns into rows.

    sizes: shapes for each budget and architecture, an odd number, centred on `optimal_params` of the budget.
    batch_tokens: tokens an optimizer step, by the run's tokens. lr: peak learning rate, by parameters.
    micro_tokens: most tokens in one forward pass. workers: jobs at once on one machine, of which
    each has a CPU or a GPU, and trains as many runs on a GPU as keep it full.
    mup_base: width whose learning rate muP gives to all, for which `lr` is to be constant; 0 for none.
    match: what the architectures of a rung share with its pure attention beside depth and width: `width` for no more,
    `params` or `flops`, for which the channel mixers are made narrower or wider. ladder: from the smallest shape.
    max_epochs: most passes over the training text that a run may take, or it is left out; 0 for any number.
    tuned_like: the architecture by whose tuned rules those go that were not tuned; where it is empty, by the recipe's.
    """

    name: str
    doc: str
    archs: tuple[str, ...]
    budgets: tuple[float, ...]
    sizes: int
    source: str
    tokenizer: str
    seq_len: int
    valid_sequences: int
    optimal_params: PowerRule
    batch_tokens: PowerRule
    lr: PowerRule
    micro_tokens: int
    device: str
    workers: int
    optim: OptimConfig
    seeds: tuple[int, ...] = (0,)
    n_modes: int = 8
    poles: str = "complex"
    mup_base: int = 0
    max_epochs: float = 0.0
    tuned_like: str = ""
    channel: str = "swiglu"
    match: str = "width"
    evals: int = 5
    convention: str = "exact-causal"
    conv_algorithm: str = "chunked"
    ladder: tuple[Shape, ...] = LADDER

    @property
    def precision(self) -> str:
        return "bf16" if self.device == "cuda" else "fp32"


def names() -> list[str]:
    from eutectic.sweeps import grids

    return sorted(module.name for module in pkgutil.iter_modules(grids.__path__))


def find(name: str) -> Recipe:
    """The recipe of sweeps/grids/NAME.py. Raises UserError where there is none."""
    if name not in names():
        raise UserError(f"no recipe {name!r}; there are {', '.join(names())}, or a file of your own, NAME.py.")
    recipe: Recipe = importlib.import_module(f"eutectic.sweeps.grids.{name}").RECIPE
    return recipe
