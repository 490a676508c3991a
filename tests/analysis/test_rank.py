"""Rank correlations of scores with losses, and when they say nothing."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import trials_table
from scipy import stats

from eutectic.analysis import rank
from eutectic.analysis.bootstrap import weights
from eutectic.analysis.isoflop import IsoflopOptimum
from eutectic.analysis.probe import scores

TASK = {"recall(vocab=16,length=128)": 0.125}
ARCHS = trials_table.ARCHS[:8]


def scored(level: dict[str, float], **more: Any) -> pd.DataFrame:
    return scores(trials_table.trials(tuple(level), TASK, level=level, own=0, shared=0, **more))


def lost(loss: dict[str, float], status: str = "optimum") -> pd.DataFrame:
    rows = [(arch, 1e15, value, status) for arch, value in loss.items()]
    return pd.DataFrame(rows, columns=["arch", "budget", "loss", "status"])


def only(found: rank.Correlations) -> dict[str, Any]:
    mean, task = found.table.to_dict("records")
    assert (mean["task"], task["task"]) == ("mean", "recall")
    assert mean | {"task": ""} == pytest.approx(task | {"task": ""}, nan_ok=True)
    return {str(name): value for name, value in mean.items()}


@pytest.mark.parametrize(("measure", "theirs"), [(rank.kendall, stats.kendalltau), (rank.spearman, stats.spearmanr)])
def test_resampled_correlations_are_those_of_the_rows_drawn(measure: Any, theirs: Any) -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 5, 9).astype(float), random.integers(0, 5, 9).astype(float)
    drawn = weights(range(9), 40, seed=0)
    for found, times in zip(measure(drawn, x, y), drawn.astype(int), strict=True):
        assert found == pytest.approx(theirs(np.repeat(x, times), np.repeat(y, times)).statistic, nan_ok=True)
    assert np.isnan(measure(np.array([[3.0, 0, 0]]), x[:3], y[:3])).all()
    assert np.isnan(measure(np.ones((1, 9)), x, np.ones(9))).all()


def test_better_and_lower_is_positive() -> None:
    """Two of eight change places, and one pair of losses ties."""
    level = {arch: 0.9 - 0.1 * k for k, arch in enumerate(ARCHS)}
    loss = dict(zip(ARCHS, (3.0, 3.1, 3.2, 3.3, 3.4, 3.6, 3.5, 3.6), strict=True))
    row = only(rank.correlation(scored(level), lost(loss)))
    assert row["tau"] == pytest.approx(-stats.kendalltau(list(level.values()), list(loss.values())).statistic)
    assert row["rho"] == pytest.approx(-stats.spearmanr(list(level.values()), list(loss.values())).statistic)
    assert 0 < row["tau_low"] < row["tau"] < row["tau_high"] <= 1 and 0 < row["rho_low"] < row["rho"]
    assert row["sentence"] == "of 8 architectures the better have the lower loss."
    turned = only(rank.correlation(scored(level), lost({arch: -value for arch, value in loss.items()})))
    assert turned["tau"] == pytest.approx(-row["tau"]) and turned["tau_high"] < 0
    assert turned["sentence"] == "of 8 architectures the better have the higher loss."
    again = only(rank.correlation(scored(level), lost(loss)))
    assert again == row and only(rank.correlation(scored(level), lost(loss), seed=1)) != row


def test_what_includes_zero_is_said_to() -> None:
    level = {arch: 0.9 - 0.1 * k for k, arch in enumerate(ARCHS)}
    row = only(rank.correlation(scored(level), lost(dict(zip(ARCHS, (3, 1, 2, 5, 8, 4, 7, 6), strict=True)))))
    assert row["tau"] > 0.3 and row["tau_low"] < 0 < row["tau_high"]
    assert row["sentence"] == "cannot be told from none with 8 architectures."


def test_of_nothing_to_tell_no_interval_is_made() -> None:
    level = {arch: 0.9 - 0.1 * k for k, arch in enumerate(ARCHS)}
    one_order = only(rank.correlation(scored(level), lost({arch: 1 - value for arch, value in level.items()})))
    assert one_order["tau"] == pytest.approx(1) and np.isnan(one_order["tau_low"]) and np.isnan(one_order["rho_high"])
    assert one_order["sentence"].startswith("all 8 architectures stand in one order, the better with the lower loss;")
    tied = only(rank.correlation(scored(dict.fromkeys(ARCHS, 1.0)), lost(level)))
    assert np.isnan(tied["tau"]) and "tie in accuracy or in loss" in tied["sentence"]
    few = only(rank.correlation(scored(level), lost(dict(zip(ARCHS[:4], (3, 1, 2, 4), strict=True)))))
    assert not np.isnan(few["tau"]) and np.isnan(few["tau_low"])
    assert few["sentence"] == "too few architectures to tell: 4, where 5 are needed."
    none = only(rank.correlation(scored(level), lost({"retnet": 3.0})))
    assert none["archs"] == 0 and np.isnan(none["tau"])


def test_resamples_that_all_tie_open_the_interval() -> None:
    """Seven of eight do equally well, so that one resample in three has no accuracy but theirs."""
    level = dict.fromkeys(ARCHS, 1.0) | {ARCHS[-1]: 0.5}
    row = only(rank.correlation(scored(level), lost({arch: 3 + 0.1 * k for k, arch in enumerate(ARCHS)})))
    assert row["tau"] > 0 and (row["tau_low"], row["tau_high"]) == (-1, 1)
    assert row["sentence"] == "cannot be told from none with 8 architectures."


def test_an_interval_of_unrelated_orders_holds_none() -> None:
    """Of nine in ten and more, at the fewest architectures and above."""
    random = np.random.default_rng(0)
    for n in (rank.FEWEST, 8):
        names = trials_table.ARCHS[:n]
        given = scored({arch: 0.9 - 0.05 * k for k, arch in enumerate(names)}, seeds=1)
        losses = (dict(zip(names, random.permutation(n).astype(float), strict=True)) for _ in range(30))
        said = [only(rank.correlation(given, lost(loss)))["sentence"] for loss in losses]
        assert np.mean(["cannot be told" in sentence for sentence in said]) >= 0.9


def test_architectures_are_matched_by_layout_and_others_named() -> None:
    level = {"hyena+hyena+attn": 0.9, "hyena_implicit(max_length=128)": 0.8, "swa(window=32)": 0.7, "attn": 0.6}
    loss = {"hyena*2+attn": 3.0, "hyena_implicit(max_length=512)": 3.1, "swa(window=64)": 3.2, "attn": 3.3}
    beyond = lost({"attn": np.nan}, "beyond grid").assign(budget=1e16)
    found = rank.correlation(scored(level), pd.concat([lost(loss), beyond], ignore_index=True))
    assert found.without_loss == ("swa(window=32)",) and found.without_scores == ("swa(window=64)",)
    assert found.not_optima == (("attn", 1e16, "beyond grid"),)
    assert found.table.groupby("budget")["archs"].first().to_dict() == {1e15: 3, 1e16: 0}


def test_losses_are_the_minima_that_are_inside() -> None:
    inside = IsoflopOptimum("attn", 1e15, "optimum", 5, 5, 3.0, 1e6, loss=2.9)
    outside = IsoflopOptimum("hyena", 1e15, "beyond grid", 5, 5, 3.0, 1e6)
    table = rank.losses([inside, outside])
    assert table["loss"].tolist() == pytest.approx([2.9, np.nan], nan_ok=True)
    assert table["status"].tolist() == ["optimum", "beyond grid"]


def test_controls_and_tasks_that_few_tried_are_no_order() -> None:
    level = {arch: 0.9 - 0.1 * k for k, arch in enumerate(ARCHS)}
    assert rank.correlation(scored(level, control=True), lost(level)).table.empty
    other = scores(trials_table.trials(("retnet",), {"compression(vocab=16,length=32)": 0.1}))
    apart = rank.correlation(pd.concat([scored(level), other], ignore_index=True), lost(level))
    assert apart.table["task"].tolist() == ["recall", "compression"] and apart.tasks == ()
