"""Scores of synthetic tasks: intervals that cover, means over the tasks that all have, and curves along difficulty."""

import numpy as np
import pandas as pd
import pytest
import trials_table
from scipy import stats

from eutectic.analysis import probe
from eutectic.errors import UserError

TWO = {"recall(vocab=16,length=128)": 0.125, "compression(vocab=16,length=32)": 0.0625}
GRID = {f"recall(vocab={v},length={n})": 2 / v for v, n in ((16, 128), (32, 128), (64, 128), (16, 256))}


def test_the_model_by_hand() -> None:
    """Squares within: 0.04 of 4; of seeds 0.03, which leaves 0.01 of 2: W 0.01, R 0.005, r 1/2; |Z'QZ|^2 is 8."""
    found = probe.mixed(np.array([[0.9, 0.8, 0.7], [0.5, 0.6, 0.4]]))
    assert found["accuracy"] == pytest.approx([0.8, 0.5])
    assert found["error"] == pytest.approx([np.sqrt(0.01 / 3)] * 2)
    assert found["degrees"] == pytest.approx([16 / (4 * 0.75 + 0.25 * 8)] * 2)
    assert found["high"] == pytest.approx(found["accuracy"] + stats.t.ppf(0.975, 3.2) * np.sqrt(0.01 / 3))
    assert found["accuracy"] - found["low"] == pytest.approx(found["high"] - found["accuracy"])


def test_one_architecture_has_students_interval() -> None:
    values = np.array([[0.9, 0.7, 0.75, 0.6]])
    found = probe.mixed(values)
    expected = stats.ttest_1samp(values[0], 0).confidence_interval()
    assert [found["low"][0], found["high"][0]] == pytest.approx([expected.low, expected.high])


def test_seeds_that_nothing_tells_from_noise_are_taken_for_shared() -> None:
    """Two architectures with one seed in common: of 4 numbers, 2 means and 2 seeds leave nothing."""
    found = probe.mixed(np.array([[0.9, 0.8, np.nan], [np.nan, 0.5, 0.7]]))
    assert found["error"] == pytest.approx([np.sqrt((0.005 + 0.02) / 2 / 2)] * 2)
    assert found["degrees"] == pytest.approx([4 / 2.5] * 2)


def test_of_one_seed_there_is_no_interval() -> None:
    alone = probe.mixed(np.array([[0.9], [0.5]]))
    assert np.isnan(alone["low"]).all() and alone["accuracy"] == pytest.approx([0.9, 0.5])
    beside = probe.mixed(np.array([[0.9, 0.8, 0.7], [0.5, np.nan, np.nan]]))
    assert np.isnan(beside["low"]).tolist() == [False, True] and beside["seeds"].tolist() == [3, 1]


def test_equal_accuracies_have_an_interval_of_no_width() -> None:
    found = probe.mixed(np.ones((3, 3)))
    assert found["low"].tolist() == found["high"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("gaps", [False, True], ids=["all seeds", "some lack a seed"])
def test_intervals_cover(share: float, gaps: bool) -> None:
    """95% give or take what Satterthwaite's approximation is off by: 92% at worst, where both variances matter."""
    random = np.random.default_rng(1)
    held = []
    for _ in range(800):
        y = np.sqrt(share) * random.normal(size=3) + np.sqrt(1 - share) * random.normal(size=(6, 3))
        if gaps:
            y[[0, 1], [2, 0]] = np.nan
        found = probe.mixed(y)
        held.append((found["low"] < 0) & (found["high"] > 0))
    assert 0.92 < np.mean(held) < 0.975


def test_scores_are_of_the_rate_that_validation_chose_in_whichever_trial() -> None:
    trials = trials_table.trials(("attn", "hyena"), TWO)
    found = probe.scores(trials)
    assert len(found) == 4 and (found["lr"] == 3e-3).all() and (found["seeds"] == 3).all()
    tested = trials.dropna(subset="test").groupby(["arch", "settings"])["test"].mean()
    for row in found.to_dict("records"):
        assert row["accuracy"] == pytest.approx(tested[row["arch"], row["settings"]])
    assert found["chance"].tolist() == [0.125, 0.125, 0.0625, 0.0625]
    again = trials[trials["seed"] == 0].assign(trial="other", test=0.0, finished="2031-01-01")
    renewed = probe.scores(pd.concat([again.assign(valid=1.0), trials]))
    assert (renewed["seeds"] == 3).all() and (renewed["accuracy"] < found["accuracy"] - 0.2).all()
    for valid in (0.0, np.nan):
        worse = pd.concat([again.assign(test=1.0, valid=valid), trials])
        assert probe.scores(worse)["accuracy"].tolist() == found["accuracy"].tolist()
    equal = probe.scores(pd.concat([again.assign(valid=0.5), trials.assign(valid=0.5)]))
    assert equal["accuracy"].tolist() == renewed["accuracy"].tolist()
    with pytest.raises(UserError, match="none of these 24 rows of trials has a test score"):
        probe.scores(trials.assign(test=np.nan))


def test_controls_and_setups_are_apart() -> None:
    """Nor do they lend each other their variance."""
    quiet = {"attn": 0.5, "hyena": 0.5}
    learnt = trials_table.trials(("attn", "hyena"), TWO)
    control = trials_table.trials(("attn", "hyena"), TWO, level=quiet, own=1e-4, shared=0, control=True)
    deeper = trials_table.trials(("attn", "hyena"), TWO, level=quiet, own=1e-4, shared=0, n_layers=4)
    found = probe.scores(pd.concat([learnt, control, deeper], ignore_index=True))
    assert len(found) == 12
    noisy = found["error"] > 1e-3
    assert noisy.tolist() == (~found["control"] & (found["n_layers"] == 2)).tolist()
    assert not probe.means(found[found["n_layers"] == 2]).table["accuracy"].lt(0.6).any()
    with pytest.raises(UserError, match="attn has 2 scores on recall, which differ in n_layers;"):
        probe.means(found)


def test_states_of_other_sizes_are_not_taken_for_the_same() -> None:
    """A modal convolution has its state by its modes, which its layout does not name."""
    trials = [trials_table.trials(("attn", "hyena"), TWO, n_modes=modes) for modes in (8, 29)]
    with pytest.raises(UserError, match="attn has 2 scores on recall, which differ in n_modes;"):
        probe.means(probe.scores(pd.concat(trials, ignore_index=True)))


def test_trials_of_a_cell_are_compared_over_seeds_that_both_have() -> None:
    attn = trials_table.trials(("attn",), {"recall(vocab=16,length=128)": 0.125}, seeds=6)
    few = attn[attn["seed"] < 3].assign(trial="few", lr=3e-3, valid=0.8)
    many = attn.assign(trial="many", lr=1e-2, valid=np.where(attn["seed"] < 3, 0.9, 0.4))
    kept = probe.chosen(pd.concat([many, few]))
    assert kept["trial"].tolist() == ["many"] * 6 and kept["seed"].tolist() == list(range(6))
    third = attn[attn["seed"] >= 3].assign(trial="third", valid=0.3)  # so that all seeds are there twice
    assert probe.chosen(pd.concat([many, few, third]))["trial"].tolist() == ["many"] * 6
    more = attn[attn["seed"] >= 3].assign(trial="more", valid=0.1)  # of seeds of their own
    assert sorted(probe.chosen(pd.concat([few, more]))["trial"]) == ["few"] * 3 + ["more"] * 3


@pytest.mark.parametrize("changed", [{"batch": 64}, {"tokens": 5, "n_heads": 2}])
def test_what_no_table_could_tell_apart_is_refused(changed: dict[str, int]) -> None:
    kept = trials_table.trials(("attn", "hyena"), TWO)
    apart = {"match": "width", "n_layers": 4, "control": True, "examples": 800, "settings": "recall(vocab=32)"}
    for name, value in apart.items():
        probe.refuse_mixed(pd.concat([kept, kept.assign(**{name: value}, **changed)]))
    with pytest.raises(UserError, match=f"attn has 2 scores on recall, which differ in .*{min(changed)}.*names of"):
        probe.refuse_mixed(pd.concat([kept, kept.assign(**changed)]))


@pytest.mark.parametrize("name", ["batch", "tokens", "d_model"])
def test_architectures_are_not_compared_by_other_budgets(name: str) -> None:
    attn, hyena = (trials_table.trials((arch,), TWO) for arch in ("attn", "hyena"))
    probe.refuse_mixed(pd.concat([attn, hyena.assign(n_heads=2, n_modes=29, layout="hyena(filter_order=3)")]))
    with pytest.raises(UserError, match=f"recall was given to attn with a {name} of .* and to hyena with one of 7"):
        probe.refuse_mixed(pd.concat([attn, hyena.assign(**{name: 7})]))


def test_settings_are_told_apart_by_all_their_digits() -> None:
    tasks = {f"noisy_recall(noise={noise})": 0.1 for noise in ("0.2", "0.1234567", "0.12345671")}
    found = probe.scores(trials_table.trials(("attn",), tasks))["label"]
    assert [label.partition("=")[2] for label in found] == ["0.1234567", "0.12345671", "0.2"]


def test_a_filter_made_for_a_length_has_a_curve_along_it() -> None:
    """Its layout names the length."""
    lengths = {f"recall(vocab=16,length={n})": 0.125 for n in (128, 256)}
    trials = trials_table.trials(("hyena_implicit",), lengths)
    trials["layout"] = "hyena_implicit(max_length=" + trials["settings"].str.extract(r"length=(\d+)")[0] + ")"
    assert probe.capacity(probe.scores(trials))["value"].tolist() == [128, 256]


def test_labels_have_the_settings_that_differ_in_their_order() -> None:
    found = probe.scores(trials_table.trials(("attn",), GRID | TWO))
    assert found["label"].tolist() == [
        *(f"recall vocab={v} length={n}" for v, n in ((16, 128), (16, 256), (32, 128), (64, 128))),
        "compression",
    ]
    fewer = [trials_table.trials(("attn",), TWO, examples=examples) for examples in (800, 6400, 1600)]
    several = probe.scores(pd.concat(fewer, ignore_index=True))["label"].tolist()
    assert several == [f"{task} examples={n}" for task in ("recall", "compression") for n in (6400, 1600, 800)]


def test_the_mean_is_over_tasks_that_all_have_and_a_tasks_settings() -> None:
    trials = trials_table.trials(("attn", "hyena"), GRID | TWO)
    found = probe.scores(trials)
    mean = probe.means(found)
    of_attn = found[found["arch"] == "attn"].set_index("label")
    recall = of_attn[of_attn["task"] == "recall"]
    best = mean.table.set_index("arch").loc["attn"]
    assert best["accuracy"] == pytest.approx((recall["accuracy"].mean() + of_attn["accuracy"]["compression"]) / 2)
    assert best["chance"] == pytest.approx((recall["chance"].mean() + 0.0625) / 2)
    variances = np.append((recall["error"] / 8) ** 2, (of_attn["error"]["compression"] / 2) ** 2)
    assert best["error"] == pytest.approx(np.sqrt(variances.sum()))
    degrees = np.append(recall["degrees"], of_attn["degrees"]["compression"])
    assert best["degrees"] == pytest.approx(variances.sum() ** 2 / (variances**2 / degrees).sum())
    assert mean.left_out == {} and mean.table["arch"].tolist() == ["attn", "hyena"]
    lacking = found.drop(found.index[(found["arch"] == "hyena") & (found["label"] == "recall vocab=32 length=128")])
    fewer = probe.means(lacking)
    assert fewer.left_out == {"recall vocab=32 length=128": ("hyena",)} and len(fewer.tasks) == 4
    nothing = probe.means(found[(found["arch"] == "attn") == (found["task"] == "recall")])
    assert nothing.table.empty and len(nothing.left_out) == 5


def test_capacity_is_along_one_setting() -> None:
    trials = trials_table.trials(("attn", "hyena"), GRID | TWO)
    fewer = trials_table.trials(("attn",), TWO, examples=800)
    found = probe.capacity(probe.scores(pd.concat([trials, fewer], ignore_index=True)))
    curves = found.groupby(["task", "axis", "others", "arch"])["value"].agg(list).to_dict()
    alone = [12800.0, 800.0]
    assert curves == {
        ("recall", "vocab", "length=128, examples=12800", "attn"): [16, 32, 64],
        ("recall", "vocab", "length=128, examples=12800", "hyena"): [16, 32, 64],
        ("recall", "length", "vocab=16, examples=12800", "attn"): [128, 256],
        ("recall", "length", "vocab=16, examples=12800", "hyena"): [128, 256],
        ("recall", "examples", "vocab=16, length=128", "attn"): alone,
        ("recall", "examples", "vocab=16, length=128", "hyena"): alone[:1],
        ("compression", "examples", "vocab=16, length=32", "attn"): alone,
        ("compression", "examples", "vocab=16, length=32", "hyena"): alone[:1],
    }
    assert probe.capacity(probe.scores(trials_table.trials(("attn",), TWO))).empty
