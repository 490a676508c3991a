"""Whether synthetic tasks order architectures as scaling does: rank correlation of scores with compute-optimal loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from eutectic.analysis.bootstrap import LEVEL, weights
from eutectic.analysis.isoflop import IsoflopOptimum
from eutectic.analysis.laws import Array
from eutectic.analysis.probe import grid, means
from eutectic.arch import layout
from eutectic.arch.layout import MixerTerm

RESAMPLES = 4000
FEWEST = 5  # architectures: four stand in one order or its reverse once in twelve times, by chance alone
NO_DOUBT = 1 - 1e-9  # a correlation that rounds to one
COLUMNS = ["budget", "task", "archs", "tau", "tau_low", "tau_high", "rho", "rho_low", "rho_high", "sentence"]
MEAN = "mean"  # the label of the tasks' mean


@dataclass(frozen=True)
class Correlations:
    """table: a row for each budget and task, the tasks' mean first; archs: how many have both. Architectures without a
    partner: without_loss, those with scores; without_scores, those with losses. not_optima: (arch, budget, status) of
    those that have no minimum at a budget. tasks, left_out: what the mean is of, as in Means."""

    table: pd.DataFrame
    without_loss: tuple[str, ...]
    without_scores: tuple[str, ...]
    not_optima: tuple[tuple[str, float, str], ...]
    tasks: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]


def losses(optima: Sequence[IsoflopOptimum]) -> pd.DataFrame:
    """Compute-optimal loss by architecture and budget, NaN where the status is not `optimum`."""
    rows = [(o.arch, o.budget, np.nan if o.loss is None else o.loss, o.status) for o in optima]
    return pd.DataFrame(rows, columns=["arch", "budget", "loss", "status"])


def canonical(arch: str) -> str:
    """The layout as text that is the same however it was written; filters made for a length are made for any."""
    return str(layout.parse(arch).with_terms(_any_length))


def _any_length(term: MixerTerm) -> MixerTerm:
    return MixerTerm(term.name, tuple((name, value) for name, value in term.options if name != "max_length"))


def correlation(scores: pd.DataFrame, losses: pd.DataFrame, seed: int = 0) -> Correlations:
    """Of the scores of one setup with losses(). Kendall's tau-b and Spearman's rho, positive where who is better on the
    task has the lower loss, with 95% intervals by a bootstrap of architectures.

    A resample whose accuracies or losses all tie has no correlation: it is taken for -1 at the lower end and for 1 at
    the upper, so that a few widen the interval and many open it. No interval (NaN) under FEWEST architectures, and
    where all stand in one order (or its reverse), since then so do all resamples and nothing is learnt from them.
    Raises UserError where grid() does.
    """
    learnt = scores.assign(arch=scores["arch"].map(canonical))[~scores["control"]]
    known = losses.assign(arch=losses["arch"].map(canonical))
    average, accuracy = means(learnt), grid(learnt, "accuracy")
    if average.tasks:
        accuracy.insert(0, MEAN, average.table.set_index("arch")["accuracy"])
    loss = known.pivot(index="arch", columns="budget", values="loss")
    no_minimum = known.loc[known["status"] != "optimum", ["arch", "budget", "status"]]
    return Correlations(
        pd.DataFrame(
            [
                {"budget": budget, "task": task, **_correlated(accuracy[task], loss[budget], seed)}
                for budget in loss.columns
                for task in accuracy.columns
            ],
            columns=COLUMNS,
        ),
        tuple(accuracy.index.difference(loss.index, sort=False)),
        tuple(loss.index.difference(accuracy.index, sort=False)),
        tuple(no_minimum.itertuples(index=False, name=None)),
        average.tasks,
        average.left_out,
    )


def _correlated(accuracy: pd.Series, loss: pd.Series, seed: int) -> dict[str, Any]:
    both = pd.concat([accuracy, -loss], axis=1, join="inner").dropna().to_numpy(float)
    n = len(both)
    # the first is what there is, the others resamples of it
    drawn = np.vstack([np.ones((1, n)), weights(range(n), RESAMPLES, seed)]) if n else np.ones((1, 0))
    found: dict[str, Any] = {"archs": n}
    for name, measure in (("tau", kendall), ("rho", spearman)):
        value, resampled = np.split(measure(drawn, *both.T), [1])
        known = n >= FEWEST and abs(value[0]) < NO_DOUBT
        low, high = _interval(resampled) if known else (np.nan, np.nan)
        found |= {name: float(value[0]), f"{name}_low": low, f"{name}_high": high}
    return found | {"sentence": _sentence(found)}


def kendall(drawn: Array, x: Array, y: Array) -> Array:
    """tau-b of each resample; drawn: how often it has each point, (count, n). NaN where all its x or all its y tie."""
    sign_x, sign_y = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    pairs, untied_x, untied_y = (
        ((drawn @ one) * drawn).sum(1) for one in (sign_x * sign_y, np.abs(sign_x), np.abs(sign_y))
    )
    return _ratio(pairs, untied_x * untied_y)


def spearman(drawn: Array, x: Array, y: Array) -> Array:
    """rho of each resample, ties at their middle rank; drawn and NaN as above."""
    middle = drawn.sum(1, keepdims=True) / 2
    a, b = (drawn @ ((v[:, None] < v) + (v[:, None] == v) / 2) - middle for v in (x, y))
    return _ratio((drawn * a * b).sum(1), (drawn * a**2).sum(1) * (drawn * b**2).sum(1))


def _ratio(top: Array, squares: Array) -> Array:
    return np.divide(top, np.sqrt(squares), out=np.full(len(top), np.nan), where=squares > 0)


def _interval(values: Array) -> tuple[float, float]:
    low = np.quantile(np.nan_to_num(values, nan=-1.0), (1 - LEVEL) / 2)
    high = np.quantile(np.nan_to_num(values, nan=1.0), (1 + LEVEL) / 2)
    return float(low), float(high)


def _sentence(found: dict[str, Any]) -> str:
    n, tau = found["archs"], found["tau"]
    if n < FEWEST:
        return f"too few architectures to tell: {n}, where {FEWEST} are needed."
    if np.isnan(tau):
        return f"the {n} architectures tie in accuracy or in loss, so that there is no order to compare."
    if abs(tau) > NO_DOUBT:
        order = "lower" if tau > 0 else "higher"
        return f"all {n} architectures stand in one order, the better with the {order} loss; resamples cannot vary it."
    if min(found["tau_low"], found["rho_low"]) <= 0 <= max(found["tau_high"], found["rho_high"]):
        return f"cannot be told from none with {n} architectures."
    return f"of {n} architectures the better have the {'lower' if tau > 0 else 'higher'} loss."
