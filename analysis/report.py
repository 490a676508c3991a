"""Everything the runs of a sweep say, as one value: optima, laws, comparisons and the best mix, with what was used."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eutectic.analysis import envelope, isoflop
from eutectic.analysis.archs import FEWEST_SHARES, columns, families, laws, mix_law
from eutectic.analysis.audit import NONE, Audits, audits
from eutectic.analysis.compare import Candidate, Estimate, crossover, missized, multiplier, win_probability
from eutectic.analysis.envelope import Envelope
from eutectic.analysis.fit import Fit
from eutectic.analysis.frontier import Agreement, Frontier, agreement, frontier
from eutectic.analysis.hybrid import HybridLaw
from eutectic.analysis.isoflop import IsoflopOptimum, Method
from eutectic.analysis.laws import Law
from eutectic.analysis.load import Runs
from eutectic.analysis.ratio import HybridOptimum, hybrid_optimum
from eutectic.analysis.solve import Refused

OTHER_CURVES: tuple[Method, ...] = ("cubic", "akima")
PARABOLAS = "parabolas of least squares in the logarithm of parameters"


@dataclass(frozen=True)
class LawOptimum:
    """The compute-optimal size, its tokens and its loss at a compute, by an architecture's law (approach 3)."""

    compute: float
    params: Estimate
    tokens: Estimate
    loss: Estimate


@dataclass(frozen=True)
class ArchLaw:
    """An architecture's L(N, D) with resamples, and what follows.

    exponents: of compute for N* and D* over the budgets trained. agreement: of the isoFLOP optimum (approach 2) with N*
    at the largest budget that has one, None where none has, or its size has no interval. missized: nats lost at the
    largest budget by models four times too small and too large.
    """

    candidate: Candidate
    optima: tuple[LawOptimum, ...]
    exponents: tuple[Estimate, Estimate]
    agreement: Agreement | None
    missized: tuple[Estimate, Estimate]

    @property
    def fit(self) -> Fit:
        return self.candidate.fit


@dataclass(frozen=True)
class Family:
    """Layouts that differ in how much attention is mixed with one set of other mixers, homogeneous ends included.

    law: L(N, D, r), or why there is none. ratios: the best share straight from each budget's isoFLOP optima, by a
    parabola in the share; cubics: by a cubic.
    """

    name: str
    archs: tuple[str, ...]
    law: HybridLaw | None
    refusal: str
    ratios: tuple[HybridOptimum, ...]
    cubics: tuple[HybridOptimum, ...]

    @property
    def mixed(self) -> bool:
        """Whether at a budget shares enough have an optimum to say more than of the two ends."""
        return any(len(set(one.shares)) >= FEWEST_SHARES for one in self.ratios)

    @property
    def told(self) -> bool:
        """Whether anything says which share is best."""
        return self.law is not None or self.mixed

    @property
    def refused(self) -> str:
        """The refusal of a law that could have been: a family of the two ends alone was not asked for one."""
        return self.refusal if len(self.archs) >= FEWEST_SHARES else ""


@dataclass(frozen=True)
class OtherCurve:
    """A curve through the same isoFLOP points. optima: in the order of the parabola's; outside: whether each is a size
    outside the parabola's 95% interval; frontiers: power laws through them."""

    method: Method
    optima: tuple[IsoflopOptimum, ...]
    outside: tuple[bool, ...]
    frontiers: tuple[Frontier, ...]


@dataclass(frozen=True)
class Comparison:
    """multipliers: at each budget, `arch` reaches the reference's loss with this share of its FLOPs."""

    arch: str
    reference: str
    multipliers: tuple[Estimate, ...]
    crossover: Estimate


@dataclass(frozen=True)
class Report:
    """optima: by architecture, then budget, of the curves that optima_by names; frontiers: power laws through them
    (approach 2). other_curves: the same by other curves. envelopes: of the lowest of all training curves (approach 1),
    where curves were logged. laws: approach 3; refusals: why there is none. wins: for each budget, how often each
    architecture's loss is the lowest of all. audits: how laws do on runs they were not fitted to. dropped: (run_id,
    arch, budget, reason) of rows no fit used."""

    n_runs: int
    seeds: tuple[int, ...]
    convention: str
    tokenizer: str
    bytes_per_token: float
    budgets: tuple[float, ...]
    shares: dict[str, float]
    dropped: tuple[tuple[str, str, float, str], ...]
    optima: tuple[IsoflopOptimum, ...]
    optima_by: str
    frontiers: tuple[Frontier, ...]
    other_curves: tuple[OtherCurve, ...]
    envelopes: tuple[Envelope, ...]
    laws: dict[str, ArchLaw]
    refusals: dict[str, str]
    families: tuple[Family, ...]
    comparisons: tuple[Comparison, ...]
    wins: dict[str, tuple[float, ...]]
    audits: Audits = NONE

    def optimum(self, arch: str, budget: float) -> IsoflopOptimum | None:
        return next((o for o in self.optima if (o.arch, o.budget) == (arch, budget)), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain: dict[str, Any] = _plain(self)
        return plain


def report(
    runs: Runs, seed: int = 0, optima: Sequence[IsoflopOptimum] | None = None, optima_by: str = PARABOLAS
) -> Report:
    """Fit all there is to fit, and audit it. seed: of random starts and resamples. optima: as isoflop_optima() gives
    those of parabolas, which stand for None, but of the curves that optima_by names."""
    return replace(fits(runs, seed, optima, optima_by), audits=audits(runs, seed))


def fits(
    runs: Runs, seed: int = 0, optima: Sequence[IsoflopOptimum] | None = None, optima_by: str = PARABOLAS
) -> Report:
    """The report without its audits, for who makes these meanwhile."""
    used = runs.used
    shares = runs.shares
    parabolas = isoflop_optima(runs)
    others = OTHER_CURVES if optima is None else ("parabola", *OTHER_CURVES)
    optima = parabolas if optima is None else optima
    found, refusals = laws(runs, seed)
    return Report(
        n_runs=len(used),
        seeds=tuple(sorted(int(seed) for seed in used["seed"].unique())),
        convention=str(used["convention"].iloc[0]),
        tokenizer=str(used["tokenizer"].iloc[0]),
        bytes_per_token=float(used["bytes_per_token"].iloc[0]),
        budgets=tuple(runs.budgets),
        shares=shares,
        dropped=tuple(
            (str(i), str(a), float(b), str(r)) for i, a, b, r in runs.dropped.itertuples(index=False, name=None)
        ),
        optima=tuple(optima),
        optima_by=optima_by,
        frontiers=tuple(frontier(arch, optima) for arch in runs.archs),
        other_curves=tuple(_other_curve(runs, method, parabolas) for method in others),
        envelopes=envelope.of_sweep(runs),
        laws={arch: _arch_law(c, optima, runs.budgets) for arch, c in found.items()},
        refusals=refusals,
        families=tuple(
            _family(runs, name, archs, optima, shares, seed) for name, archs in families(runs.archs).items()
        ),
        comparisons=_comparisons(found, runs.budgets),
        wins={arch: tuple(p.tolist()) for arch, p in win_probability(found, np.array(runs.budgets)).items()}
        if found
        else {},
    )


def isoflop_optima(runs: Runs, method: Method = "parabola") -> list[IsoflopOptimum]:
    """By architecture, then budget."""
    return [
        isoflop.fit(arch, budget, *columns(rows, "params", "tokens", "loss"), method=method)
        for arch in runs.archs
        for budget in runs.budgets
        if len(rows := runs.select(arch, budget))
    ]


def _other_curve(runs: Runs, method: Method, parabolas: list[IsoflopOptimum]) -> OtherCurve:
    optima = isoflop_optima(runs, method)
    outside = tuple(isoflop.outside(other, parabola) for other, parabola in zip(optima, parabolas, strict=True))
    return OtherCurve(method, tuple(optima), outside, tuple(frontier(arch, optima) for arch in runs.archs))


def _arch_law(candidate: Candidate, optima: Sequence[IsoflopOptimum], budgets: list[float]) -> ArchLaw:
    compute = np.array(budgets)
    best = candidate.optimum(compute)
    at = [
        LawOptimum(budget, *(candidate.estimate(v[:, k]) for v in (best.params, best.tokens, best.loss)))
        for k, budget in enumerate(budgets)
    ]
    span = np.log(compute[-1] / compute[0]) if len(budgets) > 1 else np.nan
    grown = [np.log(v[:, -1] / v[:, 0]) / span for v in (best.params, best.tokens)]
    exponents = candidate.estimate(grown[0], log=False), candidate.estimate(grown[1], log=False)
    verdict = None
    found = {o.budget: o for o in optima if o.arch == candidate.arch and o.status == "optimum"}
    if found:
        theirs, ours = found[max(found)], at[budgets.index(max(found))].params
        assert theirs.params is not None
        if theirs.params_interval is not None:
            verdict = agreement((theirs.params, theirs.params_interval), (ours.value, (ours.low, ours.high)))
    return ArchLaw(candidate, tuple(at), exponents, verdict, missized(candidate, budgets[-1]))


def _family(
    runs: Runs, name: str, archs: tuple[str, ...], optima: Sequence[IsoflopOptimum], shares: dict[str, float], seed: int
) -> Family:
    own = [o for o in optima if o.arch in archs]
    ratios, cubics = (
        tuple(h for budget in runs.budgets if (h := hybrid_optimum(budget, own, shares, degree)) is not None)
        for degree in (2, 3)
    )
    try:
        return Family(name, archs, mix_law(runs, archs, runs.budgets, seed), "", ratios, cubics)
    except Refused as refusal:
        return Family(name, archs, None, str(refusal), ratios, cubics)


def _comparisons(found: Mapping[str, Candidate], budgets: list[float]) -> tuple[Comparison, ...]:
    """Every architecture against pure attention, or against the first where it was not trained."""
    if len(found) < 2:
        return ()
    reference = "attn" if "attn" in found else next(iter(found))
    compute = np.array(budgets)
    return tuple(
        Comparison(
            arch,
            reference,
            tuple(multiplier(found[arch], found[reference], compute)),
            crossover(found[arch], found[reference], compute),
        )
        for arch in found
        if arch != reference
    )


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries, fits as their summaries, laws as their names, without arrays of resamples."""
    if isinstance(value, Fit):
        return value.summary()
    if isinstance(value, Law):
        return value.name
    if dataclasses.is_dataclass(value):
        kept = [f.name for f in dataclasses.fields(value) if not isinstance(getattr(value, f.name), np.ndarray)]
        return {name: _plain(getattr(value, name)) for name in kept}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
