"""One architecture against another from their laws: what its compute is worth, where they cross, how often it wins,
and what a wrong size costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eutectic.analysis.bootstrap import interval, signs, wild
from eutectic.analysis.fit import Fit
from eutectic.analysis.laws import Array
from eutectic.analysis.optimum import Cost, Optimum, optimum
from eutectic.analysis.solve import Refused

DECADES = 4.0  # beyond the computes asked about, in which equal losses are looked for
PER_DECADE = 16
MISSIZED = 4.0


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval; share: of resamples in which it exists (a crossing may not).

    A positive number beyond all that was looked at is inf, or 0 below it, and so is an end of an interval that is open.
    """

    value: float
    low: float
    high: float
    share: float = 1.0


@dataclass(frozen=True)
class Candidate:
    """An architecture's law with its resamples. theta: (1 + count, p), the fit and then its resamples.

    grid: computes, four decades beyond those asked about to either side; losses: (1 + count, grid), the optima there.
    """

    arch: str
    fit: Fit
    cost: Cost
    theta: Array
    grid: Array
    losses: Array

    def optimum(self, compute: Array) -> Optimum:
        """(1 + count, computes) each."""
        return optimum(self.fit.law, self.theta[:, None], self.cost, np.asarray(compute, float))

    def estimate(self, values: Array, log: bool = True) -> Estimate:
        """Of a decision's values, (1 + count,)."""
        return estimate(values, self.fit.degrees, log)


def estimate(values: Array, degrees: int, log: bool = True) -> Estimate:
    """values: (1 + count,), of the fit and of its resamples; NaN where there is none, infinite (or 0 where log) beyond
    all that was looked at."""
    value, resampled = float(values[0]), values[1:]
    share = float((np.isfinite(resampled) & ((resampled != 0) | (not log))).mean())
    if np.isnan(value) or np.isnan(resampled).mean() > 0.5:
        return Estimate(value, float("nan"), float("nan"), share)
    return Estimate(value, *interval(resampled, degrees, log), share)


def candidates(
    fits: Mapping[str, Fit],
    costs: Mapping[str, Cost],
    labels: Mapping[str, Sequence[object]],
    compute: Array,
    count: int,
    seed: int,
) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Resample all architectures together (wild); and why some cannot be. compute: what will be asked about.

    labels: one for each run of each architecture; runs of equal label (the same budget, rung and seed, say) go up or
    down together, so that what they share cancels in comparisons.
    """
    low, high = np.log10(compute.min()) - DECADES, np.log10(compute.max()) + DECADES
    grid = np.logspace(low, high, int(PER_DECADE * (high - low)) + 1)
    drawn = signs([labels[arch] for arch in fits], count, seed)
    found, refusals = {}, {}
    for (arch, fit), own in zip(fits.items(), drawn, strict=True):
        try:
            theta = np.concatenate([fit.theta[None], wild(fit, own).theta])
        except Refused as refusal:
            refusals[arch] = str(refusal)
            continue
        losses = optimum(fit.law, theta[:, None], costs[arch], grid).loss
        found[arch] = Candidate(arch, fit, costs[arch], theta, grid, losses)
    return found, refusals


def multiplier(a: Candidate, b: Candidate, compute: Array) -> list[Estimate]:
    """At each compute: A reaches B's compute-optimal loss with this share of the FLOPs (below 1: A is better); inf
    where the grid ends before A does, 0 where A is there before it begins."""
    log_c = np.log(a.grid)
    needed = []
    for ours, theirs in zip(np.log(a.losses), np.log(b.losses), strict=True):
        wanted = np.interp(np.log(compute), log_c, theirs)
        found = np.interp(-wanted, -ours, log_c, -np.inf, np.inf)
        needed.append(np.where(np.isnan(ours[0] + wanted), np.nan, found))
    ratio = np.exp(np.array(needed)) / compute
    return [estimate(column, min(a.fit.degrees, b.fit.degrees)) for column in ratio.T]


def crossover(a: Candidate, b: Candidate, compute: Array) -> Estimate:
    """The compute at which the better of the two changes, nearest to those given; NaN where it does not.

    Of resamples in which one is better all along the grid, the one that the fit has better below its crossing leaves
    the change to come above the grid (inf), and the other to have come below (0).
    """
    middle, log_c = float(np.log(compute).mean()), np.log(a.grid)
    gaps = np.log(a.losses) - np.log(b.losses)
    at = np.array([_root(log_c, gap, middle) for gap in gaps])
    if not np.isnan(at[0]):
        below = np.sign(gaps[0, a.grid < at[0]][-1])
        at = np.where(np.isnan(at), np.where(np.sign(gaps[:, 0]) == below, np.inf, 0.0), at)
        at[np.isnan(gaps[:, 0])] = np.nan
    return estimate(at, min(a.fit.degrees, b.fit.degrees))


def _root(log_c: Array, gap: Array, middle: float) -> float:
    at = np.flatnonzero(np.sign(gap[1:]) * np.sign(gap[:-1]) < 0)
    if not len(at):
        return float("nan")
    roots = log_c[at] - gap[at] * (log_c[at + 1] - log_c[at]) / (gap[at + 1] - gap[at])
    return float(np.exp(roots[np.abs(roots - middle).argmin()]))


def win_probability(all_of_them: Mapping[str, Candidate], compute: Array) -> dict[str, Array]:
    """For each architecture, the share of resamples in which its compute-optimal loss is lowest, at each compute."""
    losses = np.stack([c.optimum(compute).loss[1:] for c in all_of_them.values()])
    winner = np.where(np.isnan(losses).any(0), -1, np.where(np.isnan(losses), np.inf, losses).argmin(0))
    return {arch: (winner == k).sum(0) / (winner >= 0).sum(0) for k, arch in enumerate(all_of_them)}


def missized(candidate: Candidate, compute: float, factor: float = MISSIZED) -> tuple[Estimate, Estimate]:
    """Loss (nats) lost at one compute by a model `factor` times too small, and too large, tokens being what is left."""
    small, large = lost(candidate, compute, factor)
    return candidate.estimate(small), candidate.estimate(large)


def lost(candidate: Candidate, compute: float, factor: float = MISSIZED) -> tuple[Array, Array]:
    """The same of the fit and its resamples, (1 + count,) each."""
    best = candidate.optimum(np.array([compute]))
    found = []
    for size in (best.params / factor, best.params * factor):
        x = {"N": size, "D": compute / np.exp(candidate.cost.log(np.log(size)))}
        worse = np.exp(candidate.fit.law.log(candidate.theta[:, None], x)) - best.loss
        found.append(worse[:, 0])
    return found[0], found[1]
