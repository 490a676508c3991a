"""Loss against what decoding holds of a sequence: which architecture is best at an equal state, and which at none is
beaten in both."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eutectic.analysis.archs import columns
from eutectic.analysis.compare import Candidate, Estimate
from eutectic.analysis.conventions import Ranking, ranking

PARTS = {"": 1.0, "1/4 of ": 1 / 4, "1/16 of ": 1 / 16}  # of the state that attention has at its best size
BELOW = 2.0  # times smaller than the smallest trained, beyond which a law is not asked


@dataclass(frozen=True)
class Held:
    """An architecture at its compute-optimal size: bytes that decoding holds of a sequence as long as those trained on,
    the loss there, and in which share of resamples no other has less of both."""

    arch: str
    budget: float
    state: Estimate
    loss: Estimate
    unbeaten: float


def held(laws: Mapping[str, Candidate], rows: pd.DataFrame, budget: float) -> tuple[Held, ...]:
    """By falling state. laws: of those trained at a budget; rows: all runs of these, whose states are known."""
    best = {arch: law.optimum(np.array([budget])) for arch, law in laws.items()}
    losses = {arch: at.loss[:, 0] for arch, at in best.items()}
    states = {}
    for arch, at in best.items():
        level, slope = _state(rows, arch)
        states[arch] = np.exp(level + slope * np.log(at.params[:, 0]))
    found = []
    for arch, law in laws.items():
        others = [(states[o] <= states[arch]) & (losses[o] < losses[arch]) for o in laws if o != arch]
        unbeaten = float(1 - np.any(others, 0)[1:].mean())
        found.append(Held(arch, budget, law.estimate(states[arch]), law.estimate(losses[arch]), unbeaten))
    return tuple(sorted(found, key=lambda one: -one.state.value))


def by_state(laws: Mapping[str, Candidate], rows: pd.DataFrame, budget: float) -> tuple[Ranking, ...]:
    """At a budget of compute, each as large as compute would have it and the state lets it, for states that are parts
    of attention's at its best size, or of the first's where that is not there."""
    best = {arch: law.optimum(np.array([budget])).params[:, 0] for arch, law in laws.items()}
    reference = "attn" if "attn" in laws else next(iter(laws))
    level, slope = _state(rows, reference)
    whole = level + slope * np.log(best[reference][0])
    found = []
    for name, part in PARTS.items():
        losses = {}
        for arch, law in laws.items():
            level, slope = _state(rows, arch)
            most = (whole + np.log(part) - level) / slope
            if most < np.log(rows.loc[rows["arch"] == arch, "params"].min() / BELOW):
                continue
            log_n = np.minimum(np.log(best[arch]), most)
            x = {"N": np.exp(log_n), "D": budget / np.exp(law.cost.log(log_n))}
            losses[arch] = np.exp(law.fit.law.log(law.theta, x))
        measure = f"{name}{reference}'s state"
        found.append(
            ranking(measure, budget, losses)
            if len(losses) > 1
            else Ranking(measure, budget, refusal="fewer than two were trained at sizes that have so little")
        )
    return tuple(found)


def _state(rows: pd.DataFrame, arch: str) -> tuple[float, float]:
    """Of ln bytes of state against ln parameters: level and slope."""
    params, states = columns(rows[rows["arch"] == arch], "params", "state_bytes")
    slope, level = np.polyfit(np.log(params), np.log(states), 1)
    return float(level), float(slope)
