"""The answer at a compute budget: which architecture, how large, on how many tokens, how trained, to what loss."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq, nnls

from eutectic.analysis.archs import columns, families, laws, mix_law
from eutectic.analysis.audit import audit, best_law
from eutectic.analysis.compare import (
    Candidate,
    Estimate,
    crossover,
    missized,
    multiplier,
    win_probability,
)
from eutectic.analysis.hybrid import ShareOptimum
from eutectic.analysis.laws import CHINCHILLA, Array
from eutectic.analysis.load import Runs
from eutectic.analysis.settings import Basis, beyond, settings
from eutectic.analysis.solve import Refused
from eutectic.errors import UserError
from eutectic.sweeps.cost import UTILIZATION
from eutectic.sweeps.recipe import LADDER
from eutectic.train.peaks import MEASURED, PEAKS

WIDTH_STEP, DEPTH_STEP = 128, 4  # shapes beyond the ladder are rounded to these
FARTHEST = 10  # decades from the budgets, beyond which a law says nothing
NAN = float("nan")


@dataclass(frozen=True)
class Rung:
    """A depth and width with its parameters. where: `ladder` for its nearest rung; `beyond` it, by its last rung's
    width over depth; `below` it, for its first rung, which is larger than asked for."""

    n_layers: int
    d_model: int
    params: float
    where: str


@dataclass(frozen=True)
class Share:
    """The best share of attention of a family by its hybrid law. p_none: of no dependence on the share. optimum: None
    where the law chosen has none, or where there is no law, by refusal. fit: its summary, empty without."""

    family: str
    law: str
    p_none: float
    optimum: ShareOptimum | None
    refusal: str = ""
    fit: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reach:
    """How far an answer lies from the runs: decades above the largest budget, size and tokens trained, negative below
    the smallest, 0 between.

    audited: decades above its data at which the same law was tried on held-out budgets, nearest to these; rms: of
    ln(observed / predicted) there, over n runs; NaN and 0 where no budget could be held out. best_law: of least
    held-out error.
    """

    compute: float
    params: float
    tokens: float
    audited: float
    rms: float
    n: int
    best_law: str


@dataclass(frozen=True)
class Duel:
    """a against b at a compute. multiplier: a reaches b's loss with this share of its FLOPs. wins: how often a's loss
    is the lower. missized: nats that a, then b, lose when four times too small and too large."""

    a: str
    b: str
    multiplier: Estimate
    crossover: Estimate
    losses: tuple[Estimate, Estimate]
    wins: float
    missized: tuple[tuple[Estimate, Estimate], tuple[Estimate, Estimate]]


@dataclass(frozen=True)
class Answer:
    """What to train with `compute` FLOPs: the architecture of lowest predicted loss, and all else for that one.

    wins: for each architecture, the share of resamples in which its loss is lowest. losses: of each, lowest first.
    fits: the summary of each one's law, with its certificate. rungs: for params, and for the ends of its interval. lr:
    peak; batch: tokens a step; basis: what each of the two rests on, by name. refusals: why an architecture has no law,
    and no part in this. dropped: runs left out of n_runs, by reason.
    """

    compute: float
    arch: str
    attn_share: float
    wins: dict[str, float]
    losses: dict[str, Estimate]
    fits: dict[str, dict[str, Any]]
    params: Estimate
    tokens: Estimate
    loss: Estimate
    perplexity: Estimate
    rungs: tuple[Rung, Rung, Rung]
    lr: Estimate
    batch: Estimate
    basis: dict[str, Basis]
    shares: tuple[Share, ...]
    reach: Reach
    refusals: dict[str, str]
    n_runs: int
    dropped: dict[str, int]
    budgets: tuple[float, ...]
    convention: str
    tokenizer: str
    duel: Duel | None = None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def compute_of(hours: float, device: str, runs: Runs) -> tuple[float, str]:
    """FLOPs that a device's hours buy, and how they were counted. Raises UserError for a device of unknown speed."""
    known = device.lower()
    if known in PEAKS:
        rate = PEAKS[known] * UTILIZATION
        source = "measured" if known in MEASURED else "its vendor's figure"
        peak = f"{PEAKS[known] / 1e12:g} TFLOP/s (dense bf16, {source})"
        return hours * 3600 * rate, f"{hours:g} h of {known} at {UTILIZATION:.0%} of {peak}"
    if known != "cpu":
        raise UserError(
            f"no speed is known of device {device!r}; there are {', '.join(PEAKS)} and cpu, or use --flops."
        )
    own = runs.used[runs.used["threads"] > 0]
    if own.empty:
        where = runs.used["device"].iloc[0]
        raise UserError(f"these runs were trained on {where}, which does not tell a CPU's speed; use --flops.")
    rate = float(own["flops"].sum() / own["seconds"].sum())
    return hours * 3600 * rate, f"{hours:g} h of one worker of these runs, at their {rate / 1e9:.3g} GFLOP/s"


def predict(
    runs: Runs, compute: float, versus: tuple[str, str] | None = None, seed: int = 0, tuning: Runs | None = None
) -> Answer:
    """The answer at `compute` FLOPs. versus: two architectures to compare there. tuning: the runs whose laws its
    learning rate and batch are by, these by default. Raises UserError where the runs hold no law, or not of these."""
    _require(runs, versus)
    found, refusals = laws(runs, seed, asked=(compute,))
    if not found:
        sizes = (
            " Runs of one size at several settings count as one; tune several sizes (`eutectic tune --sizes 5`), or "
            "sweep them by this tuning (`eutectic sweep --settings`) under another --name."
        )
        raise UserError(
            f"no architecture of these runs has a law to predict by: {next(iter(refusals.values()))}"
            + sizes * (len(runs.tried) > len(runs.used))
        )
    away = max(np.log10(compute / max(runs.budgets)), np.log10(min(runs.budgets) / compute))
    if away > FARTHEST:
        raise UserError(
            f"{compute:.3g} FLOPs are {away:.1f} decades from the budgets trained, {min(runs.budgets):.3g} to "
            f"{max(runs.budgets):.3g}; ask within {FARTHEST} decades of them."
        )
    at = np.array([compute])
    losses = {arch: c.estimate(c.optimum(at).loss[:, 0]) for arch, c in found.items()}
    ranked = dict(sorted(losses.items(), key=lambda item: item[1].value))
    arch = next(iter(ranked))
    rows, best = runs.select(arch), found[arch].optimum(at)
    params, tokens, loss = (found[arch].estimate(v[:, 0]) for v in (best.params, best.tokens, best.loss))
    chosen = settings(runs, arch, {"params": params, "tokens": tokens}, tuning)
    if tuning is not None and not any(basis.tuned for _, basis in chosen.values()):
        raise UserError(
            f"the tuning of --settings has no law of the learning rate or batch of {arch}: it needs three sizes of it "
            "with an optimum; tune more, or leave out --settings."
        )
    return Answer(
        compute=compute,
        arch=arch,
        attn_share=float(rows["attn_share"].iloc[0]),
        wins={name: float(p[0]) for name, p in win_probability(found, at).items()},
        losses=ranked,
        fits={name: found[name].fit.summary() for name in ranked},
        params=params,
        tokens=tokens,
        loss=loss,
        perplexity=_perplexity(loss),
        rungs=_rungs(rows, params),
        lr=chosen["lr"][0],
        batch=chosen["batch"][0],
        basis={target: basis for target, (_, basis) in chosen.items()},
        shares=tuple(
            _share(runs, name, archs, compute, seed) for name, archs in families(runs.archs).items() if arch in archs
        ),
        reach=_reach(runs, arch, compute, params.value, tokens.value, seed),
        refusals=refusals,
        n_runs=len(runs.used),
        dropped={str(reason): int(n) for reason, n in runs.dropped["reason"].value_counts().items()},
        budgets=tuple(runs.budgets),
        convention=str(runs.used["convention"].iloc[0]),
        tokenizer=str(runs.used["tokenizer"].iloc[0]),
        duel=_duel(found, refusals, versus, compute) if versus else None,
    )


def _require(runs: Runs, versus: Sequence[str] | None) -> None:
    for arch in versus or ():
        if arch not in runs.archs:
            raise UserError(f"no runs of architecture {arch!r} here; there are {', '.join(runs.archs)}.")
    if len(runs.budgets) < 2:
        raise UserError(
            f"these runs have one budget, {runs.budgets[0]:.3g} FLOPs, and two or more are needed to predict another; "
            "run `eutectic sweep --budget` with more."
        )


@np.errstate(over="ignore")  # far from the runs losses have no end, and their perplexities overflow
def _perplexity(loss: Estimate) -> Estimate:
    value, low, high = np.exp([loss.value, loss.low, loss.high])
    return Estimate(float(value), float(low), float(high), loss.share)


def _rungs(rows: pd.DataFrame, params: Estimate) -> tuple[Rung, Rung, Rung]:
    """Parameters of any shape by those of the runs': so much a layer and width squared, a layer and width, a width."""
    layers, width, trained = columns(rows, "n_layers", "d_model", "params")
    weights, _ = nnls(_features(layers, width) / trained[:, None], np.ones(len(trained)))

    def count(n_layers: float, d_model: float) -> float:
        return float(_features(np.float64(n_layers), np.float64(d_model)) @ weights)

    sizes = [count(shape.n_layers, shape.d_model) for shape in LADDER]
    last = LADDER[-1]

    def rung(wanted: float) -> Rung:
        if np.isnan(wanted):
            return Rung(0, 0, NAN, "unknown")
        if wanted <= sizes[-1]:
            k = int(np.abs(np.log(np.array(sizes) / wanted)).argmin())
            return Rung(LADDER[k].n_layers, LADDER[k].d_model, sizes[k], "ladder" if wanted >= sizes[0] else "below")
        slope = last.n_layers / last.d_model
        exact = brentq(lambda z: np.log(count(slope * np.exp(z), np.exp(z)) / wanted), np.log(last.d_model), 100.0)
        d_model = WIDTH_STEP * max(1, round(np.exp(exact) / WIDTH_STEP))
        n_layers = DEPTH_STEP * max(1, round(slope * np.exp(exact) / DEPTH_STEP))
        return Rung(n_layers, d_model, count(n_layers, d_model), "beyond")

    return rung(params.value), rung(params.low), rung(params.high)


def _features(layers: Array | np.float64, width: Array | np.float64) -> Array:
    return np.stack([layers * width**2, layers * width, width], -1)


def _share(runs: Runs, name: str, archs: Sequence[str], compute: float, seed: int) -> Share:
    try:
        law = mix_law(runs, archs, (compute,), seed)
    except Refused as refusal:
        return Share(name, "", NAN, None, str(refusal))
    best = law.optima[0] if law.optima else None
    return Share(name, law.fit.law.name, law.p_none, best, fit=law.fit.summary())


def _reach(runs: Runs, arch: str, compute: float, params: float, tokens: float, seed: int) -> Reach:
    rows = runs.select(arch)
    away = [beyond(v, rows[name]) for v, name in ((compute, "budget"), (params, "params"), (tokens, "tokens"))]
    held = audit(dataclasses.replace(runs, used=rows), seed)
    tried = [h for h in held if h.law == CHINCHILLA.name and not h.refusal]
    if not tried:
        return Reach(away[0], away[1], away[2], NAN, NAN, 0, "")
    nearest = min((h.decades for h in tried), key=lambda d: abs(d - abs(away[0])))
    same = [h for h in tried if np.isclose(h.decades, nearest)]
    n = sum(h.n for h in same)
    rms = float(np.sqrt(sum(h.n * h.rms**2 for h in same) / n))
    return Reach(away[0], away[1], away[2], nearest, rms, n, best_law(held)[arch])


def _duel(found: Mapping[str, Candidate], refusals: Mapping[str, str], versus: tuple[str, str], compute: float) -> Duel:
    for arch in versus:
        if arch in refusals:
            raise UserError(f"{arch} has no law to compare by: {refusals[arch]}")
    at = np.array([compute])
    a, b = (found[arch] for arch in versus)
    return Duel(
        *versus,
        multiplier(a, b, at)[0],
        crossover(a, b, at),
        (a.estimate(a.optimum(at).loss[:, 0]), b.estimate(b.optimum(at).loss[:, 0])),
        float(win_probability({"a": a, "b": b}, at)["a"][0]),
        (missized(a, compute), missized(b, compute)),
    )
