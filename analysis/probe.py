"""What trials of synthetic tasks (table `trials`) come to: scores with intervals over seeds, their means over tasks,
and their curves along a task's difficulty. analysis/rank.py holds them against compute-optimal loss.

Intervals. On one task, seed s gives architecture a the accuracy y_as = mu_a + b_s + e_as: mu fixed; b normal, what all
architectures have in common on the examples of a seed; e normal, of one variance for all of them. The variance within
architectures,

    W = sum_as (y_as - mean_a)^2 / f,    f = sum_a (n_a - 1),

has the mean var(b) + var(e) whichever seeds are there, so that W / n_a is unbiased for the variance of mean_a; nothing
is truncated. W is no chi-square of f degrees of freedom unless var(b) is 0, since architectures share their seeds. With
r = var(b) / (var(b) + var(e)), Z the seeds' indicators and Q what centres each architecture, the variance of W is
2 E[W]^2 (f (1 - r^2) + r^2 |Z'QZ|^2) / f^2, and Satterthwaite's degrees of freedom are

    f^2 / (f (1 - r^2) + r^2 |Z'QZ|^2):

A (S - 1) of A architectures of the same S seeds where r is 0, S - 1 where r is 1. r is estimated as 1 - R / W, clipped
to [0, 1], R being the residual mean square of architectures and seeds together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from eutectic.analysis.bootstrap import LEVEL
from eutectic.analysis.laws import Array
from eutectic.errors import UserError

SETUP = ["match", "n_layers"]  # architectures are compared where these agree
TASK = ["task", "settings", "examples", "tokens", "batch", "control"]
MODEL = ["arch", "layout", "d_model", "n_heads", "n_modes"]  # what sets a state among it


@dataclass(frozen=True)
class Means:
    """Over the tasks that all architectures have.

    table: a row per architecture, the best first: arch, accuracy, low, high, error, degrees, seeds (the fewest) and
    chance, the mean of the tasks'. tasks: labels of what was averaged. left_out: of each other task, who lacks it.
    """

    table: pd.DataFrame
    tasks: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]


def scores(trials: pd.DataFrame) -> pd.DataFrame:
    """A row for each architecture on each task in each setup (MODEL, TASK, SETUP), of models of the chosen rate,
    in_order().

    accuracy: on test examples, mean over `seeds`; low, high: its 95% interval, which may leave [0, 1]; error, degrees:
    what it is made of, NaN where no architecture of the task has two seeds, and NaN of one that has a single seed.
    label: labels(). chance, params, state_dim and lr are the trials'; lr is the most frequent, where trials of one cell
    chose differently.
    Raises UserError where no trial was tested.
    """
    tested = chosen(trials)
    if tested.empty:
        raise UserError(f"none of these {len(trials)} rows of trials has a test score; `eutectic probe` makes some.")
    cells = tested.groupby([*SETUP, *TASK], sort=False)
    found = in_order(pd.concat([_of_task(rows) for _, rows in cells], ignore_index=True)).reset_index(drop=True)
    return found.assign(label=labels(found))


def chosen(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of models that were tested. A seed that several trials of a cell have, of other rates, is there once: of
    the trial that does best on validation examples over the seeds that all these have, of equals the newest."""
    cells = [*SETUP, *TASK, *MODEL]
    tested = trials.reset_index(drop=True).dropna(subset="test").sort_values("finished", kind="stable")
    tested = tested.drop_duplicates([*cells, "trial", "seed"], keep="last")
    several = tested.duplicated([*cells, "seed"], keep=False)
    kept = [tested[~several]]
    for _, rows in tested[several].groupby(cells, sort=False):
        valid = rows.pivot(index="trial", columns="seed", values="valid").loc[rows["trial"].unique()[::-1]]
        for seed, own in rows.groupby("seed"):
            shared = valid.loc[valid[seed].notna()].dropna(axis=1).mean(axis=1)
            kept.append(own[own["trial"] == shared.idxmax()])
    return pd.concat(kept).sort_index()


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Tasks as they come, and of each its settings from the least, but the most examples first."""
    table = settings(rows).assign(examples=-rows["examples"])
    table.insert(0, "task", pd.factorize(rows["task"])[0])
    return rows.loc[table.sort_values([*table.columns], kind="stable").index]


def _of_task(rows: pd.DataFrame) -> pd.DataFrame:
    columns = [*SETUP, *TASK, "chance", "params", "state_dim"]
    models = rows.groupby(MODEL, sort=False)
    about = models[columns].first().assign(lr=models["lr"].agg(lambda rates: rates.mode().iloc[0]))
    by_seed = rows.pivot(index=MODEL, columns="seed", values="test").loc[about.index]
    return about.assign(**mixed(by_seed.to_numpy(float))).reset_index()


def mixed(y: Array) -> dict[str, Array]:
    """Of accuracies (architectures, seeds), NaN where there is none, by the model above."""
    there = ~np.isnan(y)
    count = there.sum(1)
    mean = np.nansum(y, 1) / count
    freedom = float((count - 1).sum())
    if freedom == 0:
        return _estimate(mean, np.full(len(y), np.nan), np.full(len(y), np.nan)) | {"seeds": count}
    centred = np.where(there, y - mean[:, None], 0.0)
    within = (centred**2).sum() / freedom
    shared = np.diag(there.sum(0)) - there.T @ (there / count[:, None])  # Z'QZ
    common, own = centred.sum(0), freedom - np.linalg.matrix_rank(shared)
    residual = (centred**2).sum() - common @ np.linalg.pinv(shared, hermitian=True) @ common
    # where nothing is left to tell it by, r is the one of the fewest degrees of freedom
    r = np.clip(1 - residual / own / within, 0, 1) if own and within else float(own == 0)
    degrees = freedom**2 / (freedom * (1 - r**2) + r**2 * (shared**2).sum())
    error = np.where(count > 1, np.sqrt(within / count), np.nan)
    return _estimate(mean, error, np.full(len(y), degrees)) | {"seeds": count}


def _estimate(accuracy: Array, error: Array, degrees: Array) -> dict[str, Array]:
    half = stats.t.ppf((1 + LEVEL) / 2, degrees) * error
    return {
        "accuracy": accuracy,
        "low": accuracy - half,
        "high": accuracy + half,
        "error": error,
        "degrees": degrees,
    }


def settings(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each row what its task was tried at, a column a setting, NaN where the task has none of that name."""
    texts = (text.partition("(")[2].rstrip(")").split(",") for text in rows["settings"])
    parsed = [{key: float(value) for key, value in (part.split("=") for part in parts)} for parts in texts]
    table = pd.DataFrame(parsed, index=rows.index)
    return table.assign(examples=rows["examples"].astype(float)) if "examples" in rows else table


def labels(rows: pd.DataFrame) -> pd.Series:
    """The task of each row by its name, and by those settings in which rows of that name differ: recall vocab=32."""
    found = rows["task"].copy()
    for _, own in rows.groupby("task"):
        table = settings(own)
        for name in table.columns[table.nunique() > 1]:
            found[own.index] += f" {name}=" + table[name].map(digits)
    return found


def digits(value: float) -> str:
    """All that it takes to tell a setting from others, and no more: 16, 0.2."""
    return np.format_float_positional(value, trim="-")


def grid(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Architectures down and tasks (labels) across, in the order in which they come. Raises UserError where one has
    two scores on a task: of several setups, say."""
    _refuse_two(rows, ["arch", "label"])
    table = rows.pivot(index="arch", columns="label", values=value)
    return table.loc[rows["arch"].unique(), rows["label"].unique()]


def refuse_mixed(trials: pd.DataFrame) -> None:
    """Raises UserError where a task's scores would stand side by side that are of other tokens, batches or widths, or
    an architecture's that no table could tell apart. trials: what tells rows of trials apart, also of some that are
    not done yet."""
    told = [*SETUP, *TASK, *MODEL]
    ways = trials[told].drop_duplicates(ignore_index=True).assign(label=lambda rows: labels(rows))
    _refuse_two(ways, [*SETUP, "control", "arch", "label"])
    for (*_, label), rows in ways.groupby([*SETUP, "control", "label"], sort=False):
        for name in ("tokens", "batch", "d_model"):
            first = rows.drop_duplicates(name)
            if len(first) > 1:
                (arch, other, *_), (its, others, *_) = first["arch"], first[name]
                raise UserError(
                    f"{label} was given to {arch} with a {name} of {its} and to {other} with one of {others}, which "
                    "cannot be compared; keep trials that differ so under names of their own (--name)."
                )


def _refuse_two(rows: pd.DataFrame, cell: list[str]) -> None:
    twice = rows[rows.duplicated(cell, keep=False)]
    if twice.empty:
        return
    two = twice[(twice[cell] == twice[cell].iloc[0]).all(axis=1)]
    differ = [name for name in (*SETUP, *MODEL, "tokens", "batch", "control") if two[name].nunique() > 1]
    raise UserError(
        f"{two['arch'].iloc[0]} has {len(two)} scores on {two['label'].iloc[0]}, which differ in {', '.join(differ)}; "
        "keep trials that differ so under names of their own (--name)."
    )


def means(scores: pd.DataFrame) -> Means:
    """Of the scores of one setup; controls are left out. The mean is over tasks, and a task's over its settings.

    Seeds of different tasks are taken for independent, so that squared errors add up, with Satterthwaite's degrees of
    freedom. Raises UserError where grid() does.
    """
    learnt = scores[~scores["control"]]
    accuracy = grid(learnt, "accuracy")
    missing = accuracy.columns[accuracy.isna().any()]
    left_out = {str(label): tuple(accuracy.index[accuracy[label].isna()]) for label in missing}
    tasks = accuracy.columns.drop(missing)
    names = learnt.drop_duplicates("label").set_index("label")["task"][tasks]
    weights = 1 / (names.map(names.value_counts()) * names.nunique()).to_numpy(float)
    parts = {name: grid(learnt, name)[tasks].to_numpy(float) for name in ("accuracy", "error", "degrees")}
    variances = (weights * parts["error"]) ** 2
    total = variances.sum(1)
    with np.errstate(invalid="ignore"):  # where no task's seeds differ at all
        degrees = total**2 / (variances**2 / parts["degrees"]).sum(1)
    made = _estimate(parts["accuracy"] @ weights, np.sqrt(total), np.where(total == 0, np.inf, degrees))
    table = pd.DataFrame(made, index=accuracy.index)
    table["seeds"] = grid(learnt, "seeds")[tasks].min(axis=1)
    table["chance"] = grid(learnt, "chance")[tasks].to_numpy(float) @ weights
    table = table.sort_values("accuracy", ascending=False, kind="stable").reset_index()
    return Means(table if len(tasks) else table[:0], tuple(tasks), left_out)


def capacity(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of tasks that were tried at several values of one setting, or numbers of examples, all others equal.

    axis: which; value: its; others: what the others were. A score is there once for each axis it is on, and the frame
    is empty where no architecture was tried at two values.
    """
    found = [scores.assign(axis="", value=0.0, others="")[:0]]
    for _, rows in scores[~scores["control"]].groupby([*SETUP, "task"], sort=False):
        table = settings(rows)
        for axis in table.columns:
            rest = table.drop(columns=axis)
            others = pd.Series(
                [", ".join(f"{k}={digits(v)}" for k, v in row.items()) for _, row in rest.iterrows()], rows.index
            )
            tried = rows.assign(axis=axis, value=table[axis], others=others)
            found += [
                own
                for _, own in tried.groupby("others", sort=False)
                if own.groupby("arch")["value"].nunique().max() > 1
            ]
    return pd.concat(found, ignore_index=True)
