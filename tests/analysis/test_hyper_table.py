"""Laws of the best learning rate and batch from a table of any columns, and what they say where there is none."""

import math

import numpy as np
import pandas as pd
import pytest

from eutectic.analysis.hyper import Window
from eutectic.analysis.hyper_law import by_window
from eutectic.analysis.hyper_table import fit_hyper_table
from eutectic.analysis.solve import Refused
from eutectic.analysis.table import tuned_columns
from eutectic.errors import UserError


def tuning(sizes: tuple[float, ...] = (1e8, 3e8, 1e9), tokens: tuple[float, ...] = (5e9, 2e10)) -> pd.DataFrame:
    """lr = 2e-3 (N/5e8)^-0.7 (D/2e10)^0.3 and batch = 200 (D/2e10)^0.55 are best, each run exactly on its quadratic."""
    lr, batch = (v.ravel() for v in np.meshgrid(np.geomspace(1e-4, 3e-2, 9), np.geomspace(16, 2048, 8)))
    cells = []
    for n in sizes:
        for d in tokens:
            x = np.log(lr / (2e-3 * (n / 5e8) ** -0.7 * (d / 2e10) ** 0.3))
            y = np.log(batch / (200 * (d / 2e10) ** 0.55))
            loss = 2 + 0.015 * x**2 + 0.015 * y**2 - 0.012 * x * y
            cells.append(pd.DataFrame({"N": n, "D": d, "Peak LR": lr, "bs": batch, "loss": loss, "wd": 0.0}))
    return pd.concat(cells, ignore_index=True)


def test_planted_laws_come_back_from_columns_by_their_usual_names() -> None:
    table = tuned_columns(tuning(), "lr")
    names = {"params": "N", "tokens": "D", "loss": "loss", "lr": "Peak LR", "batch": "bs", "weight_decay": "wd"}
    assert table.sources == names
    (group,) = fit_hyper_table(table).groups
    assert group.fitted is not None and group.fitted.n == 6
    assert group.fitted.exponents == pytest.approx({"params": -0.7, "tokens": 0.3}, abs=1e-9)
    at = {"params": np.array([5e8]), "tokens": np.array([2e10])}
    assert group.fitted.predict(at) == pytest.approx(2e-3)
    assert group.fitted.constant == pytest.approx(2e-3 * 5e8**0.7 * 2e10**-0.3)
    # the quadratic is exact, so that no window moves the law; within a factor of 2 there are too few runs
    moved = group.windows["exponent"].to_numpy().reshape(-1, 2)
    known = ~np.isnan(moved).any(1)
    assert list(known) == [True, True, True, False, True, True]
    assert moved[known] == pytest.approx(np.tile([-0.7, 0.3], (5, 1)), abs=1e-6)
    (batch,) = fit_hyper_table(tuned_columns(tuning(), "batch", lr="Peak LR")).groups
    assert batch.fitted is not None and batch.fitted.exponents == pytest.approx({"tokens": 0.55}, abs=1e-9)


def test_tokens_follow_from_flops_and_groups_have_laws_of_their_own() -> None:
    runs = tuning()
    runs = runs.assign(flops=6 * runs["N"] * runs["D"]).drop(columns="D")
    both = pd.concat([runs.assign(arch="attn"), runs.assign(arch="hyena", **{"Peak LR": runs["Peak LR"] / 2})])
    table = tuned_columns(both, "lr")
    assert table.sources["tokens"] == "flops / (6 * params)"
    first, second = fit_hyper_table(table).groups
    assert (first.group, second.group) == ("attn", "hyena")
    assert first.fitted is not None and second.fitted is not None
    assert first.fitted.coefficient == pytest.approx(2 * second.fitted.coefficient)


def test_the_order_of_rows_does_not_matter_and_bad_rows_are_left_out() -> None:
    runs = tuning()
    noisy = runs.assign(loss=runs["loss"] + np.random.default_rng(0).normal(0, 0.003, len(runs)))
    one = fit_hyper_table(tuned_columns(noisy, "lr")).to_dict()
    other = fit_hyper_table(tuned_columns(noisy.sample(frac=1, random_state=1), "lr")).to_dict()
    assert one["groups"][0]["law"] == other["groups"][0]["law"]
    noisy.loc[[0, 1], "Peak LR"] = [0.0, np.nan]
    dropped = tuned_columns(noisy, "lr").dropped
    assert list(zip(dropped["row"], dropped["reason"], strict=True)) == [(1, "lr zero"), (2, "no lr")]


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (tuning((1e8,), (5e9, 2e10)), "needs 4 cells .* of 2 there are 2 .2 optimum."),
        (tuning().query("`Peak LR` == 1e-4"), "lr does not vary in any of 6"),
        (tuning((1e8, 3e8, 1e9, 3e9), (5e9,)), "do not differ in params and tokens by themselves"),
        (tuning().query("bs < 100"), "of 6 there are 0 .3 beyond grid, 3 too few points."),
    ],
)
def test_cells_that_hold_no_law_say_why(runs: pd.DataFrame, words: str) -> None:
    with pytest.raises(Refused, match=words):
        fit_hyper_table(tuned_columns(runs, "lr"))


def test_realized_tokens_are_of_one_cell() -> None:
    """Tokens rounded to whole batches, and parameters that hang on the batch by a tenth of a per cent."""
    runs = tuning()
    near = 1 + 1e-3 * np.log(runs["bs"] / 16) / np.log(128)
    realized = runs.assign(D=np.round(runs["D"] * near), N=np.round(runs["N"] * near))
    (group,) = fit_hyper_table(tuned_columns(realized, "lr")).groups
    assert group.fitted is not None and len(group.optima) == 6
    assert group.fitted.exponents == pytest.approx({"params": -0.7, "tokens": 0.3}, abs=1e-3)
    assert group.optima[0].params == pytest.approx(1e8, rel=1e-3)
    apart = pd.concat([runs, runs.assign(D=runs["D"] * 1.02)])  # twice as many cells
    assert len(fit_hyper_table(tuned_columns(apart, "lr")).groups[0].optima) == 12


def test_runs_without_weight_decay_do_not_undo_their_cell() -> None:
    """Though they be the lowest: the logarithm of 0 is no place in a quadratic."""
    runs = pd.concat([tuning().assign(wd=wd) for wd in (0.05, 0.1, 0.2)], ignore_index=True)
    runs["loss"] += 0.01 * np.log(runs["wd"] / 0.1) ** 2
    without = runs[runs["wd"] == 0.1].assign(wd=0.0, loss=lambda table: table["loss"] - 0.05)
    (group,) = fit_hyper_table(tuned_columns(pd.concat([runs, without]), "lr")).groups
    assert group.without == len(without) and {cell.status for cell in group.optima} == {"optimum"}
    assert group.fitted is not None
    assert group.fitted.exponents == pytest.approx({"params": -0.7, "tokens": 0.3}, abs=1e-6)
    assert fit_hyper_table(tuned_columns(tuning(), "lr")).groups[0].without == 0  # where it is 0 everywhere


def test_windows_without_a_law_are_shown_as_such() -> None:
    table = tuned_columns(tuning(), "lr").used
    rows = by_window(table, [Window(), Window(1e-6)], "lr", ["params", "tokens"])
    assert list(rows["cells"]) == [6, 6, 0, 0] and list(rows["exponent"].isna()) == [False, False, True, True]


def test_equal_losses_have_no_minimum() -> None:
    with pytest.raises(Refused, match=r"of 6 there are 0 .6 no minimum."):
        fit_hyper_table(tuned_columns(tuning().assign(loss=2.5), "lr"))


def test_groups_without_any_law_are_refused_by_name() -> None:
    runs = tuning((1e8,)).assign(arch="attn")
    both = pd.concat([runs, runs.assign(arch="hyena"), runs.iloc[:1].assign(arch="hyena", loss=np.nan)])
    with pytest.raises(Refused, match=r"none of 2 groups can be fitted; attn: .* 1 row was left out: no loss"):
        fit_hyper_table(tuned_columns(both, "lr"))


def test_a_table_without_the_setting_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"a law of lr needs the learning rate.*nearest is 'Peak_lrs': .* --lr"):
        tuned_columns(tuning().rename(columns={"Peak LR": "Peak_lrs"}), "lr")


def test_a_law_in_other_variables_is_not_set_beside_the_published() -> None:
    table = tuned_columns(tuning(), "lr").used
    alone = by_window(table, [Window(math.inf)], "lr", ["params"])
    assert alone["published"].isna().all() and not alone["excluded"].any()
