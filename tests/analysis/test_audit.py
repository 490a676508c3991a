"""Holding out: planted laws are found again by what they say of runs they were not fitted to."""

from dataclasses import replace

import numpy as np
import pytest
import sweep_table

from eutectic.analysis import audit as audits
from eutectic.analysis.audit import Distance, Holdout, LeftOut, audit, best_law, distances, leave_one_out, part
from eutectic.analysis.laws import HYBRIDS
from eutectic.analysis.load import Runs, screen

BUDGETS = (1e15, 3e15, 1e16, 3e16, 1e17, 3e17)


NOISE = 0.001

pytestmark = pytest.mark.usefixtures("few_starts")


def chinchilla(n: float, d: float, share: float) -> float:
    """Losses that are lowest at a share of 0.4."""
    return 1.7 + np.exp(0.5 * (share - 0.4) ** 2) * (400 / n**0.34 + 410 / d**0.28)


def gamma(n: float, d: float, share: float) -> float:
    return 1.7 + (3000 / n**0.7 + 30000 / d**0.62) ** 0.5


@pytest.fixture(scope="module")
def mixed() -> Runs:
    return screen(sweep_table.table(chinchilla, budgets=BUDGETS[:3], noise=NOISE))


@pytest.fixture(scope="module")
def audited(mixed: Runs) -> list[Holdout]:
    return audit(mixed)


@pytest.fixture(scope="module")
def left(mixed: Runs) -> tuple[LeftOut, ...]:
    return leave_one_out(mixed)


def test_every_budget_above_every_two_or_more_is_predicted() -> None:
    found = audit(screen(sweep_table.table(chinchilla, {"attn": 1.0}, BUDGETS[:4], NOISE)))
    pairs = [(BUDGETS[:2], 1e16), (BUDGETS[:2], 3e16), (BUDGETS[:3], 3e16)]
    for law, n in (("chinchilla", 7), ("gamma", 7), ("frontier-0", 1)):
        own = [h for h in found if h.law == law]
        assert [(h.trained, h.held) for h in own] == pairs
        assert [h.decades for h in own] == pytest.approx([np.log10(1e16 / 3e15), 1.0, np.log10(3.0)])
        assert [h.n for h in own] == [n] * 3
    assert len(found) == 9


def test_a_family_of_three_shares_has_its_nested_laws(audited: list[Holdout]) -> None:
    rows = {(h.arch, h.law): h for h in audited}
    assert len(rows) == len(audited) == 5 * 3 + 5
    assert rows["hyena family", "chinchilla"].n == 35
    # laws without the planted minimum inside miss it; those with it come to the noise
    errors = {law: rows["hyena family", law].rms for law in (h.name for h in HYBRIDS)}
    assert min(errors["chinchilla"], errors["hybrid-linear"]) > 30 * NOISE
    assert max(errors["hybrid-interior"], errors["hybrid-exponents"], errors["hybrid-entropy"]) < 2 * NOISE
    two = audit(screen(sweep_table.table(chinchilla, {"hyena": 0.0, "attn": 1.0}, BUDGETS[:3])))
    assert {h.arch for h in two} == {"hyena", "attn"}


def test_rms_and_bias_are_of_what_is_listed() -> None:
    frame = sweep_table.table(chinchilla, {"attn": 1.0}, BUDGETS[:4], NOISE)
    rows = audit(screen(frame))
    for h in rows:
        errors = np.log(np.array(h.observed) / np.array(h.predicted))
        assert (h.rms, h.bias) == (pytest.approx(np.sqrt((errors**2).mean())), pytest.approx(errors.mean()))
    held = frame[frame["budget"] == rows[0].held].sort_values("params")
    assert rows[0].observed == pytest.approx(tuple(held["loss"]), rel=1e-12)
    # a power law without E, on a truth with one, predicts too low
    assert rows[-1].law == "frontier-0" and all(
        h.bias > 2 * NOISE for h in rows if h.law == "frontier-0" and h.decades > 0.6
    )


def test_a_chinchilla_truth_is_predicted_within_its_noise() -> None:
    runs = screen(sweep_table.table(chinchilla, {"attn": 1.0}, BUDGETS, NOISE, seed=1))
    rows = [h for h in audit(runs) if h.law == "chinchilla" and len(h.trained) >= 4]
    assert len(rows) == 3
    # the noise of seven runs, and the law's own error beside it
    assert all(0.3 * NOISE < h.rms < 2.5 * NOISE for h in rows)


def test_data_that_can_tell_choose_the_law_they_follow() -> None:
    for seed in range(2):
        curved = audit(screen(sweep_table.table(gamma, {"attn": 1.0}, BUDGETS, 0.0005, seed)))
        assert best_law(curved) == {"attn": "gamma"}
    mixed = [
        h
        for h in audit(screen(sweep_table.table(chinchilla, budgets=BUDGETS[:3], noise=NOISE, seed=3)))
        if h.arch == "hyena family"
    ]
    assert best_law(mixed)["hyena family"] in {law.name for law in HYBRIDS[2:]}


def test_where_a_law_is_refused_the_plain_one_stands_in() -> None:
    plain = Holdout("attn", "chinchilla", (1.0, 2.0), 4.0, 0.3, 7, 0.02, 0.0, (), ())
    far, bent = replace(plain, held=8.0, rms=0.04), replace(plain, law="gamma", rms=0.03)
    refused = replace(far, law="gamma", n=0, rms=float("nan"), refusal="too few")
    frontier = replace(plain, law="frontier-0", rms=1e-9)
    assert best_law([plain, far, bent, refused, frontier]) == {"attn": "chinchilla"}
    # the refused row alone must not decide: 0.01 and a stand-in of 0.04 are better than 0.02 and 0.04
    assert best_law([plain, far, replace(bent, rms=0.01), refused]) == {"attn": "gamma"}
    assert best_law([refused]) == {}


def test_too_few_runs_are_a_row_that_says_so() -> None:
    frame = sweep_table.table(chinchilla, {"attn": 1.0}, BUDGETS[:3])
    few = frame[(frame["budget"] == 1e16) | (frame.groupby("budget").cumcount() < 3)]
    rows = {h.law: h for h in audit(screen(few))}
    assert "needs 8 points or more; there are 6" in rows["chinchilla"].refusal
    assert rows["frontier-0"].refusal == "0 of 2 budgets have an isoFLOP optimum"
    assert all((h.n, h.predicted) == (0, ()) and np.isnan(h.rms) for h in rows.values())


def test_order_of_rows_does_not_matter(mixed: Runs, audited: list[Holdout], left: tuple[LeftOut, ...]) -> None:
    shuffled = screen(mixed.used.sample(frac=1.0, random_state=0).reset_index(drop=True))
    for both in ((audited, audit(shuffled)), (holdouts(left), holdouts(leave_one_out(shuffled)))):
        ours, theirs = ({(h.arch, h.law, h.held): h for h in held} for held in both)
        assert ours.keys() == theirs.keys()
        for key, row in ours.items():
            assert row.predicted == pytest.approx(theirs[key].predicted, rel=1e-4, nan_ok=True)
            assert row.observed == pytest.approx(theirs[key].observed, rel=1e-12)


def holdouts(left: tuple[LeftOut, ...]) -> list[Holdout]:
    return [h for one in left for h in one.holdouts]


def test_an_architecture_left_out_is_predicted_by_the_mix(left: tuple[LeftOut, ...]) -> None:
    shares, rows = left, holdouts(left)
    assert [(h.arch, h.held) for h in rows] == [(arch, b) for arch in sweep_table.ARCHS for b in BUDGETS[:3]]
    assert all(h.trained == BUDGETS[:3] and h.n == 7 for h in rows)
    assert [h.decades for h in rows[:3]] == pytest.approx([-1, -0.5229, 0], abs=1e-4)
    assert 0.3 * NOISE < min(h.rms for h in rows) < max(h.rms for h in rows) < 2.5 * NOISE
    assert [(one.family, one.share) for one in shares] == [("hyena", share) for share in sweep_table.ARCHS.values()]
    for one in shares:
        assert {h.law for h in one.holdouts} == {one.law} <= {law.name for law in HYBRIDS[2:]}
        assert (one.n, one.refusal) == (21, "")
        assert one.rms**2 == pytest.approx(np.mean([h.rms**2 for h in one.holdouts]))
        assert one.bias == pytest.approx(np.mean([h.bias for h in one.holdouts]))
    # an architecture off the mix's curve is off by what it is off
    odd = sweep_table.table(
        lambda n, d, r: chinchilla(n, d, r) * (1.05 if r == 0.5 else 1), budgets=BUDGETS[:3], noise=NOISE
    )
    off = next(one for one in leave_one_out(screen(odd)) if one.share == 0.5)
    assert [off.bias, *(h.bias for h in off.holdouts)] == pytest.approx([np.log(1.05)] * 4, abs=2 * NOISE)
    # of three shares two are left, and no curve in the share goes through them alone
    three = leave_one_out(screen(sweep_table.table(chinchilla, {"hyena": 0.0, "hyena+attn": 0.5, "attn": 1.0})))
    assert all(one.refusal and (one.law, one.n) == ("", 0) and np.isnan(one.rms) for one in three)


def test_errors_are_pooled_by_law_and_distance() -> None:
    one = Holdout("attn", "chinchilla", (1.0, 2.0), 4.0, 0.3, 2, 0.0, 0.0, (2.0, 2.0), (2.2, 1.9))
    other = replace(one, arch="hyena", decades=0.3001, n=1, predicted=(3.0,), observed=(3.3,))
    rows = [one, other, replace(one, decades=0.6), replace(one, arch="hyena family"), replace(one, refusal="no")]
    errors = np.log([1.1, 0.95, 1.1])
    near, far, family = distances(rows)
    assert (near.law, near.family, near.decades, near.n) == ("chinchilla", False, 0.3, 3)
    assert (near.rms, near.bias) == (pytest.approx(np.sqrt((errors**2).mean())), pytest.approx(errors.mean()))
    assert (far.decades, far.n, family.family) == (0.6, 2, True)
    assert family == replace(far, family=True, decades=0.3) and isinstance(family, Distance)


def test_of_a_large_sweep_a_part_is_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets from the lowest to the highest, and every so many runs of each; of a small one, all."""
    runs = screen(sweep_table.table(chinchilla, {"hyena": 0.0, "attn": 1.0}, BUDGETS, NOISE))
    assert len(part(runs).used) == len(runs.used) == 84
    monkeypatch.setattr(audits, "MOST_FITTED", 4)
    assert part(runs).budgets == [BUDGETS[0], BUDGETS[2], BUDGETS[3], BUDGETS[5]]
    monkeypatch.setattr(audits, "MOST_RUNS", 20)
    some = part(runs)
    assert len(some.used) == 19 and (some.used.groupby("arch").size() >= 9).all()
    assert audits.audits(runs).n_runs == 19
