"""Everything the runs of a sweep say, as one value: optima, frontiers, L(N, D) and the best mix, with what was used."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from eutectic.analysis import isoflop, parametric
from eutectic.analysis.frontier import Frontier, frontier
from eutectic.analysis.hybrid import HybridOptimum, hybrid_optimum
from eutectic.analysis.isoflop import IsoflopOptimum
from eutectic.analysis.load import Runs
from eutectic.analysis.parametric import ParametricLaw


@dataclass(frozen=True)
class Report:
    """optima: by architecture, then budget. dropped: (run_id, arch, budget, reason) of rows no fit used."""

    n_runs: int
    seeds: tuple[int, ...]
    convention: str
    tokenizer: str
    bytes_per_token: float
    shares: dict[str, float]
    dropped: tuple[tuple[str, str, float, str], ...]
    optima: tuple[IsoflopOptimum, ...]
    frontiers: tuple[Frontier, ...]
    laws: dict[str, ParametricLaw | None]
    hybrids: tuple[HybridOptimum, ...]

    def optimum(self, arch: str, budget: float) -> IsoflopOptimum | None:
        return next((o for o in self.optima if (o.arch, o.budget) == (arch, budget)), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def report(runs: Runs) -> Report:
    """Fit all there is to fit."""
    used = runs.used
    shares = {arch: float(runs.select(arch)["attn_share"].iloc[0]) for arch in runs.archs}
    optima = [
        isoflop.fit(arch, budget, *_columns(rows))
        for arch in runs.archs
        for budget in runs.budgets
        if len(rows := runs.select(arch, budget))
    ]
    hybrids = [hybrid_optimum(budget, optima, shares) for budget in runs.budgets]
    return Report(
        n_runs=len(used),
        seeds=tuple(sorted(int(seed) for seed in used["seed"].unique())),
        convention=str(used["convention"].iloc[0]),
        tokenizer=str(used["tokenizer"].iloc[0]),
        bytes_per_token=float(used["bytes_per_token"].iloc[0]),
        shares=shares,
        dropped=tuple(
            (str(i), str(a), float(b), str(r)) for i, a, b, r in runs.dropped.itertuples(index=False, name=None)
        ),
        optima=tuple(optima),
        frontiers=tuple(frontier(arch, optima) for arch in runs.archs),
        laws={arch: parametric.fit(*_columns(runs.select(arch))) for arch in runs.archs},
        hybrids=tuple(h for h in hybrids if h is not None),
    )


def _columns(rows: pd.DataFrame) -> tuple[np.ndarray[Any, np.dtype[np.float64]], ...]:
    return tuple(rows[name].to_numpy(np.float64) for name in ("params", "tokens", "loss"))
