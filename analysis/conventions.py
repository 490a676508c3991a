"""Which architecture is best where compute is counted in another way, or in the time that runs took."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from eutectic.analysis.archs import SHAPE, columns, mixers
from eutectic.analysis.compare import Candidate
from eutectic.analysis.laws import Array
from eutectic.analysis.minima import Minima
from eutectic.analysis.optimum import fit_cost, optimum
from eutectic.analysis.recount import CONVENTIONS, flops

CLOCK = "wall clock"
BY_RUNS = "lowest sizes, no law"
UNRELIABLE = 0.25  # standard deviation of ln(throughput over attention's) over sizes, above which it is taken for noise


@dataclass(frozen=True)
class Ranking:
    """Which is best by one measure at one budget. wins: the share of resamples in which it is; runner_up: the next, by
    lead nats; hybrids: the share of resamples in which a hybrid is best, NaN where all compared are hybrids or none is.
    among: those compared. refusal: why there is none."""

    measure: str
    budget: float
    winner: str = ""
    wins: float = np.nan
    runner_up: str = ""
    lead: float = np.nan
    hybrids: float = np.nan
    among: tuple[str, ...] = ()
    refusal: str = ""


def ranking(measure: str, budget: float, losses: Mapping[str, Array]) -> Ranking:
    """losses: (1 + count,) by architecture, of two or more; NaN where a resample has none."""
    archs, table = list(losses), np.stack(list(losses.values()))
    order = [archs[k] for k in np.argsort(table[:, 0])]
    best = table[:, 1:][:, ~np.isnan(table[:, 1:]).any(0)].argmin(0)
    mixed = np.array([len(mixers(arch)) > 1 for arch in archs])
    lead = float(np.sort(table[:, 0])[1] - table[:, 0].min())
    wins = float((best == archs.index(order[0])).mean())
    hybrids = float(mixed[best].mean()) if mixed.any() and not mixed.all() else np.nan
    return Ranking(measure, budget, order[0], wins, order[1], lead, hybrids, tuple(archs))


def by_runs(found: Minima) -> Ranking:
    """By the lowest mean loss of a size that each architecture was trained in at a budget."""
    archs = [one.arch for one in found.optima]
    return ranking(BY_RUNS, found.budget, dict(zip(archs, found.lowest.T, strict=True)))


def by_convention(laws: Mapping[str, Candidate], rows: pd.DataFrame, budget: float) -> tuple[Ranking, ...]:
    """By each convention, from the laws L(N, D) of those trained at a budget, and what a token costs by it. rows: all
    runs of these."""
    found = []
    for name in CONVENTIONS:
        losses = {}
        for arch, law in laws.items():
            own = rows[rows["arch"] == arch]
            params, tokens = columns(own, "params", "tokens")
            cost = fit_cost(params, tokens, flops(own, name))
            losses[arch] = optimum(law.fit.law, law.theta, cost, np.array(budget)).loss
        found.append(ranking(name, budget, losses))
    return tuple(found)


def by_clock(laws: Mapping[str, Candidate], rows: pd.DataFrame, budget: float, seed: int = 0) -> Ranking:
    """In the time that attention takes for its compute-optimal run at a budget. rows: the runs at that budget.

    Of runs on several kinds of device those on the one that most of attention's were on are taken. Runs that share a
    GPU slow each other down, so of throughputs their ratios to attention's at equal sizes are taken,
    one for each architecture, and how attention's own goes with size. What the mean ratio is off by enters the draws.
    """
    if "attn" not in laws:
        return Ranking(CLOCK, budget, refusal="no law of attention to compare with")
    rows = rows[rows["device"] == rows.loc[rows["arch"] == "attn", "device"].mode()[0]]
    seconds = np.log(1 / rows.set_index([*SHAPE, "seed", "arch"])["tokens_per_second"]).unstack("arch")
    ratios = seconds.sub(seconds["attn"], axis=0).drop(columns="attn")
    usable = ratios.columns[ratios.count() > 1]
    if not len(usable):
        return Ranking(CLOCK, budget, refusal="no two sizes in common with attention on one kind of device")
    deviation = float(np.sqrt(ratios[usable].var().mean()))
    if deviation > UNRELIABLE:
        why = f"ratios of throughputs at equal sizes scatter by {deviation:.0%}"
        return Ranking(CLOCK, budget, refusal=why)
    attention = rows[rows["arch"] == "attn"]
    params, tokens, speed = columns(attention, "params", "tokens", "tokens_per_second")
    clock = fit_cost(params, tokens, tokens / speed)
    best = laws["attn"].optimum(np.array([budget]))
    asked = best.tokens[0] * np.exp(clock.log(np.log(best.params[0])))
    random = np.random.default_rng(seed)
    losses = {}
    for arch, law in laws.items():
        if arch != "attn" and arch not in usable:
            continue
        ratio, error = (0.0, 0.0) if arch == "attn" else (ratios[arch].mean(), ratios[arch].sem())
        shifts = np.concatenate([[0.0], error * random.normal(size=len(law.theta) - 1)])
        slower = (clock.coefficients[0] + float(ratio), *clock.coefficients[1:])
        cost = replace(clock, coefficients=slower)
        losses[arch] = optimum(law.fit.law, law.theta, cost, asked * np.exp(-shifts)).loss
    return ranking(CLOCK, budget, losses)
