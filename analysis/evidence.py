"""A campaign's parts, with what several of its claims ask of them, each computed once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd
from scipy import stats

from eutectic.analysis.archs import families, laws, mixers
from eutectic.analysis.bootstrap import LEVEL
from eutectic.analysis.campaign import HEADS, MAIN, PLACEMENT, RATIO
from eutectic.analysis.compare import Candidate
from eutectic.analysis.conventions import Ranking, by_clock, by_convention, by_runs
from eutectic.analysis.heads import Heads, by_heads
from eutectic.analysis.isoflop import IsoflopOptimum
from eutectic.analysis.load import Runs
from eutectic.analysis.minima import NEAR, Minima, minima
from eutectic.analysis.noise import Noise, noise
from eutectic.analysis.offsize import OffSize, Sizes, off_size
from eutectic.analysis.placement import Spread, spreads
from eutectic.analysis.state import Held, by_state, held
from eutectic.analysis.worth import Worth, worth


@dataclass(frozen=True)
class Evidence:
    """parts: by name, any of them absent. seed: of random starts and resamples."""

    parts: Mapping[str, Runs]
    seed: int = 0

    @cached_property
    def noises(self) -> dict[str, Noise]:
        """By part; none where no runs differ in their seed alone."""
        return {name: found for name in self.parts if (found := noise(self.parts, name)) is not None}

    @cached_property
    def laws(self) -> dict[str, Candidate]:
        """Of the main part's architectures, resampled together."""
        return laws(self.parts[MAIN], self.seed)[0]

    def laws_at(self, budget: float) -> dict[str, Candidate]:
        """Of those with runs at this budget."""
        used = self.parts[MAIN].used
        trained = set(used.loc[used["budget"] == budget, "arch"])
        return {arch: law for arch, law in self.laws.items() if arch in trained}

    @cached_property
    def minima(self) -> dict[str, tuple[Minima, ...]]:
        """By part, of every budget."""
        return {
            name: tuple(minima(runs, budget, self.noises.get(name), self.seed) for budget in runs.budgets)
            for name, runs in self.parts.items()
        }

    def optima(self, part: str) -> tuple[IsoflopOptimum, ...]:
        """Those of the minima, by architecture, then budget, each with the 95% interval of its loss by their noise."""
        found = [_with_interval(optimum, one) for one in self.minima[part] for optimum in one.optima]
        return tuple(sorted(found, key=lambda one: self.parts[part].archs.index(one.arch)))

    @property
    def optima_by(self) -> str:
        """The curves of the minima, and what their errors are."""
        if self.noises:
            return "curves through each size's mean (Akima's, of three sizes a parabola), losses ± by seeds' noise"
        return f"parabolas of sizes up to {NEAR:g} times off the best, losses ± by what runs scatter about them"

    def mixed(self, part: str) -> tuple[str, ...]:
        """The hybrids: architectures of two mixers and more."""
        return tuple(arch for arch in self.parts[part].archs if len(mixers(arch)) > 1)

    def pure(self, part: str) -> tuple[str, ...]:
        return tuple(arch for arch in self.parts[part].archs if len(mixers(arch)) == 1)

    def family(self, part: str) -> tuple[str, ...]:
        """The architectures that mix attention with one set of mixers in the most shares, pure ends included."""
        return max(families(self.parts[part].archs).values(), key=len, default=())

    @property
    def shares(self) -> str:
        """The part that shares of attention are compared in."""
        return RATIO if RATIO in self.parts else MAIN

    @cached_property
    def spreads(self) -> tuple[Spread, ...]:
        return spreads(self.parts, self.noises[PLACEMENT], self.seed) if PLACEMENT in self.noises else ()

    @cached_property
    def heads(self) -> tuple[Heads, ...]:
        return by_heads(self.parts[HEADS], self.noises[HEADS], self.seed) if HEADS in self.noises else ()

    @cached_property
    def off_sizes(self) -> tuple[OffSize, ...]:
        """At every budget of the main part, of the hybrids of one family beside its pure ends."""
        if MAIN not in self.parts:
            return ()
        own = self.family(MAIN)
        hybrids, pure = ([a for a in own if a in some] for some in (self.mixed(MAIN), self.pure(MAIN)))
        return tuple(
            off_size(self.laws_at(one.budget), one, self._sizes(one.budget), hybrids, pure) for one in self.minima[MAIN]
        )

    def _sizes(self, budget: float) -> Sizes:
        used = self.parts[MAIN].used
        sizes = used[used["budget"] == budget].groupby("arch")["params"].agg(["min", "max"])
        return {str(arch): (float(low), float(high)) for arch, low, high in sizes.itertuples()}

    @cached_property
    def rankings(self) -> tuple[Ranking, ...]:
        """At every budget of the main part where two architectures have a law and runs."""
        found: list[Ranking] = []
        for budget, rows in self._compared:
            found += by_convention(self.laws_at(budget), rows, budget)
            found += [by_runs(one) for one in self.minima[MAIN] if one.budget == budget]
            found.append(by_clock(self.laws_at(budget), rows[rows["budget"] == budget], budget, self.seed))
            if rows["state_bytes"].notna().all():
                found += by_state(self.laws_at(budget), rows, budget)
        return tuple(found)

    @cached_property
    def worth(self) -> tuple[Worth, ...]:
        """Of the main part, where noise is known from seeds."""
        return worth(self.minima[MAIN]) if MAIN in self.noises else ()

    @cached_property
    def held(self) -> tuple[Held, ...]:
        """At the same budgets, where states were logged."""
        there = [(budget, rows) for budget, rows in self._compared if rows["state_bytes"].notna().all()]
        return tuple(one for budget, rows in there for one in held(self.laws_at(budget), rows, budget))

    @property
    def _compared(self) -> list[tuple[float, pd.DataFrame]]:
        runs = self.parts.get(MAIN)
        budgets = runs.budgets if runs else []
        return [(budget, runs.used) for budget in budgets if runs and len(self.laws_at(budget)) > 1]


def _with_interval(one: IsoflopOptimum, minima: Minima) -> IsoflopOptimum:
    if one.loss is None or one.loss_error is None or not minima.degrees:
        return one
    margin = float(stats.t.ppf((1 + LEVEL) / 2, minima.degrees)) * one.loss_error
    return replace(one, loss_interval=(one.loss - margin, one.loss + margin))


def of_these(archs: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """Those of `archs` that are in `own`."""
    return tuple(arch for arch in archs if arch in own)
