"""The verdicts on all claims, from the parts of a campaign."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from eutectic.analysis.archs import mix_law
from eutectic.analysis.campaign import DOMAIN, HEADS, MAIN, PLACEMENT
from eutectic.analysis.claims import Claim, Measure, Verdict
from eutectic.analysis.compare import Estimate
from eutectic.analysis.contrast import best_of, contenders, negative, worst
from eutectic.analysis.evidence import Evidence, of_these
from eutectic.analysis.heads import MIXER
from eutectic.analysis.hybrid import HybridLaw
from eutectic.analysis.judging import NATS, absent, against_zero, by_budget, claim, unjudged, untested
from eutectic.analysis.load import Runs
from eutectic.analysis.minima import Minima
from eutectic.analysis.offsize import SIDES
from eutectic.analysis.ratio import hybrid_optimum
from eutectic.analysis.solve import Refused
from eutectic.analysis.wording import flops, listed, plain, signed

LAW = "by the law L(N, D, r)"
OF_TRAINED = "of those trained"
MEASURED = 0.5  # shares that may be the best span as much, at most, where it is called measured


def claims(parts: Mapping[str, Runs], seed: int = 0) -> tuple[Claim, ...]:
    """Every claim, those not tested included. A verdict is `supported` or `contradicted` only where all the intervals
    that decide it leave out zero on that side, at each budget. seed: of random starts and resamples."""
    return judge(Evidence(parts, seed))


def judge(evidence: Evidence) -> tuple[Claim, ...]:
    return tuple(one(evidence) for one in (hybrids, ratio, ordering, heads, robust, domain))


def hybrids(e: Evidence) -> Claim:
    """The best hybrid against the best of one mixer, at their isoFLOP optima, by the lowest of the sizes trained, which
    curves may dip below, and by their laws. What has no optimum counts with the lowest loss trained."""
    by_runs: dict[float, Estimate] = {}
    by_sizes: dict[float, Estimate] = {}
    by_law: dict[float, Estimate] = {}
    told = []
    for one in e.minima.get(MAIN, ()):
        if one.degrees and one.of(e.mixed(MAIN)).size and one.of(e.pure(MAIN)).size:
            ours, theirs = one.reached_by(e.mixed(MAIN)), one.reached_by(e.pure(MAIN))
            by_runs[one.budget] = best_of(ours, theirs, one.degrees)
            lowest, others = one.lowest_of(e.mixed(MAIN)), one.lowest_of(e.pure(MAIN))
            by_sizes[one.budget] = best_of(lowest, others, one.degrees)
            told.append(_best_two(one, e))
            laws = e.laws_at(one.budget)
            mixed, pure = ([laws[a] for a in archs if a in laws] for archs in (e.mixed(MAIN), e.pure(MAIN)))
            if mixed and pure:
                drawn = [
                    np.stack([law.optimum(np.array([one.budget])).loss[:, 0] for law in own], 1)
                    for own in (mixed, pure)
                ]
                degrees = min(law.fit.degrees for law in (*mixed, *pure))
                by_law[one.budget] = best_of(drawn[0], drawn[1], degrees)
    if not by_runs:
        return untested(
            "hybrids", "No budget of the part main has an isoFLOP optimum of a hybrid and of a single mixer."
        )
    how = "seeds' noise" if e.minima[MAIN][0].seeds else "the runs' scatter"
    name = "best hybrid less best of one mixer"
    measures = [
        *by_budget(f"{name}, by runs and {how}", by_runs, NATS),
        *by_budget(f"{name}, by the lowest of the sizes trained", by_sizes, NATS),
        *by_budget(f"{name}, by the laws", by_law, NATS),
        Measure(f"{name}, by runs", "the least favourable budget", worst(list(by_runs.values())), NATS),
    ]
    finding = f"{' '.join(told)} {against_zero('The difference', by_runs)}"
    finding += f" {against_zero('By the lowest of the sizes trained it', by_sizes)}"
    if by_law:
        finding += f" {against_zero('By the laws it', by_law)}"
    finding += unjudged(e, MAIN, by_runs, "a hybrid, or a single mixer, has no isoFLOP optimum there")
    return claim(
        e, "hybrids", (MAIN,), negative([*by_runs.values(), *by_sizes.values(), *by_law.values()]), finding, measures
    )


def ratio(e: Evidence) -> Claim:
    """The best share between none and all against the better of these, and where it is. Supported where it is also
    known to MEASURED."""
    part = e.shares
    gains: dict[float, Estimate] = {}
    known = True
    measures, told = [], []
    for one in e.minima.get(part, ()):
        inner, ends = (one.of(of_these(e.family(part), some)) for some in (e.mixed(part), e.pure(part)))
        if one.degrees and inner.size and ends.shape[1] == 2:
            gains[one.budget] = best_of(inner, ends, one.degrees)
            found = places(one, e, part)
            known &= found[OF_TRAINED].high - found[OF_TRAINED].low <= MEASURED
            measures += [Measure(f"best share, {how}", flops(one.budget), share) for how, share in found.items()]
            told.append(f"At {flops(one.budget)}: {'; '.join(f'{how} {plain(s, 2)}' for how, s in found.items())}.")
    if not gains:
        return untested("ratio", "No budget has isoFLOP optima of no attention, of attention alone and of a mix.")
    law = _mix_law(e, part, list(gains))
    if law is not None:
        measures += [Measure(f"best share, {LAW}", flops(o.compute), o.share) for o in law.optima]
        measures.append(Measure(f"drift of the best share, {LAW}", "a decade of compute", law.drift))
        by_law = [f"{plain(o.share, 2)} at {flops(o.compute)}" for o in law.optima]
        told.append(
            f"By {law.fit.law.name} of all budgets {listed(by_law)}, a drift of {signed(law.drift, 2)} a decade."
            if by_law
            else f"Of laws of the share {law.fit.law.name}, which has none in it, is chosen."
        )
    measures = [*by_budget("best mix less the better of both ends", gains, NATS), *measures]
    finding = f"{against_zero('The loss of the best mix less that of the better of both ends', gains)} {' '.join(told)}"
    finding += unjudged(e, part, gains, "no attention, attention alone, or all mixes have no isoFLOP optimum there")
    verdict = negative(list(gains.values()))
    if verdict == "supported" and not known:
        verdict = "undecided"
        finding += f" A mix is best, but of which share is not told: those that may be span more than {MEASURED:g}."
    return claim(e, "ratio", (part,), verdict, finding, measures)


def places(one: Minima, e: Evidence, part: str) -> dict[str, Estimate]:
    """The best share at a budget: of those trained, with the range of those that may be; and by curves through them,
    where these have their minimum, with its interval, inside, and no further from those that may be than the next share
    trained: a curve that is elsewhere tells of its shape."""
    shares = e.parts[part].shares
    archs = of_these(one.archs, e.family(part))
    losses = one.of(archs)
    trained = np.array([shares[arch] for arch in archs])
    may = trained[contenders(losses, one.degrees)]
    found = {OF_TRAINED: Estimate(float(trained[losses[0].argmin()]), float(may.min()), float(may.max()))}
    optima = [optimum for optimum in one.optima if optimum.arch in archs]
    for degree, name in ((2, "by a parabola"), (3, "by a cubic")):
        curve = hybrid_optimum(one.budget, optima, shares, degree)
        if curve is None or curve.share is None or curve.interval is None:
            continue
        if max(trained[trained < may.min()], default=0) < curve.share < min(trained[trained > may.max()], default=1):
            found[name] = Estimate(curve.share, *curve.interval)
    return found


def _mix_law(e: Evidence, part: str, budgets: Sequence[float]) -> HybridLaw | None:
    try:
        return mix_law(e.parts[part], e.family(part), budgets, e.seed)
    except Refused:
        return None


def ordering(e: Evidence) -> Claim:
    """The spread of losses over placements beside that over shares of attention."""
    if not e.spreads:
        return untested(
            "ordering", f"{absent(e, PLACEMENT)} beside shares of attention at its sizes, with noise known."
        )
    gaps = {one.budget: one.gap for one in e.spreads}
    measures = [
        *by_budget("spread over placements", {one.budget: one.placements for one in e.spreads}, NATS),
        *by_budget("spread over shares", {one.budget: one.shares for one in e.spreads}, NATS),
        *by_budget("the former less the latter", gaps, NATS),
        *by_budget(
            "the same without the pure ends", {o.budget: o.among_hybrids for o in e.spreads if o.among_hybrids}, NATS
        ),
    ]
    told = [
        f"At {flops(one.budget)} losses have a standard deviation of {plain(one.placements)} nats over "
        f"{_count(one.cells, 'placement')} placements and of {plain(one.shares)} over {_count(one.cells, 'share')} "
        "shares of attention, noise taken off."
        for one in e.spreads
    ]
    finding = f"{' '.join(told)} {against_zero('The difference', gaps)}"
    return claim(e, "ordering", (PLACEMENT, e.shares), negative(list(gaps.values())), finding, measures)


def heads(e: Evidence) -> Claim:
    """The best number of several heads against one head."""
    if not e.heads:
        return untested("heads", f"{absent(e, HEADS)} of one head and of several at a size, with noise known.")
    best = {one.budget: one.best for one in e.heads}
    slopes = {one.budget: one.slope for one in e.heads}
    beside = {one.budget: one.hyena for one in e.heads if one.hyena}
    measures = [
        *(
            Measure(f"{n} heads less one", flops(one.budget), difference, NATS)
            for one in e.heads
            for n, difference in one.differences.items()
        ),
        *by_budget("best number of several heads less one", best, NATS),
        *by_budget("slope", slopes, "nats per doubling"),
        *by_budget("best number of several heads less hyena", beside, NATS),
    ]
    told = [
        f"At {flops(one.budget)} {listed(several)} nats from one, and {signed(one.slope, 4)} a doubling."
        for one in e.heads
        for several in ([f"{n} heads {signed(difference)}" for n, difference in one.differences.items()],)
    ]
    told.append(against_zero("The best of several heads less one", best))
    if beside:
        told.append(against_zero("The best of several heads less hyena, which has a filter a channel,", beside))
    finding = f"{' '.join(told)}{_beside_hyena(e, measures)}"
    return claim(e, "heads", (HEADS,), negative(list(best.values())), finding, measures)


def _beside_hyena(e: Evidence, measures: list[Measure]) -> str:
    """What the main part says of the convolution with heads and that with a filter a channel; adds its measures."""
    gaps = {
        one.budget: best_of(one.of((MIXER,)), one.of(("hyena",)), one.degrees)
        for one in e.minima.get(MAIN, ())
        if one.degrees and {MIXER, "hyena"} <= set(one.archs)
    }
    measures += by_budget(f"{MIXER} less hyena at their isoFLOP optima", gaps, NATS)
    return f" {against_zero(f'At the isoFLOP optima of the part main {MIXER} less hyena', gaps)}" if gaps else ""


def robust(e: Evidence) -> Claim:
    """What hybrids lose at four times too small and too large less what each pure end does."""
    by_law = {(one.budget, arch): gap for one in e.off_sizes for arch, gap in one.law_gaps.items()}
    by_runs = {(one.budget, arch): gap for one in e.off_sizes for arch, gap in one.run_gaps.items()}
    if not (by_law or by_runs):
        return untested(
            "robust", "The part main has no sizes four times off the best, of hybrids and of what they are mixed of."
        )
    measures = [
        Measure(f"{arch}, four times {side}, {how}", flops(one.budget), lost, NATS)
        for one in e.off_sizes
        for how, found in (("by its law", one.by_law), ("by runs", one.by_runs))
        for arch, sides in found.items()
        for side, lost in zip(SIDES, sides, strict=True)
        if not np.isnan(lost.value)
    ]
    name = "hybrids' mean loss off the best size less that of"
    for how, gaps in (("by the laws", by_law), ("by runs", by_runs)):
        measures += [Measure(f"{name} {arch}, {how}", flops(b), gap, NATS) for (b, arch), gap in gaps.items()]
    told = [
        against_zero(f"{start} what hybrids lose, averaged over the sides trained, less what {arch} does", own)
        for start, gaps in (("By the laws", by_law), ("By runs of such sizes", by_runs))
        for arch in dict.fromkeys(arch for _, arch in gaps)
        for own in ({b: gap for (b, other), gap in gaps.items() if other == arch},)
    ]
    verdict = negative([*by_law.values(), *by_runs.values()])
    return claim(e, "robust", (MAIN,), verdict, " ".join(told), measures)


def domain(e: Evidence) -> Claim:
    """The best share on another text less that on the campaign's, at the same budget: of those trained, which decide,
    for curves through losses that rise differently to either side have their minima apart where the best shares are
    not."""
    part = e.shares
    pairs = [
        (ours, theirs)
        for ours in e.minima.get(DOMAIN, ())
        for theirs in e.minima.get(part, ())
        if ours.budget == theirs.budget
        and ours.degrees
        and _shares_there(ours, e, DOMAIN)
        and _shares_there(theirs, e, part)
    ]
    if not pairs:
        return untested(
            "domain",
            f"{absent(e, DOMAIN, 'isoFLOP optima')} of shares of attention at a budget where the other text has some.",
        )
    moves: list[Estimate] = []
    measures, told = [], []
    for ours, theirs in pairs:
        here, there = places(ours, e, DOMAIN), places(theirs, e, part)
        for text, found in (("on the other text", here), ("On the campaign's", there)):
            measures += [
                Measure(f"best share {text.lower()}, {how}", flops(ours.budget), s) for how, s in found.items()
            ]
            told.append(f"{text} {'; '.join(f'{how} {plain(s, 2)}' for how, s in found.items())}")
        moves.append(_between(here[OF_TRAINED], there[OF_TRAINED]))
        differences = {how: _apart(here[how], there[how]) for how in here if how in there} | {OF_TRAINED: moves[-1]}
        for how, move in differences.items():
            measures.append(Measure(f"the former less the latter, {how}", flops(ours.budget), move))
            told.append(f"The former less the latter, {how}, {signed(move, 2)}")
    verdict: Verdict = "supported" if all(m.low > 0 or m.high < 0 for m in moves) else "undecided"
    finding = f"The best share: {'. '.join(told)}."
    return claim(e, "domain", (DOMAIN, part), verdict, finding, measures)


def _shares_there(one: Minima, e: Evidence, part: str) -> bool:
    return len(of_these(one.archs, e.family(part))) > 1


def _apart(one: Estimate, other: Estimate) -> Estimate:
    """The difference of two that are independent: their margins' squares add."""
    value = one.value - other.value
    return Estimate(
        value,
        value - float(np.hypot(one.value - one.low, other.high - other.value)),
        value + float(np.hypot(one.high - one.value, other.value - other.low)),
    )


def _between(one: Estimate, other: Estimate) -> Estimate:
    """The difference of two that are each somewhere in a range."""
    return Estimate(one.value - other.value, one.low - other.high, one.high - other.low)


def _best_two(one: Minima, e: Evidence) -> str:
    """The best hybrid and the best of one mixer, and those that may be better but have no optimum."""
    lowest = dict(zip((found.arch for found in one.optima), one.lowest[0].tolist(), strict=True))
    losses = lowest | dict(zip(one.archs, one.losses[0].tolist(), strict=True))
    first, second = (
        min(of_these(tuple(losses), some), key=losses.__getitem__) for some in (e.mixed(MAIN), e.pure(MAIN))
    )
    without = [f"{arch} ({why}, {losses[arch]:.3f} at best)" for arch, why in one.missing.items()]
    missing = f" Without an optimum: {listed(without)}." if without else ""
    return (
        f"At {flops(one.budget)} the best hybrid is {first} with {losses[first]:.3f} nats ({lowest[first]:.3f} of a "
        f"size trained) and the best of one mixer {second} with {losses[second]:.3f} ({lowest[second]:.3f}).{missing}"
    )


def _count(cells: pd.DataFrame, kind: str) -> int:
    return int(cells.loc[cells["kind"] == kind, "name"].nunique())
