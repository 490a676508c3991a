"""The audit figure shows what was predicted of runs held out."""

from dataclasses import replace

import numpy as np
import pytest
from drawing import ARCHS, BUDGETS, caption, figure, labels, lines, table

from eutectic.analysis.audit import audit
from eutectic.analysis.figures.draw import FIGURES
from eutectic.analysis.load import Runs, screen
from eutectic.analysis.report import Report, report

pytestmark = pytest.mark.usefixtures("few_starts")


def test_larger_budgets_are_as_predicted(sweep: tuple[Runs, Report]) -> None:
    runs, found = sweep
    drawn = figure("audit", sweep)
    left, middle, _ = drawn.axes
    holdouts = [h for h in audit(runs) if h.law == "chinchilla" and h.arch in runs.archs]
    shown = [line.get_xydata() for line in left.get_lines() if line.get_linestyle() == "None"]
    for points, holdout in zip(shown, holdouts, strict=True):
        assert points == pytest.approx(np.stack([holdout.observed, holdout.predicted], 1))
    rows = [label.get_text() for label in middle.get_yticklabels()]
    assert rows[0] == "chinchilla" and "frontier-0" in rows and "hybrid-interior, family" in rows
    small = middle.get_lines()[0].get_xydata()
    own = small[np.abs(small[:, 1]) < 0.4, 0]
    assert sorted(own) == pytest.approx(sorted(100 * np.expm1(h.rms) for h in holdouts))
    assert "Audited: 105 runs at 3 budgets" in " ".join(drawn.get_supxlabel().split())
    assert found.audits.n_runs == 105


def test_shares_left_out_are_as_predicted(sweep: tuple[Runs, Report]) -> None:
    _, found = sweep
    axes = figure("audit", sweep).axes[-1]
    shown = np.concatenate([line.get_xydata() for line in lines(axes, "None") if len(line.get_xdata()) > 1])
    holdouts = [h for one in found.audits.left_out for h in one.holdouts]
    off = np.concatenate([np.array(h.observed) / h.predicted for h in holdouts])
    assert shown[:, 1] == pytest.approx(100 * (off - 1))
    assert np.abs(shown[:, 0] - np.repeat(list(ARCHS.values()), 21)).max() < 0.05
    for one, bar in zip(found.audits.left_out, axes.containers, strict=True):
        (low, high) = bar.lines[2][0].get_segments()[0]
        errors = np.concatenate([np.log(np.array(h.observed) / h.predicted) for h in one.holdouts])
        assert (low[0], high[0]) == (one.share, one.share)
        assert (low[1], high[1]) == pytest.approx(100 * (errors.mean() + np.array([-1, 1]) * errors.std()))


def test_two_budgets_hold_shares_out_alone(sweep: tuple[Runs, Report]) -> None:
    runs, found = sweep
    bare = replace(found.audits, held=(), distances=())
    drawn = FIGURES["audit"](runs, replace(found, audits=bare))
    assert drawn is not None and len(drawn.axes) == 1 and labels(drawn) == runs.archs
    assert "L(N, D)" not in drawn.get_supxlabel()
    refused = tuple(replace(one, refusal="too few") for one in bare.left_out)
    assert FIGURES["audit"](runs, replace(found, audits=replace(bare, left_out=refused))) is None


def test_what_is_not_audited_is_not_counted() -> None:
    """Two budgets hold out no larger one, and mamba2 is of no family of three shares."""
    runs = screen(table({"mamba2": 0.0, **ARCHS}, BUDGETS[:2]))
    found = report(runs)
    drawn = FIGURES["audit"](runs, found)
    assert drawn is not None and labels(drawn) == list(ARCHS)
    assert "Audited: 70 runs at 2 budgets, out of 70 runs, 1 seed." in caption(drawn)
    # what the one share that could be left out is predicted from counts too
    one = next(one for one in found.audits.left_out if one.share == 0.5)
    drawn = FIGURES["audit"](runs, replace(found, audits=replace(found.audits, left_out=(one,))))
    assert drawn is not None and labels(drawn) == ["hyena+attn"] and "out of 70 runs" in caption(drawn)
