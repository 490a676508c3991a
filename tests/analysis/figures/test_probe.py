"""Figures of synthetic tasks: what stands in them, and that a folder of trials alone has them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import trials_table
from drawing import BUDGETS, THREE, bars, table

from eutectic.analysis.figures import probe
from eutectic.analysis.figures.draw import draw
from eutectic.analysis.probe import capacity, means, scores
from eutectic.train.log import write_rows

ARCHS = ("hyena", "attn", "[mamba2|attn]")
LEVEL = {"hyena": 0.5, "attn": 0.9, "[mamba2|attn]": 0.7}
TASKS = {"recall(vocab=16,length=128)": 0.125, "compression(vocab=16,length=32)": 0.0625}
AXIS = {f"recall(vocab={vocab},length=128)": 2 / vocab for vocab in (16, 32, 64)}


def said(drawn: "probe.Figure") -> str:
    return " ".join(drawn.get_supxlabel().split())


def test_the_heat_map_has_numbers_chance_and_the_order_of_means() -> None:
    trials = trials_table.trials(ARCHS, TASKS, level=LEVEL)
    control = trials_table.trials(("attn",), dict([*TASKS.items()][:1]), level={"attn": 0.13}, control=True)
    every = pd.concat([trials, control, trials.assign(n_layers=4)], ignore_index=True)
    drawn = probe.heat(every)
    two, four = drawn.axes
    assert [label.get_text() for label in two.get_yticklabels()] == ["attn", "[mamba2|attn]", "hyena", "attn (control)"]
    columns = ["mean\nchance 0.0938", "recall\nchance 0.125", "compression\nchance 0.0625"]
    assert [label.get_text() for label in two.get_xticklabels()] == columns
    assert (two.get_title("left"), four.get_title("left")) == ("2 layers, equal state", "4 layers, equal state")
    found = scores(trials).set_index(["arch", "label"])["accuracy"]
    average = means(scores(trials)).table.set_index("arch")["accuracy"]
    numbers = [text.get_text() for text in two.texts]
    rows = ("attn", "[mamba2|attn]", "hyena")
    values = [value for arch in rows for value in (average[arch], found[arch, "recall"], found[arch, "compression"])]
    assert numbers[:9] == [f"{value:.2f}" for value in values] and numbers[9] == numbers[11] == "-"
    assert "3 architectures, 3 seeds, 78 models, 39 of them tested." in said(drawn) and "Control:" in said(drawn)
    assert "Control:" not in said(probe.heat(trials))


def test_curves_have_intervals_within_what_accuracy_can_be() -> None:
    trials = trials_table.trials(ARCHS, AXIS, level=LEVEL | {"attn": 1.0})
    drawn = probe.curves(trials)
    assert drawn is not None
    (axes,) = drawn.axes
    assert axes.get_title() == "recall: 2 layers, equal state\nlength=128, examples=12800"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["16", "32", "64"]
    found = capacity(scores(trials))
    drawn_bars = [np.column_stack([points[:, 1], ends]).tolist() for points, ends in bars(axes).values()]
    shown = found.assign(low=found["low"].clip(lower=0), high=found["high"].clip(upper=1))
    expected = [own[["accuracy", "low", "high"]].to_numpy().tolist() for _, own in shown.groupby("arch")]
    np.testing.assert_allclose(sorted(drawn_bars), sorted(expected))
    assert (found["high"] > 1).any()
    (chance,) = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
    assert list(chance.get_ydata()) == [2 / 16, 2 / 32, 2 / 64]
    assert probe.curves(trials_table.trials(ARCHS, TASKS)) is None


def test_fewer_examples_are_harder() -> None:
    tried = [trials_table.trials(ARCHS, TASKS, examples=examples) for examples in (800, 12_800)]
    drawn = probe.curves(pd.concat(tried, ignore_index=True))
    assert drawn is not None
    assert [label.get_text() for label in drawn.axes[0].get_xticklabels()] == ["12800", "800"]


def test_scores_stand_against_losses_with_names_and_tau() -> None:
    archs = trials_table.ARCHS[:6]
    trials = trials_table.trials(archs, TASKS)
    losses = pd.DataFrame({"arch": archs, "budget": 1e15, "loss": [3.0, 3.2, 3.1, 3.5, 3.4, np.nan]})
    losses["status"], losses["sweep"] = ["optimum"] * 5 + ["beyond grid"], "large"
    drawn = probe.scatter(trials, losses)
    assert drawn is not None
    (axes,) = drawn.axes
    assert axes.get_title() == "2 layers, equal state\nlarge, 1e15 FLOPs"
    points = np.concatenate([container.lines[0].get_xydata() for container in axes.containers])
    table = means(scores(trials)).table.merge(losses.dropna(), on="arch")
    np.testing.assert_allclose(sorted(points.tolist()), sorted(table[["accuracy", "loss"]].to_numpy().tolist()))
    assert sorted(text.get_text() for text in axes.texts) == sorted(archs[:5])
    assert "2 layers, equal state, large, 1e15 FLOPs: tau 0.60 [" in said(drawn)
    assert f"Without {archs[5]} at 1e15 FLOPs of large (beyond grid)." in said(drawn)
    turned = losses.assign(sweep="other", loss=-losses["loss"])
    both = probe.scatter(trials, pd.concat([losses, turned], ignore_index=True))
    assert both is not None and [axes.get_title().split()[4] for axes in both.axes] == ["large,", "other,"]
    assert "other, 1e15 FLOPs: tau -0.60 [" in said(both)
    assert probe.scatter(trials, losses.assign(arch="retnet")[:1]) is None


def test_layers_are_silenced_by_stack_and_task() -> None:
    """In the setup of their trial, and controls left out, of which nothing can be lost."""
    archs = ("hyena+attn", "attn")
    rows, trials = trials_table.ablation(archs, TASKS), trials_table.trials(archs, TASKS)
    others = rows.assign(trial="other " + rows["trial"], without=rows["valid"])
    control = trials.assign(trial="other " + trials["trial"], control=True)
    every = pd.concat([trials, control]), pd.concat([rows, others])
    drawn = probe.ablation(every[1], every[0])
    assert drawn is not None and probe.ablation(others, control) is None
    first, _ = drawn.axes
    setup = "2 layers, equal state"
    assert [axes.get_title() for axes in drawn.axes] == [f"hyena+attn\n{setup}", f"attn\n{setup}"]
    assert [label.get_text() for label in first.get_xticklabels()] == ["0\nhyena", "1\nattn"]
    found = [(points[:, 1], ends) for points, ends in bars(first).values()]
    for k, (means_, ends) in enumerate(found):
        middle = np.array([0.1, 0.5]) + 0.02 * k
        assert means_ == pytest.approx(middle)
        assert ends == pytest.approx(np.stack([middle - 0.05, middle + 0.05], 1))
    assert "12 models, 3 seeds." in said(drawn)
    apart = probe.ablation(every[1], every[0].assign(control=False, match=["state"] * 24 + ["width"] * 24))
    assert apart is not None and len(apart.axes) == 4


@pytest.mark.usefixtures("few_starts")
def test_they_are_drawn_of_trials_alone_and_with_a_sweep(tmp_path: Path) -> None:
    write_rows(tmp_path / "trials.parquet", "trials", trials_table.trials(ARCHS, AXIS).to_dict("records"))  # type: ignore[arg-type]
    write_rows(tmp_path / "ablation.parquet", "ablation", trials_table.ablation(ARCHS, AXIS).to_dict("records"))  # type: ignore[arg-type]
    names = ["scores", "capacity", "ablation"]
    assert [path.name for path in draw(tmp_path)] == [f"{name}.{end}" for name in names for end in ("png", "svg")]
    others = [{"sweep": "other", "arch": arch, "budget": 1e15, "loss": 3.0, "status": "optimum"} for arch in ARCHS]
    write_rows(tmp_path / "losses.parquet", "losses", others)
    assert draw(tmp_path)[-1].name == "correlation.svg"
    runs = table(THREE, BUDGETS[:1])
    write_rows(tmp_path / "runs.parquet", "runs", runs.to_dict("records"))  # type: ignore[arg-type]
    assert [path.stem for path in draw(tmp_path)][::2][:5] == [*names, "correlation", "isoflop"]
