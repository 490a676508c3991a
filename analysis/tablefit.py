"""A law fitted to each group of a table of runs, with intervals of its parameters and of the best size it implies."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from eutectic.analysis import bootstrap
from eutectic.analysis.compare import Estimate, estimate
from eutectic.analysis.fit import HUBER, Fit, fit
from eutectic.analysis.hybrid import likelihood_ratio
from eutectic.analysis.laws import CHINCHILLA, Array, Law
from eutectic.analysis.losses import LossFn
from eutectic.analysis.optimum import Cost, best_share, fit_cost, optimum
from eutectic.analysis.profile import Profile, profile
from eutectic.analysis.solve import Refused
from eutectic.analysis.table import VARIABLE, Rows, Table, counted
from eutectic.errors import UserError

RESAMPLES = 1000
FEWEST = 100  # resamples that 95% intervals can be read from
BY_ROW = ("pairs", "wild")  # resampling that takes every row by itself
COST_ERROR = 0.5  # of a law of the runs' FLOPs; attention alone, which N and D do not tell, makes a third at most


@dataclass(frozen=True)
class Settings:
    """kind: of the resamples, pairs, wild, or cluster, which draws the values of the table's cluster column. resamples:
    of each group; 0 gives no intervals. seed: of them and of the solver's random starts. profiles: whether parameters
    get intervals by profile likelihood as well."""

    loss_fn: LossFn
    kind: str
    resamples: int
    seed: int
    profiles: bool


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
    intervals; unpriced: why it has no best size. converged: share of the resamples that did. p_none: of no dependence
    on the share of attention, for a law in it, where there is a law without. profiles: by parameter; unprofiled: why
    one has none."""

    group: str
    rows: tuple[int, ...]
    fit: Fit | None = None
    refusal: str = ""
    unpriced: str = ""
    parameters: dict[str, Estimate] = dataclasses.field(default_factory=dict)
    best: Best | None = None
    converged: float | None = None
    p_none: float | None = None
    profiles: dict[str, Profile] = dataclasses.field(default_factory=dict)
    unprofiled: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        out: dict[str, Any] = {"group": self.group, "n": len(self.rows), "refusal": self.refusal}
        if self.fit is not None:
            out |= self.fit.summary()
            out |= {"intervals": {name: (e.low, e.high) for name, e in self.parameters.items()}}
            out |= {"profiles": {name: p.interval for name, p in self.profiles.items()}, "unprofiled": self.unprofiled}
            out |= {
                "unpriced": self.unpriced,
                "converged": self.converged,
                "p_none": self.p_none,
                "residuals": self.fit.residuals.tolist(),
            }
        return out | {"optimum": self.best and dataclasses.asdict(self.best), "rows": self.rows}


@dataclass(frozen=True)
class TableFit:
    """groups: one of empty name where the table has none."""

    table: Table
    settings: Settings
    groups: tuple[GroupFit, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        how = self.settings
        return {
            "law": self.table.law.name,
            "formula": self.table.law.formula,
            "loss_fn": how.loss_fn.text,
            "columns": self.table.sources,
            "n": len(self.table.used),
            "dropped": self.table.dropped.to_dict("records"),
            "bootstrap": {"kind": how.kind, "resamples": how.resamples, "seed": how.seed, "level": bootstrap.LEVEL},
            "groups": [group.to_dict() for group in self.groups],
        }


def fit_table(
    table: Table,
    loss_fn: LossFn = HUBER,
    resamples: int = RESAMPLES,
    seed: int = 0,
    kind: str = "pairs",
    profiles: bool = False,
) -> TableFit:
    """Fit the table's law to each group; the rest as in Settings.

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
    parts = [(str(name), rows) for name, rows in used.groupby("group")] if "group" in used else [("", used)]
    costs = [_cost(table.law, rows) for _, rows in parts]
    priced = [rows["flops"].max() for (_, rows), cost in zip(parts, costs, strict=True) if _known(cost)]
    compute = float(max(priced, default=0.0))
    settings = Settings(loss_fn, kind, resamples, seed, profiles)
    groups = tuple(
        _fit_group(table.law, name, rows, cost, compute, settings)
        for (name, rows), cost in zip(parts, costs, strict=True)
    )
    if all(group.fit is None for group in groups):
        raise refuse_all(table, groups)
    return TableFit(table, settings, groups)


class Refusal(Protocol):
    """Of a group."""

    @property
    def group(self) -> str: ...
    @property
    def refusal(self) -> str: ...


def refuse_all(table: Rows, groups: Sequence[Refusal]) -> Refused:
    """For the first group's reason, as none can be fitted."""
    first, n = groups[0], len(table.dropped)
    many = f"none of {len(groups)} groups can be fitted; {first.group}: " if len(groups) > 1 else ""
    left_out = f" {n} {'rows were' if n > 1 else 'row was'} left out: {counted(table.dropped['reason'])}." if n else ""
    return Refused(many + first.refusal + left_out)


def _cost(law: Law, rows: pd.DataFrame) -> Cost | None:
    """None for a law that is not one of parameters and tokens, or of these and the share of attention."""
    if law.inputs not in (("N", "D"), ("N", "D", "r")):
        return None
    names = ("params", "tokens", "flops", *(("ratio",) if "r" in law.inputs else ()))
    return fit_cost(*(rows[name].to_numpy(float) for name in names))


def _known(cost: Cost | None) -> bool:
    """Whether the runs' FLOPs are a function of their size and tokens."""
    return cost is not None and cost.error <= COST_ERROR


def _fit_group(
    law: Law, group: str, rows: pd.DataFrame, cost: Cost | None, compute: float, settings: Settings
) -> GroupFit:
    index = tuple(int(row) for row in rows.index)
    x = {v: rows[name].to_numpy(float) for v, name in VARIABLE.items() if name in rows}
    if "N" in x and "D" in x:
        x["M"] = x["D"] / x["N"]
    try:
        found = fit(law, x, rows["loss"], settings.loss_fn, settings.seed)
    except Refused as refused:
        return GroupFit(group, index, refusal=str(refused))
    theta, degrees, converged, refusal = _drawn(found, rows, settings)
    p_none = _p_none(found, x, rows["loss"], settings) if "r" in law.inputs else None
    profiles, unprofiled = _profiles(found) if settings.profiles else ({}, {})
    return GroupFit(
        group=group,
        rows=index,
        fit=found,
        refusal=refusal,
        unpriced="" if cost is None or _known(cost) else _unpriced(cost),
        parameters=parameters(law, theta, degrees),
        best=_best(law, theta, x, cost, compute, degrees) if cost is not None and _known(cost) else None,
        converged=converged,
        p_none=p_none,
        profiles=profiles,
        unprofiled=unprofiled,
    )


def _p_none(found: Fit, x: dict[str, Array], losses: pd.Series, settings: Settings) -> float | None:
    try:
        return likelihood_ratio(fit(CHINCHILLA, x, losses, settings.loss_fn, settings.seed), found)
    except Refused:
        return None


def _drawn(found: Fit, rows: pd.DataFrame, settings: Settings) -> tuple[Array, int, float | None, str]:
    """Parameters of the fit and of its resamples, (1 + count, p); degrees of freedom to widen their intervals by; the
    share of resamples that converged; and why there are none."""
    clusters, degrees = None, found.degrees
    if settings.kind == "cluster":
        clusters = rows["cluster"].tolist()
        # as is usual (Cameron & Miller 2015, section VI): in simulations of 8 clusters 93% cover, and 89% with n - p
        degrees = min(degrees, len(set(clusters)) - 1)
    if settings.resamples == 0:
        return found.theta[None], degrees, None, ""
    try:
        drawn = bootstrap.resample(found, settings.resamples, settings.seed, settings.kind, clusters)
    except Refused as refused:
        return found.theta[None], degrees, None, str(refused)
    return np.concatenate([found.theta[None], drawn.theta]), degrees, drawn.converged, ""


def _profiles(found: Fit) -> tuple[dict[str, Profile], dict[str, str]]:
    """By parameter; and why others have none."""
    profiles, refusals = {}, {}
    for name in found.law.names:
        try:
            profiles[name] = profile(found, name)
        except Refused as refused:
            refusals[name] = str(refused)
    return profiles, refusals


def parameters(law: Law, theta: Array, degrees: int) -> dict[str, Estimate]:
    """Of all but modifiers, which have either sign, intervals are widened as ratios, and stay positive."""
    return {
        p.name: _estimate(np.exp(theta[:, k]) if p.logarithmic else theta[:, k], degrees, p.kind != "modifier")
        for k, p in enumerate(law.parameters)
    }


def _unpriced(cost: Cost) -> str:
    return (
        f"no best size is given: FLOPs are up to {cost.error:.0%} off any law of parameters and tokens; see that "
        "--params, --tokens and --flops name the right columns."
    )


def _best(law: Law, theta: Array, x: dict[str, Array], cost: Cost, compute: float, degrees: int) -> Best:
    mixed = "r" in law.inputs
    solve = best_share if mixed else optimum
    at = solve(law, theta[:, None], cost, np.array([compute]))
    params, tokens = at.params[:, 0], at.tokens[:, 0]
    spans = {"params": (params[0], x["N"]), "tokens": (tokens[0], x["D"])}
    return Best(
        compute=compute,
        cost=cost,
        params=_estimate(params, degrees, True),
        tokens=_estimate(tokens, degrees, True),
        tokens_per_param=_estimate(tokens / params, degrees, True),
        loss=_estimate(at.loss[:, 0], degrees, True),
        ratio=None if at.share is None else _share(at.share[:, 0], degrees),
        beyond=tuple(n for n, (best, there) in spans.items() if not there.min() <= best <= there.max()),
    )


def _share(values: Array, degrees: int) -> Estimate:
    """Its interval, which Student's t widens, stays within 0 and 1."""
    ratio = _estimate(values, degrees, False)
    return dataclasses.replace(ratio, low=max(ratio.low, 0.0), high=min(ratio.high, 1.0))


def _estimate(values: Array, degrees: int, log: bool) -> Estimate:
    """values: at the fit, then at each resample, if there are any."""
    if len(values) == 1:
        return Estimate(float(values[0]), np.nan, np.nan)
    return estimate(values, degrees, log)
