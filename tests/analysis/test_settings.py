"""Runs that differ in learning rate and batch: the best of each cell is fitted, and the answer's settings are tuned."""

import json

import numpy as np
import pandas as pd
import pytest
import sweep_table
from rich.console import Console
from scipy import stats
from tuning_table import BUDGETS, STEEP, best_batch, best_lr, loss, planted, tuning

from eutectic.analysis.compare import Estimate
from eutectic.analysis.hyper import HyperOptimum
from eutectic.analysis.hyper_law import law
from eutectic.analysis.load import OUTDONE, Runs, screen
from eutectic.analysis.predict import Answer, predict
from eutectic.analysis.report import Report, report
from eutectic.analysis.settings import Beyond, _tuned, settings
from eutectic.analysis.tuned import tuned
from eutectic.display.answer import show_answer
from eutectic.display.report import show_report
from eutectic.errors import UserError

pytestmark = pytest.mark.usefixtures("few_starts")

ARCHS = {"hyena": 0.0, "hyena+attn": 0.5, "attn": 1.0}
COMPUTE = 1e20


@pytest.fixture(scope="module")
def runs() -> Runs:
    return screen(tuning(planted({"attn": 1.0}), scatter=0.1))


@pytest.fixture(scope="module")
def answer(runs: Runs) -> Answer:
    return predict(runs, COMPUTE)


def said(answer: Answer, capsys: pytest.CaptureFixture[str]) -> str:
    show_answer(Console(width=120, highlight=False), answer, "")
    return " ".join(capsys.readouterr().out.split())


def test_the_settings_are_those_of_the_planted_laws(answer: Answer) -> None:
    truths = {"lr": best_lr(answer.params.value), "batch": best_batch(answer.tokens.value)}
    for target, truth in truths.items():
        setting = getattr(answer, target)
        assert setting.low < truth < setting.high
        assert setting.value == pytest.approx(truth, rel=0.15)
        assert 1.2 < setting.high / setting.low < 4
    # the rule the runs had would have been far off
    assert not answer.lr.low < sweep_table.lr(answer.params.value) < answer.lr.high


def test_an_interval_holds_that_of_the_law_the_scatter_of_cells_and_that_of_the_size(
    runs: Runs, answer: Answer
) -> None:
    """Of the learning rate, which falls with the size and rises with tokens, of which a larger one gets fewer."""
    (lr_law, batch_law) = (found.fitted for found in tuned(runs).laws)
    assert lr_law is not None and lr_law.scatter == pytest.approx(0.1, abs=0.03)
    assert (list(lr_law.exponents), list(batch_law.exponents if batch_law else ())) == (
        ["params", "tokens"],
        ["tokens"],
    )
    params, tokens = answer.params, answer.tokens
    at = {"params": np.array([params.value]), "tokens": np.array([tokens.value])}
    for said, fitted in ((answer.lr, lr_law), (answer.batch, batch_law)):
        assert fitted is not None
        half = np.log(fitted.band(at)[1] / fitted.predict(at))[0]
        cell = stats.t.ppf(0.975, fitted.n - 1 - len(fitted.exponents)) * fitted.scatter
        assert said.value == pytest.approx(fitted.predict(at)[0], rel=1e-9)
        for end, n, d in ((said.low, params.high, tokens.low), (said.high, params.low, tokens.high)):
            moved = {"params": np.log(n / params.value), "tokens": np.log(d / tokens.value)}
            parts = [half, cell, sum(power * moved[x] for x, power in fitted.exponents.items())]
            assert abs(np.log(end / said.value)) == pytest.approx(np.sqrt(np.square(parts).sum()), rel=1e-9)


def test_an_answer_says_what_its_settings_rest_on(
    runs: Runs, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = runs.used[["params", "tokens"]].drop_duplicates()
    for target in ("lr", "batch"):
        basis = answer.basis[target]
        assert basis.tuned and (basis.varied, basis.cells) == (len(cells), len(cells)) == (28, 28)
        assert 25 <= basis.optima <= 28
        assert basis.over == (("params", "tokens") if target == "lr" else ("tokens",))
        out = {x: np.log10(getattr(answer, x).value / cells[x].max()) for x in basis.over}
        assert basis.beyond == Beyond(max(out, key=lambda x: out[x]), pytest.approx(max(out.values())))
        assert basis.beyond.decades > 0
        assert basis.nearest is not None
        assert basis.nearest.twice == pytest.approx(STEEP[target] * np.log(2) ** 2, rel=0.2)
        near = np.log(cells / [answer.params.value, answer.tokens.value]).pow(2).sum(axis=1).idxmin()
        assert (basis.nearest.params, basis.nearest.tokens) == tuple(cells.loc[near])
    text, out, n = said(answer, capsys), answer.basis["lr"].beyond, answer.basis["lr"].optima
    law, times = "a power law of parameters and tokens", f"{10**out.decades:.3g} times the largest"
    assert f"The learning rate is tuned: by {law} through the best of {n} cells of this" in text
    assert f"{times} of them in {out.over}. Twice or half the best costs 0.0" in text and f"{out.over} {times}" in text
    assert "The batch is tuned: by a power law of tokens" in text
    assert "not tuned" not in text and "Only" not in text
    plain = json.loads(json.dumps(answer.to_dict()))
    assert plain["basis"]["lr"]["tuned"] is True and plain["basis"]["lr"]["over"] == ["params", "tokens"]
    assert plain["basis"]["lr"]["beyond"] == {"over": out.over, "decades": out.decades}
    assert plain["basis"]["batch"]["nearest"]["twice"] > 0


def test_untuned_runs_are_continued_and_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    plain = predict(screen(sweep_table.table(loss, {"attn": 1.0}, BUDGETS, 0.001)), COMPUTE)
    assert plain.lr.value == pytest.approx(sweep_table.lr(plain.params.value), rel=1e-9)
    assert (plain.basis["lr"].tuned, plain.basis["lr"].varied, plain.basis["lr"].nearest) == (False, 0, None)
    assert plain.basis["lr"].beyond == Beyond("params", plain.reach.params)
    assert plain.basis["batch"].beyond == Beyond("tokens", plain.reach.tokens)
    text = said(plain, capsys)
    assert "Learning rate and batch continue what these runs were trained with; not tuned. Intervals" in text
    assert "nats at the nearest" not in text and "cells" not in text


def test_two_tuned_cells_make_no_law(capsys: pytest.CaptureFixture[str]) -> None:
    frame = planted({"attn": 1.0})
    few = predict(screen(pd.concat([tuning(frame[:2]), frame[2:]], ignore_index=True)), COMPUTE)
    # what is fitted in a tuned cell is one of a grid, at most twice off
    assert few.lr.value == pytest.approx(best_lr(few.params.value), rel=0.2)
    assert (few.basis["lr"].tuned, few.basis["lr"].optima, few.basis["lr"].varied) == (False, 2, 2)
    text = said(few, capsys)
    assert "No law of the learning rate: 2 cells of this architecture" in text
    assert "three that differ in parameters are needed. Twice or half the best costs 0.0" in text
    assert "Learning rate and batch continue what these runs were trained with; not tuned." in text
    assert "Only 2 of 28 cells of attn were trained at several settings" in text


@pytest.mark.parametrize("cells", [3, 5, 12])
@pytest.mark.parametrize("scatter", [0.0, 0.2])
def test_intervals_of_settings_cover_as_often_as_they_say(cells: int, scatter: float) -> None:
    """The best setting of one model, whose size is known by an interval, a decade beyond the cells."""
    random, covered, trials, known, power = np.random.default_rng(2), 0, 400, 0.3, -0.4
    sizes, size = np.geomspace(1e6, 1e8, cells), 1e9
    for _ in range(trials):
        errors = 0.05 * random.uniform(0.5, 2, cells)
        values = best_lr(1e6) * (sizes / 1e6) ** power * np.exp(np.hypot(errors, scatter) * random.normal(size=cells))
        found = [
            HyperOptimum(
                "", n, 0.0, "optimum", 9, 9, 0.0, {}, {"lr": float(value)}, {"lr": float(error)}
            )
            for n, value, error in zip(sizes, values, errors, strict=True)
        ]  # fmt: skip
        fitted = law(found, "lr", ["params"])
        assert fitted is not None
        guess = size * np.exp(known * random.normal())
        x = Estimate(guess, guess * np.exp(-1.96 * known), guess * np.exp(1.96 * known))
        said, truth = _tuned(fitted, {"params": x, "tokens": x}), best_lr(size) * np.exp(scatter * random.normal())
        covered += said.low < truth < said.high
    assert 0.92 <= covered / trials <= 0.985


@pytest.fixture(scope="module")
def spoilt() -> tuple[Runs, Runs]:
    """A sweep, and the same with as many runs again at a bad learning rate, or a bad batch."""
    frame = planted(ARCHS)
    bad = frame.assign(loss=frame["loss"] + np.linspace(0.02, 0.5, len(frame)), run_id="bad" + frame["run_id"])
    odd = np.arange(len(bad)) % 2 == 1
    bad["lr"] *= np.where(odd, 8.0, 1.0)
    bad["batch_size"] *= np.where(odd, 1, 16)
    both = pd.concat([bad, frame]).sample(frac=1.0, random_state=0)
    lost = frame[:1].assign(run_id="lost", lr=1.0, loss=float("nan"), status="diverged")
    return screen(frame), screen(pd.concat([lost, both], ignore_index=True))


@pytest.fixture(scope="module")
def of_spoilt(spoilt: tuple[Runs, Runs]) -> Report:
    return report(spoilt[1])


def test_badly_chosen_settings_enter_no_law(spoilt: tuple[Runs, Runs], of_spoilt: Report) -> None:
    clean, mixed = spoilt
    assert set(mixed.used["run_id"]) == set(clean.used["run_id"]) and len(mixed.tried) == 2 * len(clean.used)
    reasons = mixed.dropped.set_index("run_id")["reason"]
    assert reasons.pop("lost") == "diverged"
    assert set(reasons) == {OUTDONE} and set(reasons.index) == {f"bad{i}" for i in clean.used["run_id"]}
    ours, theirs = of_spoilt, report(clean)
    assert ours.n_runs == theirs.n_runs == 84
    for arch in ARCHS:
        assert ours.laws[arch].fit.theta == pytest.approx(theirs.laws[arch].fit.theta, rel=1e-5)
    for one, other in zip(ours.optima, theirs.optima, strict=True):
        assert (one.params, one.loss) == pytest.approx((other.params, other.loss), rel=1e-9)
    for one_family, other_family in zip(ours.families, theirs.families, strict=True):
        assert one_family.law is not None and other_family.law is not None
        shares = [[o.share.value for o in f.law.optima] for f in (one_family, other_family) if f.law]
        assert shares[0] == pytest.approx(shares[1], rel=1e-4)
    # of which each has the audits of its runs
    held, theirs_held = (
        {(h.arch, h.law, h.trained, h.held): h.rms for h in found.audits.held} for found in (ours, theirs)
    )
    assert held
    assert held == pytest.approx(theirs_held, rel=1e-3, nan_ok=True)


def test_many_left_out_for_one_reason_are_counted(of_spoilt: Report, capsys: pytest.CaptureFixture[str]) -> None:
    show_report(Console(width=120, highlight=False), of_spoilt)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not used")]
    assert lines == ["not used: lost (hyena at 1e15): diverged", f"not used: 84 runs: {OUTDONE}"]


def test_seeds_and_settings_that_do_not_vary_are_all_fitted() -> None:
    frame = planted({"attn": 1.0})
    seeds = pd.concat([frame, frame.assign(seed=1, loss=frame["loss"] + 0.1)], ignore_index=True)
    again = screen(pd.concat([seeds, seeds], ignore_index=True))
    assert len(again.used) == len(again.tried) == 4 * len(frame) and again.dropped.empty
    # another learning rate in one seed alone
    other = seeds.copy()
    other.loc[0, ["lr", "loss", "run_id"]] = [1.0, other.loc[0, "loss"] + 1, "other"]
    found = screen(pd.concat([seeds, other[:1]], ignore_index=True))
    assert len(found.used) == len(seeds)
    assert found.dropped.to_dict("records") == [
        {"run_id": "other", "arch": "attn", "budget": BUDGETS[0], "reason": OUTDONE}
    ]


def test_one_size_a_budget_is_no_law_however_often_it_was_tuned() -> None:
    frame = planted({"attn": 1.0})
    middle = frame[frame.groupby("budget").cumcount() == 3]
    with pytest.raises(
        UserError,
        match=r"needs 8 points or more; there are 4.* tune several sizes .*`eutectic sweep --settings`. under another",
    ):
        predict(screen(tuning(middle)), COMPUTE)


def test_a_size_known_to_no_end_leaves_settings_known_to_none() -> None:
    size = {"params": Estimate(1e8, 0.0, float("inf")), "tokens": Estimate(1e9, 0.0, float("inf"))}
    frame = planted({"attn": 1.0})
    # best learning rates that rise with both are known to neither end, either
    rising = tuning(frame).assign(lr=lambda rows: rows["lr"] * (rows["params"] / 1e6) * (rows["tokens"] / 1e8))
    for runs in (screen(frame), screen(tuning(frame)), screen(rising)):
        for value, _ in settings(runs, "attn", size).values():
            assert (value.low, value.high) == (0.0, float("inf")) and 0 < value.value < float("inf")
