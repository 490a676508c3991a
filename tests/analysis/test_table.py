"""Any table of runs: its columns are found whatever they are called, and what cannot be used is said."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_table import TRUTH, planted, values

from eutectic.analysis.table import columns, read
from eutectic.analysis.tablefit import fit_table
from eutectic.errors import UserError


@pytest.mark.parametrize(
    "names",
    [("params", "tokens", "loss"), ("N", "D", "Loss"), ("Model Size", "training_tokens", "val_loss")],
)
def test_obvious_names_are_guessed(names: tuple[str, ...]) -> None:
    twin = {names[2].upper(): -1.0}  # of two that are called alike, the first is it
    table = columns(planted().set_axis(names, axis=1).assign(**twin))
    found = {"params": names[0], "tokens": names[1], "loss": names[2], "flops": "6 * params * tokens"}
    assert table.sources == found
    assert values(fit_table(table, resamples=0)) == pytest.approx(TRUTH, rel=1e-6)


def test_rows_left_out_are_named_with_the_reason() -> None:
    runs = planted().assign(status="done", seed=0)
    bad = {0: ("loss", np.nan), 1: ("loss", 0.0), 2: ("loss", -1.0), 3: ("tokens", np.inf), 4: ("params", np.nan)}
    for row, (name, value) in bad.items():
        runs.loc[row, name] = value
    runs.loc[5, "status"] = "pruned"
    runs = pd.concat([runs, runs.iloc[[7]], runs.iloc[[5]].assign(status="diverged"), runs.iloc[[8]]])
    runs = pd.concat([runs, runs.iloc[[9]].assign(seed=1)])
    table = columns(runs)
    reasons = ["no loss", "loss zero", "loss negative", "tokens infinite", "no params", "pruned"]
    assert table.dropped.to_dict("list") == {
        "row": [1, 2, 3, 4, 5, 6, 37, 38, 39],
        "reason": [*reasons, "repeats an earlier row", "diverged", "repeats an earlier row"],
    }
    # another seed that came to the same loss is another run
    assert list(table.used.index) == [*range(7, 37), 40]
    shares = columns(planted().assign(ratio=np.linspace(0, 1.05, 36)), "hybrid-linear")
    assert shares.dropped.to_dict("list") == {"row": [35, 36], "reason": ["ratio outside 0 to 1"] * 2}


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda t: t.rename(columns={"params": "prams"}), {}, "needs parameters, .* nearest is 'prams': .* --params"),
        (lambda t: t.rename(columns={"loss": "final los"}), {}, "needs loss, .* nearest is 'final los': .* --loss"),
        (lambda t: t[["params", "loss"]], {}, "needs training tokens, .* add it and name the right one with --tokens"),
        (lambda t: t.rename(columns={"loss": "nats"}), {}, "needs loss, .* called so; there are nats: name .* --loss"),
        (lambda t: t, {"tokens": "Token"}, "no column 'Token' in the table; the nearest is 'tokens'"),
        (lambda t: t, {"tokens": "zzz"}, "no column 'zzz' in the table; there are params, tokens, loss"),
        (lambda t: t.assign(**dict.fromkeys("efghijklmo", 1)), {"tokens": "zzz"}, "tokens, loss, e, .*, m and 1 more"),
        (lambda t: t, {"cluster": "wlid"}, r"no column 'wlid' .* \(--resample takes pairs, wild or a column\)"),
        (lambda t: t, {"params": "loss", "loss": "loss"}, "--params and --loss both name the column 'loss'"),
        (lambda t: t.assign(r=0.5), {"ratio": "r"}, "is no law in the share of attention; choose .* hybrid-interior"),
        (lambda t: t, {"law": "hybrid-linear"}, "needs attention's share, .*--ratio"),
        (lambda t: t, {"law": "repeated"}, "needs unique training tokens, .* call the right one unique_tokens"),
        (lambda t: t, {"law": "chinchila"}, "no law 'chinchila'; there are gamma, .*chinchilla"),
        (lambda t: t.assign(loss=t["loss"].astype(str).replace(t["loss"].astype(str)[2], "2,5")), {}, "'2,5' in row 3"),
        (lambda t: t.assign(loss=t["loss"] > 3), {}, "column 'loss' has 'True' in row 1, which is no number"),
        (
            lambda t: t.assign(loss=pd.Timestamp("2024-01-31")),
            {},
            "column 'loss' has '2024-01-31.* in row 1, which",
        ),
        (lambda t: t.assign(loss=np.nan), {}, r"none of the 36 rows of the table can be used: no loss \(36\)"),
        (lambda t: t.set_axis(["params", "loss", "loss"], axis=1).assign(D=1), {}, "2 columns .* named 'loss'"),
    ],
)
def test_a_bad_table_gets_a_sentence(
    change: Callable[[pd.DataFrame], pd.DataFrame], options: dict[str, str], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        columns(change(planted()), **options)


def test_a_column_of_cells_of_many_kinds_is_its_numbers() -> None:
    """Decimals, as databases write, and text that is a number; empty cells are empty."""
    runs = planted()
    odd = runs.astype(object)
    odd["loss"] = [Decimal(repr(value)) for value in runs["loss"]]
    odd["tokens"] = runs["tokens"].astype(str)
    odd.loc[0, "params"] = None
    table = columns(odd)
    assert table.dropped.to_dict("records") == [{"row": 1, "reason": "no params"}]
    assert table.used[["params", "tokens", "loss"]].to_numpy() == pytest.approx(runs[1:].to_numpy(), rel=1e-12)


def test_a_group_may_be_a_column_that_is_needed() -> None:
    """By size: compute is then that of one size, and a law in sizes is told that there is but one in each group."""
    runs = planted()
    flops = 6 * runs["params"] * runs["tokens"]
    table = columns(runs.assign(loss=1.5 + 30 * flops**-0.12), "frontier-0", group="params")
    assert table.sources == {n: n for n in ("params", "tokens", "loss")} | {
        "group": "params",
        "flops": "6 * params * tokens",
    }
    assert table.used["flops"].to_numpy() == pytest.approx(flops.to_numpy())
    many = planted(0.01, copies=2)
    with pytest.raises(UserError, match=r"none of 6 groups .*; 1000000.0: parameters \(N\) is 1e\+06 in all 12 points"):
        fit_table(columns(many, group="params"))


def test_clusters_are_labels_and_do_not_change_the_rows() -> None:
    runs = pd.concat([planted(), planted()[:3]]).assign(run=[f"r{k}" for k in range(39)])
    table = columns(runs, cluster="run")
    assert table.dropped["row"].tolist() == [37, 38, 39]  # repeats, though of another label
    assert table.used["cluster"].tolist() == [f"r{k}" for k in range(36)]
    assert columns(runs, cluster="params").used["cluster"].nunique() == 6
    runs.iloc[4, -1] = None
    assert columns(runs, cluster="run").dropped.to_dict("records")[0] == {"row": 5, "reason": "no cluster"}


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_separators_are_told(mark: str, word: str, tmp_path: Path) -> None:
    """Also where commas are decimal points; in a quoted name they are no separators."""
    path = tmp_path / "runs.csv"
    for content in ("N;D;loss\n1;2;3\n", "N;D;loss\n1;2;3,5\n", "N;D;loss, nats\n1,0;2,0;3,5\n"):
        path.write_text(content.replace(";", mark))
        with pytest.raises(UserError, match=f"cells separated by {word}; save it with commas, and decimal points"):
            read(path)
    path.write_text(f'N,"loss{mark} nats"\n1,2\n')
    assert list(read(path).columns) == ["N", f"loss{mark} nats"]


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; give a table of runs, as CSV or parquet"):
        read(tmp_path)
    for name in ("curves.parquet", "notes.txt", "runs.parquet"):
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=f"is a folder; give a table of runs, such as {tmp_path / 'runs.parquet'}"):
        read(tmp_path)
