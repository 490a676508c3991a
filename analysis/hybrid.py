"""The law of the hybrid ratio: loss against size, tokens and attention's share, and the best share against compute."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from eutectic.analysis.bootstrap import LEVEL, resample
from eutectic.analysis.compare import Estimate, estimate
from eutectic.analysis.fit import Fit, fit
from eutectic.analysis.laws import HYBRIDS, Array, Law
from eutectic.analysis.losses import LossFn
from eutectic.analysis.optimum import Cost, Optimum, best_share
from eutectic.analysis.solve import Refused

NAN = float("nan")
EXTENT = 2.0  # decades of compute over which the drift of the share is taken, about the middle of those asked about


@dataclass(frozen=True)
class Step:
    """One of the nested laws. p_none, p_parent: probability of a gain as large, were the share (the parameters added to
    the law before) of no effect; p_none is NaN where the law without the share was refused. information: Schwarz's
    criterion, lower is better. refusal: why it was not fitted."""

    law: str
    parameters: int
    objective: float
    p_none: float
    p_parent: float
    information: float
    refusal: str = ""


@dataclass(frozen=True)
class ShareOptimum:
    """verdict: `interior` where the interval is inside (0, 1); `r=0` or `r=1` where nearly all resamples end there;
    `undecided` otherwise."""

    compute: float
    share: Estimate
    loss: Estimate
    params: Estimate
    tokens: Estimate
    verdict: str


@dataclass(frozen=True)
class Draws:
    """theta: (n, p), of the fit or of resamples."""

    law: Law
    theta: Array


@dataclass(frozen=True)
class HybridLaw:
    """steps: the nested laws tried; fit: that of least information; depends: whether it beats no dependence at 5%.

    optima: at each compute asked about. drift: change of the best share per decade of compute. drawn: of the fit, then
    resamples of every law of the share, of each as many as its weight by Schwarz's criterion says, so that intervals
    know that the law was chosen (Buckland et al. 1997).
    """

    steps: tuple[Step, ...]
    fit: Fit
    cost: Cost
    depends: bool
    optima: tuple[ShareOptimum, ...]
    drift: Estimate
    drawn: tuple[Draws, ...]

    def best(self, compute: Array) -> Optimum:
        """With the best share at each compute, (1 + count, computes) each: of the fit, then of the resamples."""
        found = [best_share(one.law, one.theta[:, None], self.cost, compute) for one in self.drawn]
        return Optimum(*(np.concatenate([getattr(one, name) for one in found]) for name in vars(found[0])))

    @property
    def p_none(self) -> float:
        """Of the law chosen."""
        return _p_none(self.fit, self.steps)


def _p_none(fit: Fit, steps: Sequence[Step]) -> float:
    return next(step.p_none for step in steps if step.law == fit.law.name)


def hybrid_law(
    x: Mapping[str, Array], losses: Array, cost: Cost, compute: Sequence[float], loss_fn: LossFn, count: int, seed: int
) -> HybridLaw:
    """Fit the nested laws to losses at x (N, D, r), choose one, and find the best share at each compute from `count`
    resamples. Raises Refused where none is fitted."""
    fits, steps = nested(x, losses, loss_fn, seed)
    chosen = least_information(fits, steps)
    depends = _p_none(chosen, steps) < 1 - LEVEL
    drawn = _drawn(chosen, fits, steps, count, seed) if "r" in chosen.law.inputs else ()
    law = HybridLaw(tuple(steps), chosen, cost, depends, (), Estimate(0.0, 0.0, 0.0), drawn)
    if not drawn:
        return law
    middle = np.mean(np.log10(compute))
    ends = 10 ** (middle + np.array([-EXTENT / 2, EXTENT / 2]))
    found = law.best(np.concatenate([np.asarray(compute, float), ends]))
    assert found.share is not None
    optima = []
    for k, c in enumerate(compute):
        one = estimate(found.share[:, k], chosen.degrees, log=False)
        one = Estimate(one.value, max(0.0, one.low), min(1.0, one.high))
        loss, params, tokens = (estimate(v[:, k], chosen.degrees) for v in (found.loss, found.params, found.tokens))
        optima.append(ShareOptimum(float(c), one, loss, params, tokens, _verdict(found.share[1:, k])))
    drift = estimate((found.share[:, -1] - found.share[:, -2]) / EXTENT, chosen.degrees, log=False)
    return replace(law, optima=tuple(optima), drift=drift)


def _drawn(chosen: Fit, fits: Sequence[Fit], steps: Sequence[Step], count: int, seed: int) -> tuple[Draws, ...]:
    """As HybridLaw has it. A law less likely than one resample is worth has none, nor has one whose resamples do not
    converge; the chosen one's have to."""
    information = {step.law: step.information for step in steps}
    others = [one for one in fits if "r" in one.law.inputs and one is not chosen]
    odds = np.exp([(information[chosen.law.name] - information[one.law.name]) / 2 for one in others])
    counts = (count * odds / (1 + odds.sum())).round().astype(int)
    own = resample(chosen, count - int(counts.sum()), seed, "wild").theta
    drawn = [Draws(chosen.law, np.concatenate([chosen.theta[None], own]))]
    for one, some in zip(others, counts.tolist(), strict=True):
        if some:
            with contextlib.suppress(Refused):
                drawn.append(Draws(one.law, resample(one, some, seed, "wild").theta))
    return tuple(drawn)


def _verdict(shares: Array) -> str:
    if np.mean(shares == 0) >= LEVEL:
        return "r=0"
    if np.mean(shares == 1) >= LEVEL:
        return "r=1"
    low, high = np.nanquantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return "interior" if low > 0 and high < 1 else "undecided"


def nested(x: Mapping[str, Array], losses: Array, loss_fn: LossFn, seed: int) -> tuple[list[Fit], list[Step]]:
    """Every law of the chain that the data can bear, with the tests between them."""
    fits: list[Fit] = []
    steps: list[Step] = []
    refusal: Refused | None = None
    for law in HYBRIDS:
        try:
            parent = fits[-1] if fits and fits[-1].law is law.parent else None
            one = fit(law, x, losses, loss_fn, seed, parent)
        except Refused as error:
            refusal = error
            steps.append(Step(law.name, len(law.names), NAN, NAN, NAN, NAN, str(error)))
            continue
        p_none, p_parent = (likelihood_ratio(fits[k], one) if fits else 1.0 for k in (0, -1))
        if "r" in (fits or [one])[0].law.inputs:
            p_none = NAN
        steps.append(Step(law.name, len(law.names), one.objective, p_none, p_parent, 0.0))
        fits.append(one)
    if not fits:
        assert refusal is not None
        raise refusal
    scale = _scale(fits[-1])
    criteria = {f.law.name: 2 * f.objective / scale + len(f.law.names) * np.log(f.n) for f in fits}
    return fits, [replace(s, information=float(criteria.get(s.law, np.nan))) for s in steps]


def least_information(fits: Sequence[Fit], steps: Sequence[Step]) -> Fit:
    """The law that Schwarz's criterion chooses, of what nested() gives."""
    information = {step.law: step.information for step in steps}
    return min(fits, key=lambda f: information[f.law.name])


def likelihood_ratio(small: Fit, large: Fit) -> float:
    """p-value of the larger of two nested laws: the fall of the objective over its scale, by Fisher's F.

    For losses other than squares this is the quasi-likelihood ratio of robust regression (Ronchetti 1982).
    """
    added = len(large.law.names) - len(small.law.names)
    gain = max(0.0, 2 * (small.objective - large.objective) / _scale(large))
    return float(stats.f.sf(gain / added, added, large.degrees))


def _scale(fit: Fit) -> float:
    """Mean square of the loss's slope over its mean curvature: the variance of the residuals for squares."""
    total = fit.problem.evaluate(fit.centred[None])[0][0]
    first, second, _ = fit.loss_fn.derivatives(total, fit.problem.y)
    units = fit.problem.scale**2 if fit.loss_fn.name == "ls" else 1.0
    return float(units * (first**2).sum() / fit.degrees / max(second.mean(), 1e-12))
