"""What a wrong size costs, of hybrids beside what they are mixed of: by the laws, and straight from runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eutectic.analysis.compare import MISSIZED, Candidate, Estimate, estimate, lost
from eutectic.analysis.laws import Array
from eutectic.analysis.minima import Minima

SIDES = ("too small", "too large")
BEYOND = 1.25  # times past the sizes trained that a law is asked
Sizes = Mapping[str, tuple[float, float]]  # by architecture the smallest and the largest trained at a budget


@dataclass(frozen=True)
class OffSize:
    """At one budget, how many nats models four times too small, and too large, lose: by architecture, NaN where no such
    size was trained: there a law has nothing to hold it.

    by_law, by_runs: of both sides. law_gaps, run_gaps: of each of the pure architectures, what hybrids lose on average,
    over the sides trained, less what it does."""

    budget: float
    by_law: dict[str, tuple[Estimate, Estimate]]
    by_runs: dict[str, tuple[Estimate, Estimate]]
    law_gaps: dict[str, Estimate]
    run_gaps: dict[str, Estimate]


def off_size(
    found: Mapping[str, Candidate], minima: Minima, sizes: Sizes, hybrids: Sequence[str], pure: Sequence[str]
) -> OffSize:
    """At the minima's budget. found: laws of architectures trained there."""
    asked = {*hybrids, *pure}
    by_law = {arch: _by_law(one, minima.budget, *sizes[arch]) for arch, one in found.items() if arch in asked}
    by_runs = {
        arch: np.stack(minima.far)[:, :, k] - minima.losses[:, k]
        for k, arch in enumerate(minima.archs)
        if arch in asked
    }
    degrees = min((found[arch].fit.degrees for arch in by_law), default=0)
    return OffSize(
        minima.budget,
        {arch: _sides(sides, found[arch].fit.degrees) for arch, sides in by_law.items()},
        {arch: _sides(sides, minima.degrees) for arch, sides in by_runs.items()},
        _gaps(by_law, hybrids, pure, degrees),
        _gaps(by_runs, hybrids, pure, minima.degrees),
    )


def _by_law(one: Candidate, budget: float, smallest: float, largest: float) -> Array:
    """(sides, 1 + count)."""
    best = float(one.optimum(np.array([budget])).params[0, 0])
    reached = best / MISSIZED >= smallest / BEYOND, best * MISSIZED <= largest * BEYOND
    sides = zip(lost(one, budget), reached, strict=True)
    return np.stack([side if there else np.full_like(side, np.nan) for side, there in sides])


def _sides(lost: Array, degrees: int) -> tuple[Estimate, Estimate]:
    return estimate(lost[0], degrees, log=False), estimate(lost[1], degrees, log=False)


def _gaps(lost: Mapping[str, Array], hybrids: Sequence[str], pure: Sequence[str], degrees: int) -> dict[str, Estimate]:
    """lost: (sides, 1 + count) by architecture."""
    gaps = {}
    for arch in pure:
        sides = []
        for side in range(len(SIDES)) if arch in lost else ():
            mixed = [lost[hybrid][side] for hybrid in hybrids if hybrid in lost and np.isfinite(lost[hybrid][side, 0])]
            if mixed and np.isfinite(lost[arch][side, 0]):
                sides.append(np.mean(mixed, 0) - lost[arch][side])
        if sides:
            gaps[arch] = estimate(np.mean(sides, 0), degrees, log=False)
    return gaps
