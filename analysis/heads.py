"""Loss against the heads of a gated convolution, at equal size and compute."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eutectic.analysis.archs import SHAPE
from eutectic.analysis.compare import Estimate, estimate
from eutectic.analysis.contrast import best_of
from eutectic.analysis.load import Runs
from eutectic.analysis.minima import RESAMPLES
from eutectic.analysis.noise import Noise
from eutectic.arch import layout

MIXER = "multihyena"
HYENA = 0  # in the place of a number of heads


@dataclass(frozen=True)
class Heads:
    """At one budget. cells: means of runs with columns heads (or HYENA), n_layers, d_model, loss, runs, error (that
    noise gives the mean), of numbers of heads that every size was trained with. differences: each number's loss less
    that of one head, over the sizes. best: the least of several heads less that of one; slope: nats per doubling of the
    heads. hyena: the least of several less that of Hyena, which has a filter a channel; None where it was not trained
    at these sizes."""

    budget: float
    cells: pd.DataFrame
    differences: dict[int, Estimate]
    best: Estimate
    slope: Estimate
    hyena: Estimate | None


def by_heads(runs: Runs, noise: Noise, seed: int = 0) -> tuple[Heads, ...]:
    """At each budget where one head and more were trained at a size."""
    found = []
    for budget, own in with_heads(runs.used).groupby("budget"):
        cells = noise.means(own, [*SHAPE, "heads"])
        sizes = cells.groupby("heads")["loss"].transform("size")
        cells = cells[sizes == len(cells.drop_duplicates(SHAPE))].astype({"heads": int})
        if (cells["heads"] == 1).any() and (cells["heads"] > 1).any():
            found.append(_heads(float(str(budget)), cells, noise.degrees, seed))
    return tuple(found)


def with_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """The runs that have a number of `heads`, or HYENA, with it."""
    of_each = [heads(arch, n) for arch, n in zip(rows["arch"], rows["n_heads"], strict=True)]
    return rows.assign(heads=pd.array(of_each, dtype="Int64")).dropna(subset="heads")


def heads(arch: str, n_heads: int) -> int | None:
    """Of a layout of multi-head convolutions alone, whose option, where it has one, is before the model's n_heads;
    HYENA of Hyena, which has a filter a channel; None of others."""
    terms = {term for layer in layout.parse(arch).block for term, _ in layer.parts}
    names = {term.name for term in terms}
    if names == {"hyena"}:
        return HYENA
    if names != {MIXER}:
        return None
    return next((int(value) for term in terms for name, value in term.options if name == "n_heads"), n_heads)


def _heads(budget: float, cells: pd.DataFrame, degrees: int, seed: int) -> Heads:
    # both (heads, sizes): every size has every number
    losses, errors = (cells.pivot(index="heads", columns=SHAPE, values=name) for name in ("loss", "error"))
    errors = np.sqrt((errors.to_numpy() ** 2).sum(1)) / losses.shape[1]
    values = losses.to_numpy().mean(1)
    drawn = values + errors * np.random.default_rng(seed).normal(size=(RESAMPLES, len(values)))
    resampled = np.concatenate([values[None], drawn])
    numbers = losses.index.to_numpy()
    single, several, hyena = (resampled[:, own] for own in (numbers == 1, numbers > 1, numbers == HYENA))
    doublings = np.log2(numbers[numbers > HYENA])
    doublings -= doublings.mean()
    slopes = resampled[:, numbers > HYENA] @ doublings / (doublings @ doublings)
    return Heads(
        budget,
        cells,
        {
            int(number): estimate(several[:, k] - single[:, 0], degrees, log=False)
            for k, number in enumerate(numbers[numbers > 1])
        },
        best=best_of(several, single, degrees),
        slope=estimate(slopes, degrees, log=False),
        hyena=best_of(several, hyena, degrees) if hyena.size else None,
    )
