"""What laws would have said of runs they were not fitted to: larger budgets, and architectures left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from eutectic.analysis import isoflop
from eutectic.analysis.archs import FEWEST_SHARES, columns, families
from eutectic.analysis.fit import Fit, fit, scaled_huber
from eutectic.analysis.frontier import power_law
from eutectic.analysis.hybrid import least_information, nested
from eutectic.analysis.laws import CHINCHILLA, FRONTIER_0, GAMMA, HYBRID_INTERIOR, HYBRIDS, Array, Law
from eutectic.analysis.load import Runs
from eutectic.analysis.solve import Refused

FEWEST_BUDGETS = 2  # to fit a law on
MOST_FITTED, MOST_RUNS = 12, 1000  # sets of budgets of an architecture, and runs, that are audited of a large sweep
ARCH_LAWS = (CHINCHILLA, GAMMA)
NAN = float("nan")
FAMILY = " family"  # what a family's name ends in, beside those of architectures


@dataclass(frozen=True)
class Holdout:
    """A law fitted to some budgets, and what it said of the runs of another.

    arch: an architecture, or a family as `hyena family`. trained, held: budgets (FLOPs). decades: log10 of held over
    the largest trained. rms, bias: root mean square and mean, over the n runs held, of ln(observed / predicted).
    predicted, observed: losses (nats), by size; for `frontier-0` the one isoFLOP optimum. refusal: why there is none.
    """

    arch: str
    law: str
    trained: tuple[float, ...]
    held: float
    decades: float
    n: int
    rms: float
    bias: float
    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    refusal: str = ""


@dataclass(frozen=True)
class Distance:
    """How far a law was off at one distance: rms and bias of ln(observed / predicted) over the n runs (for `frontier-0`
    optima) of all budgets held so many decades above. family: as a law of families, not of single architectures."""

    law: str
    family: bool
    decades: float
    n: int
    rms: float
    bias: float


@dataclass(frozen=True)
class LeftOut:
    """One share of attention, predicted by the law of its family's other shares. law: the hybrid law that these
    choose, empty where all are refused (refusal). holdouts: a row for each architecture and budget; n, rms, bias: of
    ln(observed / predicted) over all."""

    family: str
    share: float
    law: str
    n: int
    rms: float
    bias: float
    holdouts: tuple[Holdout, ...]
    refusal: str = ""


@dataclass(frozen=True)
class Audits:
    """What a sweep's laws said of runs they were not fitted to. n_runs, budgets: of those audited, a part of a large
    sweep. held: of larger budgets; distances: of these, by law; left_out: of architectures."""

    n_runs: int
    budgets: tuple[float, ...]
    held: tuple[Holdout, ...]
    distances: tuple[Distance, ...]
    left_out: tuple[LeftOut, ...]


NONE = Audits(0, (), (), (), ())


def audits(runs: Runs, seed: int = 0) -> Audits:
    """Both audits, of a part of the runs where they are many."""
    some = part(runs)
    held = audit(some, seed)
    return Audits(len(some.used), tuple(some.budgets), held, distances(held), leave_one_out(some, seed))


def part(runs: Runs) -> Runs:
    """All, or of many budgets some from the lowest to the highest, and of many runs every so many."""
    count = max(FEWEST_BUDGETS + 1, FEWEST_BUDGETS + MOST_FITTED // len(runs.archs))
    chosen = [runs.budgets[k] for k in np.linspace(0, len(runs.budgets) - 1, count).round().astype(int)]
    rows = runs.used[runs.used["budget"].isin(chosen)].sort_values(["arch", "budget", "params", "seed"], kind="stable")
    return replace(runs, used=rows.iloc[:: -(-len(rows) // MOST_RUNS)])


def audit(runs: Runs, seed: int = 0) -> tuple[Holdout, ...]:
    """Hold out the largest budgets, rolling up: for every architecture, and every family of three shares of attention
    or more, its laws fitted to the lowest two budgets, three, ..., predict each budget above. A row for each."""
    rows: list[Holdout] = []
    for arch in runs.archs:
        table = runs.select(arch)
        rows += _roll(arch, table, ARCH_LAWS, CHINCHILLA, seed)
        rows += _roll_frontier(arch, table)
    for name, table in _mixes(runs):
        rows += _roll(name + FAMILY, table, HYBRIDS, HYBRID_INTERIOR, seed)
    return tuple(rows)


def leave_one_out(runs: Runs, seed: int = 0) -> tuple[LeftOut, ...]:
    """For every family and share of attention in it: the hybrid law of least information criterion on the other shares
    predicts the runs of this one."""
    found: list[LeftOut] = []
    for family, table in _mixes(runs):
        for share in sorted(table["attn_share"].unique()):
            others, own = table[table["attn_share"] != share], table[table["attn_share"] == share]
            trained = _budgets(others)
            chosen = _chosen(others, seed)
            law, refusal = ("", chosen) if isinstance(chosen, str) else (chosen.law.name, "")
            rows = tuple(
                _held(str(arch), law, trained, float(held), some, chosen)
                for (arch, held), some in own.groupby(["arch", "budget"], sort=True)
            )
            found.append(LeftOut(family, float(share), law, *_pooled(rows), rows, refusal))
    return tuple(found)


def distances(holdouts: Sequence[Holdout]) -> tuple[Distance, ...]:
    """By law, in the order of the holdouts, and then by distance; what is refused is left out."""
    groups: dict[tuple[str, bool], dict[float, list[Holdout]]] = {}
    for h in holdouts:
        if not h.refusal:
            own = groups.setdefault((h.law, h.arch.endswith(FAMILY)), {})
            own.setdefault(round(h.decades, 2), []).append(h)
    return tuple(
        Distance(law, family, decades, *_pooled(own[decades]))
        for (law, family), own in groups.items()
        for decades in sorted(own)
    )


def best_law(holdouts: Sequence[Holdout]) -> dict[str, str]:
    """For each architecture and family, the law of least held-out error: the geometric mean, over trained and held
    budgets, of the rms. Where a law is refused the plain one (chinchilla) stands in for it, as it would have.

    `frontier-0` is not in the choice: it says nothing of sizes, and is held to optima alone.
    """
    best = {}
    for arch in dict.fromkeys(h.arch for h in holdouts):
        errors: dict[str, dict[tuple[object, ...], float]] = {}
        for h in holdouts:
            if h.arch == arch and h.law != FRONTIER_0.name:
                errors.setdefault(h.law, {}).update({} if h.refusal else {(h.trained, h.held): float(np.log(h.rms))})
        plain = errors.get(CHINCHILLA.name)
        if plain:
            scores = {law: np.mean([own.get(pair, plain[pair]) for pair in plain]) for law, own in errors.items()}
            best[arch] = min(scores, key=lambda law: scores[law])
    return best


def _pooled(holdouts: Sequence[Holdout]) -> tuple[int, float, float]:
    """How many runs, and the rms and mean of their errors."""
    errors = np.concatenate([np.log(np.divide(h.observed, h.predicted)) for h in holdouts])
    if not len(errors):
        return 0, NAN, NAN
    return len(errors), float(np.sqrt((errors**2).mean())), float(errors.mean())


def _roll(arch: str, table: pd.DataFrame, laws: Sequence[Law], noise: Law, seed: int) -> list[Holdout]:
    """noise: the law whose residuals scale the Huber loss."""
    rows = []
    for trained, above in _splits(table):
        found = _fits(laws, table[table["budget"].isin(trained)], noise, seed)
        for law in laws:
            for held in above:
                rows.append(_held(arch, law.name, trained, held, table[table["budget"] == held], found[law.name]))
    return rows


def _fits(laws: Sequence[Law], table: pd.DataFrame, noise: Law, seed: int) -> dict[str, Fit | str]:
    """Each law, or why it is refused; a law starts from its parent."""
    x, losses = _data(table)
    try:
        loss_fn = scaled_huber(noise, x, losses, seed)
    except Refused as refusal:
        return {law.name: str(refusal) for law in laws}
    found: dict[str, Fit | str] = {}
    for law in laws:
        parent = found.get(law.parent.name) if law.parent else None
        try:
            found[law.name] = fit(law, x, losses, loss_fn, seed, parent if isinstance(parent, Fit) else None)
        except Refused as refusal:
            found[law.name] = str(refusal)
    return found


def _chosen(table: pd.DataFrame, seed: int) -> Fit | str:
    x, losses = _data(table)
    try:
        fits, steps = nested(x, losses, scaled_huber(HYBRID_INTERIOR, x, losses, seed), seed)
    except Refused as refusal:
        return str(refusal)
    return least_information(fits, steps)


def _roll_frontier(arch: str, table: pd.DataFrame) -> list[Holdout]:
    """A power law through the losses of isoFLOP optima; where a budget has none it is neither fitted nor held."""
    optima = {
        budget: isoflop.fit(arch, budget, *columns(table[table["budget"] == budget], "params", "tokens", "loss")).loss
        for budget in _budgets(table)
    }
    rows = []
    for trained, above in _splits(table):
        found = {budget: loss for budget in trained if (loss := optima[budget]) is not None}
        law = power_law(list(found), list(found.values()))
        for held in above:
            truth = optima[held]
            if law is None or truth is None:
                where = f"budget {held:.3g} has" if truth is None else f"{len(found)} of {len(trained)} budgets have"
                rows.append(_refused(arch, FRONTIER_0.name, trained, held, f"{where} an isoFLOP optimum"))
            else:
                said = law.predict(np.array([held]))
                rows.append(_holdout(arch, FRONTIER_0.name, trained, held, said, np.array([truth])))
    return rows


def _held(
    arch: str, law: str, trained: tuple[float, ...], held: float, table: pd.DataFrame, found: Fit | str
) -> Holdout:
    if isinstance(found, str):
        return _refused(arch, law, trained, held, found)
    x, losses = _data(table.sort_values(["params", "seed", "loss"]))
    return _holdout(arch, law, trained, held, found.predict({name: x[name] for name in found.law.inputs}), losses)


def _holdout(
    arch: str, law: str, trained: tuple[float, ...], held: float, predicted: Array, observed: Array
) -> Holdout:
    error = np.log(observed / predicted)
    return Holdout(
        arch=arch,
        law=law,
        trained=trained,
        held=held,
        decades=float(np.log10(held / trained[-1])),
        n=len(error),
        rms=float(np.sqrt((error**2).mean())),
        bias=float(error.mean()),
        predicted=tuple(predicted.tolist()),
        observed=tuple(observed.tolist()),
    )


def _refused(arch: str, law: str, trained: tuple[float, ...], held: float, refusal: str) -> Holdout:
    return Holdout(arch, law, trained, held, float(np.log10(held / trained[-1])), 0, NAN, NAN, (), (), refusal)


def _mixes(runs: Runs) -> list[tuple[str, pd.DataFrame]]:
    """Families of enough shares of attention for a law in the share, with their runs."""
    tables = [(name, runs.used[runs.used["arch"].isin(archs)]) for name, archs in families(runs.archs).items()]
    return [(name, table) for name, table in tables if table["attn_share"].nunique() >= FEWEST_SHARES]


def _splits(table: pd.DataFrame) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Budgets to fit on and those above, from the lowest two up."""
    budgets = _budgets(table)
    return [(budgets[:k], budgets[k:]) for k in range(FEWEST_BUDGETS, len(budgets))]


def _budgets(table: pd.DataFrame) -> tuple[float, ...]:
    return tuple(sorted(float(b) for b in table["budget"].unique()))


def _data(table: pd.DataFrame) -> tuple[dict[str, Array], Array]:
    params, tokens, share, losses = columns(table, "params", "tokens", "attn_share", "loss")
    return {"N": params, "D": tokens, "r": share}, losses
