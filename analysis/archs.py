"""The laws of a sweep's architectures, resampled together, and of the families that they make."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from eutectic.analysis.compare import Candidate, candidates
from eutectic.analysis.fit import Fit, fit, scaled_huber
from eutectic.analysis.hybrid import HybridLaw, hybrid_law
from eutectic.analysis.laws import CHINCHILLA, HYBRID_INTERIOR, Array
from eutectic.analysis.load import Runs
from eutectic.analysis.optimum import fit_cost
from eutectic.analysis.solve import Refused
from eutectic.arch import layout

RESAMPLES = 1000
WORK = 150_000  # rows resampled at most for one architecture: large tables need fewer resamples and get them
FEWEST_RESAMPLES = 100
FEWEST_SHARES = 3
SHAPE = ["n_layers", "d_model"]  # what equal sizes of different architectures have in common
CELL = ("budget", *SHAPE, "seed")  # runs of different architectures that are compared in pairs


def laws(runs: Runs, seed: int = 0, asked: Sequence[float] = ()) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Each architecture's L(N, D), resampled together with the others; and why some have none. asked: computes that
    they will be compared at beside the budgets."""
    fits: dict[str, Fit] = {}
    costs, labels, refusals = {}, {}, {}
    for arch in runs.archs:
        rows = runs.select(arch)
        params, tokens, losses, flops = columns(rows, "params", "tokens", "loss", "flops")
        x = {"N": params, "D": tokens, "C": flops}
        try:
            fits[arch] = fit(CHINCHILLA, x, losses, scaled_huber(CHINCHILLA, x, losses, seed), seed)
        except Refused as refusal:
            refusals[arch] = str(refusal)
            continue
        costs[arch] = fit_cost(params, tokens, flops)
        labels[arch] = [" ".join(map(str, cell)) for cell in rows[list(CELL)].itertuples(index=False, name=None)]
    if not fits:
        return {}, refusals
    count = resamples(max(f.n for f in fits.values()))
    found, unsure = candidates(fits, costs, labels, np.array([*runs.budgets, *asked]), count, seed)
    return found, refusals | unsure


def mix_law(runs: Runs, archs: Sequence[str], compute: Sequence[float], seed: int) -> HybridLaw:
    """L(N, D, r) of a family's architectures, and its best share at each compute. Raises Refused for none."""
    rows = runs.used[runs.used["arch"].isin(archs)]
    params, tokens, share, losses, flops = columns(rows, "params", "tokens", "attn_share", "loss", "flops")
    if len(np.unique(share)) < FEWEST_SHARES:
        raise Refused(f"a law in the share needs {FEWEST_SHARES} shares of attention")
    x = {"N": params, "D": tokens, "r": share, "C": flops}
    loss_fn = scaled_huber(HYBRID_INTERIOR, x, losses, seed)
    return hybrid_law(x, losses, fit_cost(params, tokens, flops, share), compute, loss_fn, resamples(len(rows)), seed)


def families(archs: list[str]) -> dict[str, tuple[str, ...]]:
    """Layouts by the mixers that attention is mixed with; pure attention is the end of every family."""
    kinds = {arch: mixers(arch) - {"attn"} for arch in archs}
    names = dict.fromkeys("+".join(sorted(kind)) for kind in kinds.values() if kind)
    return {name: tuple(a for a, kind in kinds.items() if not kind or "+".join(sorted(kind)) == name) for name in names}


def mixers(arch: str) -> set[str]:
    """Names of the sequence mixers in a layout: of a hybrid two or more."""
    return {term.name for layer in layout.parse(arch).block for term, _ in layer.parts}


def resamples(n: int) -> int:
    """How many resamples of a table of n rows."""
    return int(np.clip(WORK // n, FEWEST_RESAMPLES, RESAMPLES))


def columns(rows: pd.DataFrame, *names: str) -> tuple[Array, ...]:
    return tuple(rows[name].to_numpy(np.float64) for name in names)
