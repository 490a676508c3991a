"""What the page of a campaign holds, as plain values: every run, and what its figures draw, by convention of FLOPs."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eutectic.analysis.archs import columns
from eutectic.analysis.campaign import compared
from eutectic.analysis.campaign import parts as folders_of
from eutectic.analysis.compare import Estimate
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.figures import style
from eutectic.analysis.figures.curves import curves as curves_of
from eutectic.analysis.hours import HOUR, busy_hours
from eutectic.analysis.isoflop import IsoflopOptimum
from eutectic.analysis.load import Runs, read, shares_of, with_curves
from eutectic.analysis.minima import near
from eutectic.analysis.optimum import fit_cost
from eutectic.analysis.ratio import HybridOptimum
from eutectic.analysis.recount import CONVENTIONS, flops, recounted
from eutectic.analysis.report import Report, fits, report
from eutectic.analysis.unfinished import Unfinished, of_parts
from eutectic.sweeps import left_out

CURVE, SHARES = 60, 41  # points of what is drawn of a parabola
MOST_POINTS = 100  # of a training curve
RUN = (
    *("run_id", "status", "arch", "attn_share", "budget", "n_layers", "d_model", "params", "tokens", "lr"),
    *("batch_size", "seed", "loss", "bytes_per_token", "repeated_share", "seconds"),
)


@dataclass(frozen=True)
class Counted:
    """A sweep's runs with their FLOPs by one convention, and what they come to."""

    runs: Runs
    report: Report


@dataclass(frozen=True)
class Part:
    """A sweep of a campaign. frame: every row of its runs, those that no fit uses included; counted: by convention,
    that of its plan first and alone audited; unfinished: runs that have no row; left_out: cells never planned."""

    name: str
    frame: pd.DataFrame
    counted: Mapping[str, Counted]
    unfinished: Sequence[Unfinished]
    left_out: Sequence[left_out.Cell]

    @property
    def own(self) -> Counted:
        return next(iter(self.counted.values()))

    @functools.cached_property
    def reasons(self) -> dict[str, str]:
        """Why runs are in no fit, by run_id."""
        return {run_id: reason for run_id, _, _, reason in self.own.report.dropped}


def read_parts(folder: Path) -> tuple[Evidence, dict[str, Part]]:
    """Of a campaign's folder, or of a sweep's by itself. Raises UserError as campaign.parts() and load.load() do."""
    folders = folders_of(folder)
    frames = {name: read(path) for name, path in folders.items()}
    evidence = Evidence({name: with_curves(folders[name], frame) for name, frame in frames.items()})
    missing = of_parts(folders, frames)
    return evidence, {
        name: Part(name, frame, _counted(evidence, name), missing[name], left_out.read(folders[name]))
        for name, frame in frames.items()
    }


def _counted(evidence: Evidence, name: str) -> dict[str, Counted]:
    """By convention; isoFLOP optima are those that the claims rest on, whatever the compute of a budget is called."""
    runs, seed, by = evidence.parts[name], evidence.seed, evidence.optima_by
    own, optima = str(runs.used["convention"].iloc[0]), evidence.optima(name)
    counted = {own: Counted(runs, report(runs, seed, optima, by))}
    for convention in CONVENTIONS:
        if convention != own:
            other = recounted(runs, convention)
            called = dict(zip(runs.used["budget"], other.used["budget"], strict=True))
            moved = [replace(one, budget=called[one.budget]) for one in optima]
            counted[convention] = Counted(other, fits(other, seed, moved, by))
    return counted


@dataclass(frozen=True)
class Facts:
    """What a campaign took, failures and what no claim compares included. statuses: runs by status; compared: runs, in
    these parts, of so many architectures, seeds and budgets; planned: runs without a row; flops, by the parts'
    conventions; run_hours: of all runs added up, busy_hours: with those that shared a device counted once. corpora:
    names with the hashes of their documents."""

    runs: int
    statuses: Mapping[str, int]
    compared: int
    parts: tuple[str, ...]
    archs: int
    seeds: tuple[int, ...]
    budgets: tuple[float, ...]
    planned: int
    devices: tuple[str, ...]
    flops: float
    tokens: int
    run_hours: float
    busy_hours: float
    corpora: tuple[tuple[str, str], ...]
    tokenizers: tuple[str, ...]
    conventions: tuple[str, ...]
    conv_algorithms: tuple[str, ...]
    commits: tuple[str, ...]
    torch: tuple[str, ...]
    eutectic: tuple[str, ...]
    recipes: tuple[str, ...]


def facts(parts: Mapping[str, Part]) -> Facts:
    frame = pd.concat([part.frame for part in parts.values()], ignore_index=True)
    frame = frame.drop_duplicates("run_id")  # parts may share runs

    own = {name: runs.used for name, runs in compared({name: part.own.runs for name, part in parts.items()}).items()}
    used = pd.concat(own.values()).drop_duplicates("run_id")

    def different(name: str, rows: pd.DataFrame = frame) -> tuple[Any, ...]:
        return tuple(sorted(rows[name].dropna().unique().tolist()))

    corpora = frame[["source", "corpus_sha256"]].drop_duplicates().itertuples(index=False, name=None)
    return Facts(
        runs=len(frame),
        statuses={str(name): int(n) for name, n in frame["status"].value_counts().items()},
        compared=len(used),
        parts=tuple(name for name, rows in own.items() if len(rows)),
        archs=used["arch"].nunique(),
        seeds=different("seed", used),
        budgets=different("budget", used),
        planned=len({one.run_id for part in parts.values() for one in part.unfinished}),
        devices=different("device"),
        flops=float(frame["flops"].sum()),
        tokens=int(frame["tokens"].sum()),
        run_hours=float(frame["seconds"].sum()) / HOUR,
        busy_hours=busy_hours(frame),
        corpora=tuple(corpora),
        tokenizers=different("tokenizer"),
        conventions=different("convention"),
        conv_algorithms=different("conv_algorithm"),
        commits=different("commit"),
        torch=different("torch"),
        eutectic=different("eutectic"),
        recipes=different("recipe"),
    )


def payload(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Of the page's script. NaN and infinities are None; losses are nats per token."""
    frames = [
        part.frame.assign(part=name, reason=[part.reasons.get(run_id, "") for run_id in part.frame["run_id"]])
        for name, part in parts.items()
    ]
    frame = pd.concat(frames, ignore_index=True)
    convention = next(iter(parts.values())).own.report.convention
    return {
        "convention": convention,
        "conventions": sorted(CONVENTIONS, key=lambda one: one != convention),
        "archs": _archs(frame, next(iter(parts.values())).own.runs),
        "runs": _runs(frame),
        "parts": [_part(part, frame[frame["part"] == name]) for name, part in parts.items()],
    }


def _archs(frame: pd.DataFrame, first: Runs) -> list[dict[str, Any]]:
    """Names and looks, from no attention to all; those of the first part as in its figures."""
    shares = shares_of(frame)
    looks = style.looks(list(shares), shares) | style.looks(first.archs, first.shares)
    return [
        {
            "name": arch,
            "share": shares[arch],
            "colour": style.hexadecimal(look),
            "symbol": style.SYMBOLS[look["marker"]],
            "dash": style.STROKES[style.stroke(arch)],
        }
        for arch, look in looks.items()
    ]


def _runs(frame: pd.DataFrame) -> dict[str, Any]:
    """By column, a value for each run."""
    found = {name: _plain(frame[name]) for name in (*RUN, "part", "reason")}
    return found | {"flops": {name: _plain(flops(frame, name)) for name in CONVENTIONS}}


def _part(part: Part, rows: pd.DataFrame) -> dict[str, Any]:
    """rows: of all parts' runs, those of this one."""
    runs, found = part.own.runs, part.own.report
    return {
        "name": part.name,
        "budgets": list(found.budgets),
        "bytes_per_token": found.bytes_per_token,
        "used": [int(i) for i in rows.index[rows["reason"] == ""]],
        "budget_colours": style.budget_colours(len(found.budgets)),
        "optima": [_optimum(one, runs) for one in found.optima],
        "frontier": {name: _frontier(part, one) for name, one in part.counted.items()},
        "multipliers": {name: _multipliers(one.report) for name, one in part.counted.items()},
        "families": [
            {"name": f.name, "ratios": [_ratio(h, found) for h in f.ratios]} for f in found.families if f.mixed
        ],
        "curves": _curves(runs, rows),
    }


def _optimum(one: IsoflopOptimum, runs: Runs) -> dict[str, Any]:
    """curve: over the sizes that it was fitted to."""
    rows = runs.select(one.arch, one.budget)
    sizes = (rows if len(rows) == one.n_runs else near(rows))["params"]
    at = np.geomspace(sizes.min(), sizes.max(), CURVE)
    drawn = one.coefficients is not None
    return {
        "arch": one.arch,
        "budget": one.budget,
        "status": one.status,
        "runs": one.n_runs,
        "params": [one.params, *(one.params_interval or (None, None))],
        "loss": [one.loss, *(one.loss_interval or (None, None))],
        "curve": {"params": _plain(at), "loss": _plain(one.predict(at))} if drawn else None,
    }


def _frontier(part: Part, one: Counted) -> dict[str, Any] | None:
    """Of each architecture, points at what its isoFLOP optima cost, and the law's line as far as any cost; None for one
    budget."""
    if len(one.report.budgets) < 2:
        return None
    costs = {arch: _costs(one, arch) for arch in one.runs.archs} if one is not part.own else {}
    every = np.concatenate([*costs.values(), one.report.budgets])
    # of the points the losses alone are drawn, and sizes may have no interval
    optima = [replace(o, params_interval=o.params_interval or (np.nan, np.nan)) for o in one.report.optima]
    ends = tuple(sorted({every.min(), every.max()}))
    found = curves_of(one.runs, replace(one.report, budgets=ends, optima=tuple(optima)))
    if found is None:
        return None
    drawn = {}
    for arch, both in found.items():
        points = both.points["loss"]
        points = replace(points, compute=costs.get(arch, points.compute))
        drawn[arch] = {
            kind: {name: _plain(getattr(curve, name)) for name in ("compute", "value", "low", "high")}
            for kind, curve in (("points", points), ("line", both.lines.get("loss")))
            if curve is not None
        }
    return drawn


def _costs(one: Counted, arch: str) -> Any:
    """FLOPs of an architecture's isoFLOP optima, by rising budget."""
    found = [o for o in one.report.optima if o.arch == arch and o.status == "optimum"]
    cost = fit_cost(*columns(one.runs.select(arch), "params", "tokens", "flops"))
    n, d = (np.array([getattr(o, name) for o in found], float) for name in ("params", "tokens"))
    return d * np.exp(cost.log(np.log(n)))


def _multipliers(found: Report) -> list[dict[str, Any]]:
    return [
        {
            "arch": row.arch,
            "reference": row.reference,
            "compute": list(found.budgets),
            "values": [_estimate(one) for one in row.multipliers],
        }
        for row in found.comparisons
    ]


def _ratio(one: HybridOptimum, found: Report) -> dict[str, Any]:
    """Losses with 95% intervals, those of the isoFLOP optima."""
    optima = [found.optimum(arch, one.budget) for arch in one.archs]
    intervals = [o.loss_interval for o in optima if o is not None and o.loss_interval is not None]
    shares = np.linspace(min(one.shares), max(one.shares), SHARES)
    curve = None
    if one.coefficients is not None:
        curve = {"shares": _plain(shares), "loss": _plain(np.polynomial.polynomial.polyval(shares, one.coefficients))}
    return {
        "budget": one.budget,
        "verdict": one.verdict,
        "archs": list(one.archs),
        "shares": list(one.shares),
        "losses": list(one.losses),
        "low": [low for low, _ in intervals],
        "high": [high for _, high in intervals],
        "best_loss": one.best_loss,
        "share": [one.share, *(one.interval or (None, None))],
        "curve": curve,
    }


def _curves(runs: Runs, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The training loss of the best run of each architecture and budget. run: its place among all parts' runs."""
    best = runs.used.loc[runs.used.groupby(["arch", "budget"])["loss"].idxmin(), "run_id"]
    places = dict(zip(rows["run_id"], rows.index.tolist(), strict=True))
    found = []
    for run_id, curve in runs.curves[runs.curves["run_id"].isin(best)].groupby("run_id", observed=True, sort=False):
        thin = curve.iloc[:: -(-len(curve) // MOST_POINTS)]
        found.append({"run": places[str(run_id)], "tokens": _plain(thin["tokens"]), "loss": _plain(thin["train_loss"])})
    return sorted(found, key=lambda one: one["run"])


def _estimate(one: Estimate) -> list[float | None]:
    return [v if np.isfinite(v) else None for v in (one.value, one.low, one.high)]


def _plain(values: Any) -> list[Any]:
    """Numbers and words as JSON has them; None for what is missing, NaN or infinite."""
    listed = values.tolist()
    return [None if v is None or (isinstance(v, float) and not np.isfinite(v)) else v for v in listed]
