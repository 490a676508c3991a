"""Optima of learning rate and batch against landscapes we made: recovery, coverage, cost, and what is refused."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eutectic.analysis.hyper import UNDECIDED, HyperOptimum, Window, fit, optima

LR = np.geomspace(2.5e-4, 1.6e-2, 13)
BATCH = np.geomspace(2**15, 2**21, 7)
CURVATURE = np.array([[0.03, -0.012], [-0.012, 0.02]])
EVERY_RUN = Window(excess=math.inf)


def landscape(
    lr: float = 2e-3, batch: float = 2.6e5, noise: float = 0.0, seed: int = 0, curvature: np.ndarray = CURVATURE
) -> pd.DataFrame:
    """One cell: 2.5 nats at the optimum, rising as half of z'Hz."""
    grid = np.stack(np.meshgrid(LR, BATCH), -1).reshape(-1, 2)
    z = np.log(grid / [lr, batch])
    loss = 2.5 + np.einsum("ni,ij,nj->n", z, curvature, z) / 2
    loss += np.random.default_rng(seed).normal(0, noise, len(loss))
    return pd.DataFrame({"params": 1e8, "tokens": 2e9, "lr": grid[:, 0], "batch": grid[:, 1], "loss": loss})


def only(runs: pd.DataFrame, window: Window) -> HyperOptimum:
    (found,) = optima(runs, window)
    return found


@given(lr=st.floats(4e-4, 1e-2), batch=st.floats(5e4, 1.5e6))
@settings(max_examples=30, deadline=None)
def test_an_exact_quadratic_is_recovered_wherever_its_minimum_lies_between_runs(lr: float, batch: float) -> None:
    found = only(landscape(lr, batch), EVERY_RUN)
    assert found.status == "optimum"
    assert found.values == {"lr": pytest.approx(lr), "batch": pytest.approx(batch)}
    assert np.array(found.hessian) == pytest.approx(CURVATURE)
    assert found.loss == pytest.approx(2.5)
    # off by two either way: by hand, H ln(2)^2 / 2; by 1/3, ln(3) for ln(2)
    assert found.cost("lr") == pytest.approx(0.03 * math.log(2) ** 2 / 2)
    assert found.cost("batch", 1 / 3) == pytest.approx(0.02 * math.log(3) ** 2 / 2)
    off = found.predict({"lr": np.array([lr, 2 * lr]), "batch": np.array([batch, batch])})
    assert off == pytest.approx([2.5, 2.5 + found.cost("lr")])


def test_the_window_is_an_excess_and_a_factor_around_the_lowest_run() -> None:
    runs = landscape()
    lowest = runs.loc[runs["loss"].idxmin()]
    near = runs["loss"] <= lowest["loss"] + 0.03
    assert only(runs, Window(excess=0.03)).n_used == near.sum()
    # the grid's steps: sqrt(2) in lr, 2 in batch
    assert only(runs, Window(math.inf, 2)).n_used == 5 * 3
    assert only(runs, Window(math.inf, 4)).n_used == 9 * 5
    ratio = runs[["lr", "batch"]] / lowest[["lr", "batch"]]
    inside = ((ratio < 3) & (ratio > 1 / 3)).all(axis=1)
    found = only(runs, Window(0.03, 3))
    assert (found.n_runs, found.n_used) == (91, (near & inside).sum())
    assert 6 < found.n_used < near.sum()
    assert (found.best_loss, found.best) == (lowest["loss"], pytest.approx(dict(lowest[["lr", "batch"]])))


def test_a_window_is_widened_run_by_run_until_it_decides() -> None:
    """Twice the batch costs 0.09 nats: of the grid's batches two lie within 0.05, and fix no quadratic."""
    steep = np.array([[0.03, -0.012], [-0.012, 0.4]])
    runs = landscape(batch=1.5 * BATCH[2], curvature=steep)
    narrow, found = only(runs, Window()), only(runs, Window(widest=0.5))
    assert (narrow.status, narrow.excess) == ("too few points", 0.05)
    assert found.status == "optimum" and found.values == pytest.approx({"lr": 2e-3, "batch": 1.5 * BATCH[2]})
    assert only(runs, Window(found.excess)) == found
    less = only(runs, Window(found.excess - 1e-9))
    assert less.status in UNDECIDED and less.n_used == found.n_used - 1 and less.n_used > narrow.n_used
    bounded = only(runs, Window(widest=found.excess - 1e-9))
    assert (bounded.status, bounded.n_used) == (less.status, less.n_used)
    # where the runs within 0.05 decide, be it that the minimum is beyond all runs, no further ones are asked
    for decided in (landscape(noise=0.003), landscape(lr=5e-2)):
        assert only(decided, Window(widest=0.5)) == only(decided, Window())


@pytest.mark.parametrize("seed", [73, 112, 133])
def test_a_window_is_widened_where_noise_puts_the_minimum_outside_of_its_runs_and_others_enclose_it(seed: int) -> None:
    runs = landscape(noise=0.02, seed=seed)
    narrow, found = only(runs, Window()), only(runs, Window(widest=0.5))
    assert (narrow.status, found.status) == ("beyond grid", "optimum")
    assert found.excess > 0.05 and found.n_used > narrow.n_used
    for name, value in (("lr", 2e-3), ("batch", 2.6e5)):
        assert found.intervals[name][0] < value < found.intervals[name][1]


def few_trials(seed: int, noise: float = 0.01) -> pd.DataFrame:
    """24 trials with noise in nats, two thirds of them about the best, their batches apart by factors of two that
    hit it or miss it by up to its half; twice the batch costs 0.036 nats."""
    random = np.random.default_rng(seed)
    off, wide = random.uniform(-0.35, 0.35), random.uniform(-2.2, 2.2, (8, 2))
    z = np.concatenate([wide, random.normal(0, 0.65, (16, 2))])
    z[:, 1] = np.round(z[:, 1] / math.log(2)) * math.log(2) + off
    loss = 2.5 + np.einsum("ni,ij,nj->n", z, [[0.08, 0.03], [0.03, 0.15]], z) / 2 + random.normal(0, noise, 24)
    columns = {"lr": 2e-3 * np.exp(z[:, 0]), "batch": 8192 * np.exp(z[:, 1]), "loss": loss}
    return pd.DataFrame({"params": 1e8, "tokens": 2e9, **columns})


@pytest.mark.parametrize("widest", [0.2, 0.5])
def test_a_widened_window_decides_more_cells_and_holds_the_truth_as_often(widest: float) -> None:
    narrow, found = ([only(few_trials(seed), Window(widest=w)) for seed in range(400)] for w in (0.0, widest))
    decided = [[o for o in cells if o.status == "optimum"] for cells in (narrow, found)]
    assert len(decided[0]) < 160 and len(decided[1]) > 360
    spreads = [
        {name: np.std([math.log(o.values[name]) for o in cells]) for name in ("lr", "batch")} for cells in decided
    ]
    for name, value in {"lr": 2e-3, "batch": 8192}.items():
        assert spreads[1][name] < 1.05 * spreads[0][name], "the cells won are no worse than those there were"
        inside = np.mean([o.intervals[name][0] <= value <= o.intervals[name][1] for o in decided[1]])
        # a standard deviation of 0.011
        assert 0.93 <= inside <= 0.98


def test_noise_as_large_as_the_window_leaves_cells_to_a_widened_one() -> None:
    cells = [few_trials(seed, noise=0.05) for seed in range(400)]
    narrow, found = ([only(cell, Window(widest=w)) for cell in cells] for w in (0.0, 0.5))
    decided = [[o for o in fitted if o.status == "optimum"] for fitted in (narrow, found)]
    assert len(decided[0]) < 20 and len(decided[1]) > 360
    for name, value in {"lr": 2e-3, "batch": 8192}.items():
        assert np.mean([o.intervals[name][0] <= value <= o.intervals[name][1] for o in decided[1]]) > 0.93


def test_a_factor_forgives_settings_written_with_three_digits() -> None:
    runs = landscape()
    runs["lr"] = [float(f"{lr:.2e}") for lr in runs["lr"]]
    assert only(runs, Window(math.inf, 2)).n_used == 5 * 3


def test_errors_follow_noise_and_agree_with_repetition() -> None:
    """The delta method's standard errors against the spread of 400 repetitions, window fixed by design."""
    found = [only(landscape(noise=0.003, seed=seed), Window(math.inf, 4)) for seed in range(400)]
    for name in ("lr", "batch"):
        spread = np.std(np.log([o.values[name] for o in found]))
        # a standard deviation of 400 draws is known to 3.5%
        assert np.sqrt(np.mean([o.errors[name] ** 2 for o in found])) == pytest.approx(spread, rel=0.12)
    spread = np.std([float(o.loss or 0) for o in found])
    assert np.mean([float(o.loss_error or 0) for o in found]) == pytest.approx(spread, rel=0.12)


@pytest.mark.parametrize("window", [Window(), Window(math.inf, 4)])
def test_the_intervals_hold_the_truth_as_often_as_they_say(window: Window) -> None:
    found = [only(landscape(noise=0.003, seed=seed), window) for seed in range(400)]
    truth = {"lr": 2e-3, "batch": 2.6e5}
    assert all(o.status == "optimum" for o in found)
    for name, value in truth.items():
        inside = sum(o.intervals[name][0] <= value <= o.intervals[name][1] for o in found)
        # 380 expected with a standard deviation of 4.4
        assert 366 <= inside <= 394


@pytest.mark.parametrize("lr", [1e-4, 5e-2])
@pytest.mark.parametrize("window", [EVERY_RUN, Window()])
def test_an_optimum_past_the_grids_edge_is_refused(lr: float, window: Window) -> None:
    found = only(landscape(lr=lr), window)
    assert (found.status, found.values, found.intervals, found.loss) == ("beyond grid", {}, {}, None)
    assert found.best["lr"] == pytest.approx(LR[0] if lr < 1e-3 else LR[-1])


def test_what_is_no_minimum_is_refused() -> None:
    runs = landscape()
    saddle = runs.assign(loss=runs["loss"] - 0.04 * np.log(runs["batch"] / 2.6e5) ** 2)
    assert only(saddle, EVERY_RUN).status == "no minimum"


def test_too_few_distinct_settings_are_refused() -> None:
    runs = landscape()
    assert only(runs, Window(excess=1e-4)).status == "too few points"
    seeds = pd.concat([runs.nsmallest(6, "loss")] * 5)
    assert only(seeds, EVERY_RUN).status == "too few points"
    two_batches = runs[runs["batch"].isin(BATCH[2:4])]  # enough runs, but nothing bends along batch
    assert only(two_batches, EVERY_RUN).status == "too few points"
    one_setting = pd.concat([runs.head(1)] * 5)
    assert only(one_setting, EVERY_RUN).status == "too few points"


def test_seeds_are_separate_points() -> None:
    runs = pd.concat([landscape(noise=0.003, seed=seed) for seed in range(4)])
    one, four = only(landscape(noise=0.003), Window(math.inf, 4)), only(runs, Window(math.inf, 4))
    assert four.n_used == 4 * one.n_used
    # four times the points: about half the error
    assert four.errors["lr"] == pytest.approx(one.errors["lr"] / 2, rel=0.25)


def test_diverged_runs_are_outside_every_window_and_still_counted() -> None:
    runs = landscape(noise=0.003)
    diverged = runs.assign(loss=np.where(runs["lr"] > 1e-2, np.nan, runs["loss"]))
    without = only(runs[runs["lr"] <= 1e-2], EVERY_RUN)
    found = only(diverged, EVERY_RUN)
    assert found.values == without.values
    assert (found.n_runs, found.n_used) == (91, without.n_used)
    nothing = only(runs.assign(loss=np.nan), EVERY_RUN)
    assert (nothing.status, nothing.n_used, nothing.best_loss) == ("too few points", 0, math.inf)


def test_a_setting_that_does_not_vary_is_left_out() -> None:
    runs = landscape(noise=0.001)
    runs = runs[runs["batch"] == runs["batch"].iloc[0]]
    with_column, without = only(runs, EVERY_RUN), only(runs.drop(columns="batch"), EVERY_RUN)
    assert with_column == without
    assert list(without.values) == ["lr"]
    # the parabola by other means, its curvature and, from its covariance, the minimum's error
    x = np.log(runs["lr"].to_numpy())
    (c2, c1, _), covariance = np.polyfit(x, runs["loss"].to_numpy(), 2, cov=True)
    slope = np.array([c1 / (2 * c2**2), -1 / (2 * c2), 0])
    assert without.values["lr"] == pytest.approx(np.exp(-c1 / (2 * c2)))
    assert without.hessian[0][0] == pytest.approx(2 * c2)
    assert without.errors["lr"] == pytest.approx(np.sqrt(slope @ covariance @ slope), rel=1e-4)


def further(bend: float, slope: float = 0.0, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """The landscape at 60 random settings, to which weight decay adds bend * w^2 + slope * w, with w its logarithm
    about 0.1, and a rate at its best is lower the more it decays."""
    random = np.random.default_rng(seed)
    x, y, w = random.uniform(-1, 1, (3, 60)) * [[1.2], [1.2], [1.5]]
    v = np.stack([x + 0.3 * w, y], -1)
    loss = 2.5 + np.einsum("ni,ij,nj->n", v, CURVATURE, v) / 2 + bend * w**2 + slope * w + random.normal(0, noise, 60)
    columns = {"lr": 2e-3 * np.exp(x), "batch": 2.6e5 * np.exp(y), "weight_decay": 0.1 * np.exp(w), "loss": loss}
    return pd.DataFrame({"params": 1e8, "tokens": 2e9, **columns})


def test_further_settings_that_vary_bend_the_quadratic_too() -> None:
    found = only(further(0.02, slope=0.01), EVERY_RUN)
    # its minimum along w is at -slope / (2 bend), and the best rate there is exp(-0.3 w) times that at w = 0
    assert found.values == pytest.approx(
        {"lr": 2e-3 * math.exp(0.075), "batch": 2.6e5, "weight_decay": 0.1 * math.exp(-0.25)}
    )
    assert found.loss == pytest.approx(2.5 - 0.01**2 / 4 / 0.02)
    assert found.cost("lr") == pytest.approx(0.03 * math.log(2) ** 2 / 2)
    # blind to it, its effect is noise
    assert max(np.abs(only(further(0.02, slope=0.01).drop(columns="weight_decay"), EVERY_RUN).residuals)) > 0.01


@pytest.mark.parametrize(("bend", "slope"), [(-0.004, 0.0), (0.001, 0.02)])
def test_a_further_setting_without_a_best_value_is_kept_where_it_was_tried(bend: float, slope: float) -> None:
    runs = further(bend, slope)
    found, middle = only(runs, EVERY_RUN), float(np.log(runs["weight_decay"] / 0.1).mean())
    assert found.status == "optimum"
    assert found.values == pytest.approx({"lr": 2e-3 * math.exp(-0.3 * middle), "batch": 2.6e5})
    assert found.loss == pytest.approx(2.5 + bend * middle**2 + slope * middle)
    assert found.best["weight_decay"] in set(runs["weight_decay"])


def test_errors_agree_with_repetition_where_a_further_setting_is_kept() -> None:
    found = [only(further(-0.004, noise=0.003, seed=seed), EVERY_RUN) for seed in range(400)]
    assert all(o.status == "optimum" for o in found)
    kept = [o for o in found if list(o.values) == ["lr", "batch"]]
    assert len(kept) > 390
    truth = [2e-3 * math.exp(-0.3 * math.log(o.centre["weight_decay"] / 0.1)) for o in kept]
    inside = sum(o.intervals["lr"][0] <= value <= o.intervals["lr"][1] for o, value in zip(kept, truth, strict=True))
    # 380 expected with a standard deviation of 4.4
    assert 366 <= inside <= 394


def test_a_run_without_a_setting_is_counted_and_not_used() -> None:
    runs = further(0.02, noise=0.001)
    odd = runs.head(2).assign(weight_decay=[0.0, np.nan], loss=2.6)
    found = only(pd.concat([runs, odd]), EVERY_RUN)
    assert (found.n_runs, found.n_used) == (62, 60)
    assert found.values == only(runs, EVERY_RUN).values


def test_cells_are_of_one_group_size_and_token_count() -> None:
    one, other = landscape(), landscape(lr=1e-3).assign(tokens=4e9)
    named = pd.concat([one.assign(group="hyena"), other.assign(group="hyena"), one.assign(group="attn")])
    found = optima(named, Window())
    assert [(o.group, o.tokens) for o in found] == [("attn", 2e9), ("hyena", 2e9), ("hyena", 4e9)]
    assert [o.values["lr"] for o in found] == pytest.approx([2e-3, 2e-3, 1e-3])
    assert [o.group for o in optima(pd.concat([one, other]), Window())] == ["", ""]


@given(lr_unit=st.floats(1e-3, 1e3), batch_unit=st.floats(1e-6, 1e3), order=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_units_and_row_order_change_nothing_else(lr_unit: float, batch_unit: float, order: int) -> None:
    runs = landscape(noise=0.003)
    base = only(runs, Window(0.05, 4))
    other = runs.sample(frac=1, random_state=order)
    other = other.assign(lr=other["lr"] * lr_unit, batch=other["batch"] * batch_unit)
    found = only(other, Window(0.05, 4))
    assert found.n_used == base.n_used
    assert found.values["lr"] == pytest.approx(base.values["lr"] * lr_unit, rel=1e-6)
    assert found.values["batch"] == pytest.approx(base.values["batch"] * batch_unit, rel=1e-6)
    assert found.errors == pytest.approx(base.errors, rel=1e-6)
    assert found.cost("lr") == pytest.approx(base.cost("lr"), rel=1e-6)


def test_fit_takes_a_cell_without_a_frame() -> None:
    runs = landscape(noise=0.003)
    columns = {name: runs[name].to_numpy() for name in ("lr", "batch")}
    assert fit("", 1e8, 2e9, columns, runs["loss"].to_numpy(), Window()) == only(runs, Window())
