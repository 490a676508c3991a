"""What a tuning says of a plan's runs: rules for their settings, how far these extrapolate, and what errors cost."""

import hashlib
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eutectic.analysis.hyper import LAWFUL, SETTINGS, HyperOptimum
from eutectic.analysis.hyper_law import HyperLaw
from eutectic.analysis.laws import Array
from eutectic.analysis.load import Runs
from eutectic.analysis.settings import Beyond, beyond
from eutectic.analysis.tuned import TARGETS, Tuned
from eutectic.analysis.wording import listed
from eutectic.config import RunConfig, canonical_json
from eutectic.errors import UserError
from eutectic.sweeps import plan
from eutectic.sweeps.recipe import PowerRule, Recipe

FURTHER = tuple(name for name in SETTINGS if name not in LAWFUL)


@dataclass(frozen=True)
class Transfer:
    """A setting (`lr` or `batch`) of a plan's runs of one architecture.

    like: whose law it is, where the architecture has none of its own. over: the law's variables. cells: of the tuning
    that have an optimum; tuned: whether they gave a law, else the recipe's rule stands. below, above: how far the runs
    reach below and above the cells, in the variable of `over` in which they reach furthest. twice: nats that twice or
    half the best setting costs at the cell nearest to the largest run. All three are None without cells.
    """

    arch: str
    like: str
    target: str
    over: tuple[str, ...]
    cells: int
    tuned: bool
    below: Beyond | None
    above: Beyond | None
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

    def rule(arch: str) -> plan.Tuned:
        lr, batch = found.law(arch, "lr"), found.law(arch, "batch")
        return plan.Tuned(
            recipe.lr if lr is None else _power(lr, "params"),
            recipe.batch_tokens if batch is None else _power(batch, "tokens"),
            source,
            plan.CONSTANT if lr is None or "tokens" not in lr.exponents else replace(_power(lr, "tokens"), at=1.0),
        )

    return {arch: rule(arch) for arch in archs}


def check_laws(found: Tuned, recipe: Recipe, archs: Iterable[str], source: str) -> None:
    """archs: of the plan. Raises UserError where the recipe has a `tuned_like` and they are to go by laws that are not
    there: those that were tuned by their own, the others by that one's."""
    if not (like := recipe.tuned_like):
        return
    tried = {cell.group for cell in found.optima}
    needed = dict.fromkeys(arch if arch in tried else like for arch in archs)
    if lacking := [arch for arch in needed if not all(found.law(arch, target) for target in TARGETS)]:
        raise UserError(
            f"{source.partition('@')[0]} has not both laws, of learning rate and batch, of {listed(lacking)}, by which "
            f"runs of recipe {recipe.name} are to go (those not tuned by the laws of {like}); tune with more trials."
        )


def unlike(found: Tuned, tuned: RunConfig, planned: RunConfig) -> list[str]:
    """Where a tuning, by what it found and a run of it, and a plan's run differ in what best settings depend on beside
    architecture, size and tokens. Of a further setting that was varied the values at the optima count.

    Raises UserError where muP, which scales learning rates by width, is another's: a law by parameters would add to it.
    """
    base, own = tuned.model.mup_base, planned.model.mup_base
    if base != own:
        raise UserError(
            f"the tuning of --settings is of mup_base {base} and the plan of {own}, so its learning rates are others; "
            f"tune recipe {planned.recipe!r} itself, or leave --settings out."
        )
    then, now = (
        {
            "corpus": run.data.corpus_sha256[:12],
            "tokenizer": run.data.tokenizer,
            "seq_len": run.data.seq_len,
            "channel": run.model.channel,
            "match": run.match,
            "schedule": run.optim.schedule,
            "precision": run.precision,
        }
        for run in (tuned, planned)
    )
    differing = [f"{key} was {then[key]} and is {now[key]}" for key in then if then[key] != now[key]]
    for name in FURTHER:
        low, high = _ends(found, name, getattr(tuned.optim, name))
        value = getattr(planned.optim, name)
        if not low <= value <= high:
            was = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            differing.append(f"{name} was {was} and is {value:g}")
    return differing


def _ends(found: Tuned, name: str, own: float) -> tuple[float, float]:
    """Lowest and highest value of a further setting at the optima: its best, or what it was kept at; own, of a run of
    the tuning, where it was not varied."""
    at = [cell.values.get(name, cell.centre[name]) for cell in found.optima if cell.values and name in cell.centre]
    return min(at, default=own), max(at, default=own)


def transfers(found: Tuned, sizes: Mapping[str, Iterable[tuple[int, int]]], like: str = "") -> list[Transfer]:
    """sizes: of the plan's runs by architecture, their parameters and tokens. like: the recipe's `tuned_like`."""
    rows = []
    lawful = {law.arch for law in found.laws if law.fitted is not None}
    for arch, pairs in sizes.items():
        of = like if arch not in lawful and like in lawful else arch
        planned = dict(zip(("params", "tokens"), np.array(list(pairs), float).T, strict=True))
        for target in TARGETS:
            cells, over = found.cells(of, target), found.over(of, target)
            reach = _reach(cells, target, {name: planned[name] for name in over}) if cells else (None, None, None)
            rows.append(Transfer(arch, of, target, over, len(cells), found.law(of, target) is not None, *reach))
    return rows


def _reach(cells: Sequence[HyperOptimum], target: str, planned: Mapping[str, Array]) -> tuple[Beyond, Beyond, float]:
    """`below`, `above` and `twice` of a transfer. planned: the runs' values of each of its variables."""
    ends = [(name, x, [getattr(cell, name) for cell in cells]) for name, x in planned.items()]
    below = [Beyond(name, min(0.0, beyond(x.min(), there))) for name, x, there in ends]
    above = [Beyond(name, max(0.0, beyond(x.max(), there))) for name, x, there in ends]
    largest = np.argmax(np.prod(list(planned.values()), axis=0))
    nearest = min(cells, key=lambda cell: sum(np.log(getattr(cell, n) / x[largest]) ** 2 for n, x in planned.items()))
    by = operator.attrgetter("decades")
    return min(below, key=by), max(above, key=by), nearest.cost(target)


def _power(law: HyperLaw, name: str) -> PowerRule:
    return PowerRule(law.coefficient, law.centre[name], law.exponents[name])
