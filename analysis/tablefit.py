"""A law fitted to each group of a table of runs, with intervals of its parameters and of the best size it implies."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from eutectic.analysis import bootstrap
from eutectic.analysis.compare import Estimate, estimate
from eutectic.analysis.fit import HUBER, Fit, fit
from eutectic.analysis.laws import Array, Law
from eutectic.analysis.losses import LossFn
from eutectic.analysis.optimum import Cost, best_share, fit_cost, optimum
from eutectic.analysis.solve import Refused
from eutectic.analysis.table import VARIABLE, Table
from eutectic.errors import UserError

RESAMPLES = 1000
FEWEST = 100  # resamples that 95% intervals can be read from
KIND = "pairs"


@dataclass(frozen=True)
class Best:
    """The compute-optimal model at a budget (FLOPs). ratio: the best share of attention, where the law has one.

    beyond: which of these lie outside what the group's runs span.
    """

    compute: float
    cost: Cost
    params: Estimate
    tokens: Estimate
    tokens_per_param: Estimate
    loss: Estimate
    ratio: Estimate | None
    beyond: tuple[str, ...]


@dataclass(frozen=True)
class GroupFit:
    """rows: of the file, from 1, in the order of the fit's residuals. refusal: why there is no fit, or why a fit has no
    intervals. converged: share of the resamples that did."""

    group: str
    rows: tuple[int, ...]
    fit: Fit | None = None
    refusal: str = ""
    parameters: dict[str, Estimate] = dataclasses.field(default_factory=dict)
    best: Best | None = None
    converged: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        out: dict[str, Any] = {"group": self.group, "n": len(self.rows), "refusal": self.refusal}
        if self.fit is not None:
            out |= self.fit.summary()
            out |= {"intervals": {name: (e.low, e.high) for name, e in self.parameters.items()}}
            out |= {"converged": self.converged, "residuals": self.fit.residuals.tolist()}
        return out | {"optimum": self.best and dataclasses.asdict(self.best), "rows": self.rows}


@dataclass(frozen=True)
class TableFit:
    """groups: one of empty name where the table has none. resamples: by pairs, of each group; 0 gives no intervals."""

    table: Table
    loss_fn: LossFn
    resamples: int
    seed: int
    groups: tuple[GroupFit, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "law": self.table.law.name,
            "formula": self.table.law.formula,
            "loss_fn": self.loss_fn.text,
            "columns": self.table.sources,
            "n": len(self.table.used),
            "dropped": self.table.dropped.to_dict("records"),
            "bootstrap": {"kind": KIND, "resamples": self.resamples, "seed": self.seed, "level": bootstrap.LEVEL},
            "groups": [group.to_dict() for group in self.groups],
        }


def fit_table(table: Table, loss_fn: LossFn = HUBER, resamples: int = RESAMPLES, seed: int = 0) -> TableFit:
    """Fit the table's law to each group. seed: of the solver's random starts and of the bootstrap.

    A group that cannot be fitted says why in its place; raises Refused where no group can, and UserError for too few
    resamples or a negative seed.
    """
    if resamples and resamples < FEWEST:
        raise UserError(
            f"{resamples} resamples are too few for 95% intervals; give {FEWEST} or more, or 0 for no intervals."
        )
    if seed < 0:
        raise UserError(f"seed {seed} cannot be used; it must be 0 or more.")
    # in an order that is the data's own: a file with its rows shuffled gives the same digits
    used = table.used.sort_values(list(table.used.columns), kind="stable")
    parts = list(used.groupby("group")) if "group" in used else [("", used)]
    compute = float(used["flops"].max()) if "flops" in used else 0.0
    groups = tuple(_fit_group(table.law, str(name), rows, compute, loss_fn, resamples, seed) for name, rows in parts)
    if all(group.fit is None for group in groups):
        first = groups[0]
        many = f"none of {len(groups)} groups can be fitted; {first.group}: " if len(groups) > 1 else ""
        raise Refused(many + first.refusal)
    return TableFit(table, loss_fn, resamples, seed, groups)


def _fit_group(
    law: Law, group: str, rows: pd.DataFrame, compute: float, loss_fn: LossFn, resamples: int, seed: int
) -> GroupFit:
    index = tuple(int(row) for row in rows.index)
    x = {v: rows[name].to_numpy(float) for v, name in VARIABLE.items() if name in rows}
    if "N" in x and "D" in x:
        x["M"] = x["D"] / x["N"]
    try:
        found = fit(law, x, rows["loss"], loss_fn, seed)
    except Refused as refused:
        return GroupFit(group, index, refusal=str(refused))
    theta, converged, refusal = found.theta[None], None, ""
    if resamples:
        try:
            drawn = bootstrap.resample(found, resamples, seed, KIND)
            theta, converged = np.concatenate([theta, drawn.theta]), drawn.converged
        except Refused as refused:
            refusal = str(refused)
    return GroupFit(group, index, found, refusal, _parameters(found, theta), _best(found, theta, x, compute), converged)


def _parameters(found: Fit, theta: Array) -> dict[str, Estimate]:
    """Of all but modifiers, which have either sign, intervals are widened as ratios, and stay positive."""
    return {
        p.name: _estimate(found, np.exp(theta[:, k]) if p.logarithmic else theta[:, k], p.kind != "modifier")
        for k, p in enumerate(found.law.parameters)
    }


def _best(found: Fit, theta: Array, x: dict[str, Array], compute: float) -> Best | None:
    """None for a law that is not one of parameters and tokens, or of these and the share of attention."""
    if found.law.inputs not in (("N", "D"), ("N", "D", "r")):
        return None
    mixed = "r" in found.law.inputs
    cost = fit_cost(x["N"], x["D"], x["C"], x["r"] if mixed else None)
    solve = best_share if mixed else optimum
    at = solve(found.law, theta[:, None], cost, np.array([compute]))
    params, tokens = at.params[:, 0], at.tokens[:, 0]
    spans = {"params": (params[0], x["N"]), "tokens": (tokens[0], x["D"])}
    return Best(
        compute=compute,
        cost=cost,
        params=_estimate(found, params, True),
        tokens=_estimate(found, tokens, True),
        tokens_per_param=_estimate(found, tokens / params, True),
        loss=_estimate(found, at.loss[:, 0], True),
        ratio=None if at.share is None else _share(found, at.share[:, 0]),
        beyond=tuple(n for n, (best, there) in spans.items() if not there.min() <= best <= there.max()),
    )


def _share(found: Fit, values: Array) -> Estimate:
    """Its interval, which Student's t widens, stays within 0 and 1."""
    ratio = _estimate(found, values, False)
    return dataclasses.replace(ratio, low=max(ratio.low, 0.0), high=min(ratio.high, 1.0))


def _estimate(found: Fit, values: Array, log: bool) -> Estimate:
    """values: at the fit, then at each resample, if there are any."""
    if len(values) == 1:
        return Estimate(float(values[0]), np.nan, np.nan)
    return estimate(values, found.degrees, log)
