"""What a tuning says of a plan's runs: rules for their settings, how far these extrapolate, and what errors cost."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from eutectic.analysis.hyper_law import HyperLaw
from eutectic.analysis.load import Runs
from eutectic.analysis.settings import beyond
from eutectic.analysis.tuned import TARGETS, Tuned
from eutectic.config import canonical_json
from eutectic.errors import UserError
from eutectic.sweeps import plan
from eutectic.sweeps.recipe import PowerRule, Recipe


@dataclass(frozen=True)
class Transfer:
    """A setting (`lr` or `batch`) of a plan's runs of one architecture.

    cells: of the tuning that have an optimum; tuned: whether they gave a law, else the recipe's rule stands. below,
    above: decades by which the smallest and the largest run lie outside the cells. twice: nats that twice or half the
    best setting costs at the cell nearest to the largest run; None without cells.
    """

    arch: str
    target: str
    over: str
    cells: int
    tuned: bool
    below: float
    above: float
    twice: float | None


def version(runs: Runs) -> str:
    """Eight hex digits that change with any run of a tuning."""
    losses = sorted(zip(runs.tried["run_id"], runs.tried["loss"], strict=True))
    return hashlib.sha256(canonical_json(losses).encode()).hexdigest()[:8]


def rules(found: Tuned, recipe: Recipe, source: str) -> dict[str, plan.Tuned]:
    """By architecture, for those with a law of one setting or both; the recipe's rule is the other's."""
    archs = dict.fromkeys(law.arch for law in found.laws if law.fitted is not None)
    if not archs:
        raise UserError(
            f"no architecture of {source.partition('@')[0]} has three cells with an optimum, which a law needs; "
            "tune more budgets or with more trials."
        )

    def rule(arch: str, target: str, otherwise: PowerRule) -> PowerRule:
        law = found.law(arch, target)
        return otherwise if law is None else _power(law, TARGETS[target])

    return {
        arch: plan.Tuned(rule(arch, "lr", recipe.lr), rule(arch, "batch", recipe.batch_tokens), source)
        for arch in archs
    }


def transfers(found: Tuned, sizes: Mapping[str, Iterable[tuple[int, int]]]) -> list[Transfer]:
    """sizes: of the plan's runs by architecture, their parameters and tokens."""
    rows = []
    for arch, pairs in sizes.items():
        planned = dict(zip(("params", "tokens"), np.array(list(pairs), float).T, strict=True))
        for target, over in TARGETS.items():
            cells, tuned = found.cells(arch, target), found.law(arch, target) is not None
            there, wanted = [getattr(cell, over) for cell in cells], planned[over]
            ends = [beyond(end, there) if cells else np.nan for end in (wanted.min(), wanted.max())]
            nearest = min(cells, key=lambda cell: abs(np.log(getattr(cell, over) / wanted.max())), default=None)
            twice = None if nearest is None else nearest.cost(target)
            rows.append(Transfer(arch, target, over, len(cells), tuned, min(ends[0], 0.0), max(ends[1], 0.0), twice))
    return rows


def _power(law: HyperLaw, over: str) -> PowerRule:
    return PowerRule(law.coefficient, law.centre[over], law.exponents[over])
