"""Where a sweep's grid falls short of its minima, and the runs that would reach them.

One step at a time, for a curve says on which side its minimum lies better than how far off:

1. sizes: the next rung of the ladder where a best size lies beyond the sizes trained;
2. shares: the share that fills the widest gap beside a family's best share of attention, where that is at an edge, or
   known less well than the shares around it are apart;
3. where none of these is left, the cell (an architecture at a budget) whose best size is known worst for what it costs
   to know it better: by a rung left out around it, or else by another seed.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pandas as pd

from eutectic.analysis import isoflop, transfer, tuned
from eutectic.analysis.archs import columns, families
from eutectic.analysis.isoflop import Array, IsoflopOptimum
from eutectic.analysis.load import Runs, load
from eutectic.analysis.ratio import HybridOptimum, hybrid_optimum
from eutectic.arch import layout
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import foreign, replan
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.plan import Rules, Tuned, ladder_of
from eutectic.sweeps.recipe import Recipe, Shape

TARGET = 1.5  # a best size whose 95% interval ends this factor apart, or less, is known well enough
ATTENTION = layout.parse("attn").block[0]
FEWEST_SHARES = 3  # of a family, ends included, for a mix to have been asked about


@dataclass(frozen=True)
class Proposal:
    reason: str
    runs: tuple[RunConfig, ...]


# or why there is nothing to propose
Finding = Proposal | str


@dataclass(frozen=True)
class Extension:
    """limits: minima that nothing can be trained for, each with the reason."""

    proposals: tuple[Proposal, ...]
    limits: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Cell:
    """optimum: of the runs of an architecture at a budget. rungs: those trained, from the smallest, with their
    parameters and mean losses."""

    optimum: IsoflopOptimum
    rungs: tuple[Shape, ...]
    params: Array
    losses: Array
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.optimum.arch} at {self.optimum.budget:.3g}"


class _Planner:
    def __init__(self, rules: Rules, known: Collection[str]):
        self.rules, self.known = rules, known

    def ladder(self, arch: str) -> list[Shape]:
        """The rungs that an architecture fits."""
        parsed = layout.parse(arch)
        return [shape for shape in ladder_of(self.rules.recipe, parsed) if _divides(parsed, shape)]

    def propose(
        self, reason: str, arch: str, budget: float, shapes: Iterable[Shape], seeds: Collection[int]
    ) -> Finding:
        try:
            runs = [run for shape in shapes for run in self.rules.runs(arch, budget, shape, seeds)]
        except UserError as error:
            return f"{reason}: {str(error).rstrip('.')}"
        new = tuple(run for run in runs if run.run_id not in self.known)
        return Proposal(reason, new) if new else f"{reason}: the runs that it needs did not end with a loss"


def of_sweep(ledger: Ledger) -> tuple[Recipe, Extension]:
    """The recipe of a sweep and what to add to it, which is first of all what was planned and has not ended.

    A tuning that it was planned by lies beside it. Raises UserError where the sweep has no fitted runs, or where its
    recipe, its mixers or its tuning are not to be had as they were.
    """
    statuses = ledger.statuses()
    for run_id in ledger.lost([run_id for run_id, status in statuses.items() if status == "planned"]):
        del statuses[run_id]
    if (ledger.folder / "tune").is_dir():
        raise UserError(f"{ledger.folder} holds a tuning, which more --trials extend, and not a sweep.")
    if (ledger.folder / "starts").is_dir():
        raise UserError(f"{ledger.folder} holds grafts, which more budgets of `eutectic graft` extend.")
    waiting = [c for i, s in statuses.items() if s in ("planned", "running") and (c := ledger.config(i))]
    runs = None if waiting else load(ledger.folder)
    configs = waiting if runs is None else [RunConfig.from_dict(json.loads(text)) for text in runs.used["config"]]
    for config in configs:
        foreign.load(config, ledger.folder)
    recipe = replan.recipe_of(configs, ledger.folder)
    if runs is None:
        return recipe, Extension((Proposal("planned before and not finished", tuple(waiting)),), ())
    if {i for i, s in statuses.items() if s != "failed"} - {*runs.used["run_id"], *runs.dropped["run_id"]}:
        raise UserError(f"{ledger.folder} has finished runs that no fit knows; run `eutectic collect` first.")
    found = extend(runs, replan.rules_of(recipe, configs, _tuned(configs, recipe, ledger.folder)), statuses)
    failed = [run_id for run_id, status in statuses.items() if status == "failed"]
    again = (f"{len(failed)} failed, which `eutectic retry` trains again",) if failed else ()
    return recipe, replace(found, limits=found.limits + again)


def _tuned(configs: Sequence[RunConfig], recipe: Recipe, folder: Path) -> dict[str, Tuned]:
    source = replan.settings_of(configs)
    if not source:
        return {}
    name, _, version = source.partition("@")
    tuning = load(folder.parent / name)
    if transfer.version(tuning) != version:
        raise UserError(
            f"{folder} was planned by {source}, and {folder.parent / name} is version {transfer.version(tuning)} now; "
            "put it back as it was, or sweep anew under another --name."
        )
    return transfer.rules(tuned.tuned(tuning), recipe, source)


def extend(runs: Runs, rules: Rules, known: Collection[str]) -> Extension:
    """What to add to the runs of a sweep, planned by its own rules; nothing where every minimum is inside its grid and
    every best size known to TARGET. known: run_ids that were planned before, whatever became of them."""
    planner = _Planner(rules, known)
    cells = {
        (arch, budget): _cell(rules, arch, budget, rows)
        for arch in runs.archs
        for budget in runs.budgets
        if len(rows := runs.select(arch, budget))
    }
    shares = runs.shares
    sizes = {key: _next_rung(planner, cell) for key, cell in cells.items() if cell.optimum.status != "optimum"}
    pending = {key for key, finding in sizes.items() if isinstance(finding, Proposal)}
    found: list[Finding | None] = [*sizes.values()]
    for name, archs in families(runs.archs).items():
        for budget in runs.budgets:
            own = {arch: cells[arch, budget] for arch in archs if (arch, budget) in cells}
            # a best size still to come may move the best share
            if len({shares[arch] for arch in own}) >= FEWEST_SHARES and not pending & {(arch, budget) for arch in own}:
                found.append(_next_share(planner, name, budget, own, shares))
    if not any(isinstance(finding, Proposal) for finding in found):
        found.append(_closer(planner, cells.values()))
    return Extension(
        tuple(finding for finding in found if isinstance(finding, Proposal)),
        tuple(finding for finding in found if isinstance(finding, str)),
    )


def _cell(rules: Rules, arch: str, budget: float, rows: pd.DataFrame) -> _Cell:
    optimum = isoflop.fit(arch, budget, *columns(rows, "params", "tokens", "loss"))
    ladder = list(rules.recipe.ladder)
    shapes = rows[["n_layers", "d_model", "n_heads", "n_kv_heads"]].itertuples(index=False)
    means = rows.groupby([ladder.index(Shape(*shape)) for shape in shapes])[["params", "loss"]].mean()
    rungs = tuple(ladder[rung] for rung in means.index)
    params, losses = columns(means, "params", "loss")
    return _Cell(optimum, rungs, params, losses, tuple(sorted(int(seed) for seed in rows["seed"].unique())))


def _next_rung(planner: _Planner, cell: _Cell) -> Finding:
    """On the side where the curve, or where there is none the loss, is lower."""
    optimum = cell.optimum
    ends = cell.losses if optimum.coefficients is None else optimum.predict(cell.params)
    below = bool(ends[0] < ends[-1])
    last, side, which = (cell.rungs[0], "below", "smallest") if below else (cell.rungs[-1], "above", "largest")
    reason = {
        "beyond grid": f"best size of {cell.name} lies {side} the {which} trained, {_text(last)}",
        "no minimum": f"loss of {cell.name} has no minimum and falls towards the {which} size trained, {_text(last)}",
        "too few sizes": f"{cell.name} has {len(cell.rungs)} sizes with a loss, too few to find the best",
    }[optimum.status]
    ladder = planner.ladder(optimum.arch)
    at = ladder.index(last) + (-1 if below else 1)
    if not 0 <= at < len(ladder):
        return f"{reason}: the ladder of recipe {planner.rules.recipe.name!r} ends there, so add a shape to it"
    return planner.propose(reason, optimum.arch, optimum.budget, [ladder[at]], cell.seeds)


def _next_share(
    planner: _Planner, name: str, budget: float, cells: Mapping[str, _Cell], shares: Mapping[str, float]
) -> Finding | None:
    """On the rungs and seeds of the best layout; None where the best share is known as well as its neighbours allow."""
    found = hybrid_optimum(budget, [cell.optimum for cell in cells.values()], dict(shares))
    if found is None:
        return None
    trained = {shares[arch] for arch in cells}
    place = found.best_share if found.share is None else found.share
    low, high = max([0.0, *(s for s in trained if s < place)]), min([1.0, *(s for s in trained if s > place)])
    if found.interval is not None and found.interval[1] - found.interval[0] <= high - low:
        return None
    reason = f"best share of attention with {name} at {budget:.3g} {_verdict(found, low, high)}"
    layouts = [layout.parse(arch) for arch in cells]
    kinds = {layer for parsed in layouts for layer in parsed.block} - {ATTENTION}
    if len(kinds) != 1 or any(parsed.placement for parsed in layouts):
        return f"{reason}: only blocks of attn and one other mixer are mixed anew, so choose a layout with --archs"
    best = cells[found.best_arch]
    depth = math.gcd(*(shape.n_layers for shape in best.rungs))
    untried = [s for k in range(depth + 1) if low <= (s := Fraction(k, depth)) <= high and float(s) not in trained]
    if not untried:
        return f"{reason}: depths of {depth} layers have no other share from {low:.2g} to {high:.2g}"
    share = max(untried, key=lambda s: (min(abs(float(s) - t) for t in trained), -s.denominator))
    block = (*kinds,) * (share.denominator - share.numerator) + (ATTENTION,) * share.numerator
    return planner.propose(reason, str(layout.Layout(block)), budget, best.rungs, best.seeds)


def _verdict(found: HybridOptimum, low: float, high: float) -> str:
    if found.share is not None and found.interval is not None:
        ends = f"[{found.interval[0]:.2f}, {found.interval[1]:.2f}]"
        return f"is {found.share:.2f} {ends}, an interval wider than the gap from {low:.2g} to {high:.2g}"
    if found.verdict == "boundary":
        return f"is at the edge of those trained, {found.best_share:.2g}"
    return f"is not told from those trained, of which {found.best_share:.2g} is best"


def _closer(planner: _Planner, cells: Iterable[_Cell]) -> Finding | None:
    """For the cell whose interval is widest per FLOP of what would narrow it; None where all are known to TARGET."""
    wide = {cell: _factor(cell) for cell in cells if _factor(cell) > TARGET}
    findings = [(_between(planner, cell), cell) for cell in wide]
    worth = {
        finding: math.log(wide[cell]) / (len(finding.runs) * cell.optimum.budget)
        for finding, cell in findings
        if isinstance(finding, Proposal)
    }
    return max(worth, key=lambda finding: worth[finding], default=findings[0][0] if findings else None)


def _between(planner: _Planner, cell: _Cell) -> Finding:
    """A rung left out beside the best size, or else another seed of every rung."""
    optimum = cell.optimum
    assert optimum.params is not None
    reason = f"best size of {cell.name} is known to a factor of {_factor(cell):.2g} and not yet of {TARGET:g}"
    ladder = planner.ladder(optimum.arch)
    upper = next(k for k, params in enumerate(cell.params) if params > optimum.params)
    between = ladder[ladder.index(cell.rungs[upper - 1]) + 1 : ladder.index(cell.rungs[upper])]
    if between:
        rung = between[len(between) // 2]
        why = f"{reason}, so {_text(rung)} is added between"
        added = planner.propose(why, optimum.arch, optimum.budget, [rung], cell.seeds)
        if isinstance(added, Proposal):
            return added
    seed = max(cell.seeds) + 1
    why = f"{reason}, so its sizes are trained with seed {seed} too"
    return planner.propose(why, optimum.arch, optimum.budget, cell.rungs, [seed])


def _factor(cell: _Cell) -> float:
    """Between the ends of the best size's interval; 1 where it has none."""
    low, high = cell.optimum.params_interval or (1.0, 1.0)
    return high / low


def _divides(parsed: layout.Layout, shape: Shape) -> bool:
    try:
        return bool(layout.expand(parsed, shape.n_layers))
    except UserError:
        return False


def _text(shape: Shape) -> str:
    return f"{shape.n_layers} x {shape.d_model}"
