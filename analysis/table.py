"""Any table of runs as what a law is fitted to: columns found, and rows of no use left out with the reason."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from eutectic.analysis.hyper import LAWFUL, SETTINGS
from eutectic.analysis.laws import LAWS, VARIABLES, Law
from eutectic.errors import UserError

# standard name -> what files call it, in lower-case letters and digits, likeliest first
NAMES = {
    "params": ("params", "n", "nparams", "numparams", "parameters", "nparameters", "paramcount", "modelsize"),
    "tokens": ("tokens", "d", "ntokens", "numtokens", "trainingtokens", "traintokens", "tokensseen"),
    "flops": ("flops", "c", "flop", "compute", "trainingflops", "trainingflop", "trainflops", "trainingcompute"),
    "loss": ("loss", "validloss", "valloss", "validationloss", "evalloss", "testloss", "finalloss"),
    "group": ("arch", "architecture"),
    "ratio": ("attnshare", "ratio", "r", "attentionshare", "attentionratio"),
    "unique_tokens": ("uniquetokens", "u"),
    "state": ("statedim", "statebytes", "statesize"),
    "lr": ("lr", "learningrate", "peaklr", "maxlr", "peaklearningrate", "maxlearningrate"),
    "batch": ("batch", "bs", "batchsize", "batchtokens", "globalbatchsize"),
    "weight_decay": ("weightdecay", "wd"),
    "warmup_fraction": ("warmupfraction", "warmupratio"),
    "init_scale": ("initscale",),
    "cluster": (),  # named, never guessed
}
OPTIONS = ("params", "tokens", "flops", "loss", "group", "ratio", "lr", "batch")  # of the command line
LABELS = ("group", "cluster")  # text, and may be a column that is something else besides
VARIABLE = {"N": "params", "D": "tokens", "C": "flops", "U": "unique_tokens", "S": "state", "r": "ratio"}
MEANING = {VARIABLE[v]: text for v, text in VARIABLES.items() if v in VARIABLE} | {
    "loss": "loss",
    "group": "group",
    "lr": "the learning rate",
    "batch": "the batch",
}
# C = 6 N D, solved for each
FORMULAS = {"params": "flops / (6 * tokens)", "tokens": "flops / (6 * params)", "flops": "6 * params * tokens"}
UNFIT = ("diverged", "failed", "pruned")  # statuses of runs whose loss is none of their law
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
LIKE = 0.6  # likeness of two names, of 1, that one may be meant for the other
LISTED = 12
FURTHER = tuple(name for name in SETTINGS if name not in LAWFUL)  # zero is a value of these


@dataclass(frozen=True)
class Rows:
    """The rows of a table that a law can be fitted to.

    used: columns by standard name (NAMES: those the law needs; loss), all float, and group and cluster, text; the index
    is the row in the file, from 1. dropped: columns row and reason. sources: standard name -> the column of the file it
    is, or how it follows from others.
    """

    used: pd.DataFrame
    dropped: pd.DataFrame
    sources: dict[str, str]


@dataclass(frozen=True)
class Table(Rows):
    """With the law of the loss that they are for."""

    law: Law


@dataclass(frozen=True)
class TunedTable(Rows):
    """With the setting whose best values a law is wanted of."""

    target: str


def read(path: Path) -> pd.DataFrame:
    """A CSV file (all cells text) or a parquet file. Raises UserError where there is none, or no rows in it."""
    if path.is_dir():
        tables = sorted((p for p in path.iterdir() if p.suffix in (".parquet", ".csv")), key=lambda p: p.stem != "runs")
        remedy = f"such as {tables[0]}" if tables else "as CSV or parquet"
        raise UserError(f"{path} is a folder; give a table of runs, {remedy}.")
    if not path.is_file():
        raise UserError(f"no file {path}; give a table of runs, as CSV or parquet.")
    with path.open("rb") as file:
        parquet = file.read(4) == b"PAR1" or path.suffix == ".parquet"
    try:
        frame = pq.read_table(path).to_pandas(ignore_metadata=True) if parquet else _read_csv(path)
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty; give a table with a header and a row per run.") from None
    except (pa.ArrowException, OSError, pd.errors.ParserError, UnicodeDecodeError) as error:
        kind = "parquet" if parquet else "CSV"
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as {kind} ({reason}); give a table of runs, CSV or parquet.") from None
    if frame.empty:
        raise UserError(f"{path} has no rows; give a table with a row per run.")
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    # as text and without a header: pandas would rename columns of equal name, and shift rows that have a cell too many
    options: dict[str, Any] = {"header": None, "dtype": str, "encoding": "utf-8-sig", "skipinitialspace": True}
    names = pd.read_csv(path, nrows=1, **options).iloc[0].astype(str)
    for mark, word in SEPARATORS.items():
        if sum(name.count(mark) for name in names) >= len(names):
            raise UserError(f"{path} has its cells separated by {word}; save it with commas, and decimal points.")
    cells = pd.read_csv(path, **options)
    return cells.iloc[1:].set_axis([str(name).strip() for name in cells.iloc[0]], axis=1)


def columns(frame: pd.DataFrame, law: str = "chinchilla", **named: str | None) -> Table:
    """What the law (a name of laws.LAWS) needs of a data frame, a row per run; columns not named are guessed.

    named: columns by standard name: params, tokens, flops, loss, group, ratio, and cluster, whose values are resampled
    whole. Two of params, tokens and flops give the third, C = 6 N D. Rows are grouped by `arch` where there is one,
    unless the law is one across architectures (in r). Raises UserError for a column that is missing, stands twice or
    holds what is no number, an unknown law, and where no row can be used.
    """
    if law not in LAWS:
        raise UserError(f"no law {law!r}; there are {', '.join((*LAWS, *LAWFUL))}.")
    chosen = LAWS[law]
    columns = {name: column for name, column in named.items() if column is not None}
    if "ratio" in columns and "r" not in chosen.inputs:
        hybrids = ", ".join(name for name, other in LAWS.items() if "r" in other.inputs)
        raise UserError(f"{law} is no law in the share of attention; choose with --law among {hybrids}.")
    needed = _needed(chosen)
    guessed = needed | {"loss"} | ({"group"} if "r" not in chosen.inputs else set())
    frame = _numbered(frame)
    rows = _select(frame, law, needed, guessed, columns)
    if {"params", "tokens"} <= needed and "flops" not in rows.sources:
        _add_cost(frame, rows.used, rows.sources)
    return Table(rows.used, rows.dropped, rows.sources, chosen)


def tuned_columns(frame: pd.DataFrame, target: str, **named: str | None) -> TunedTable:
    """As columns, for a law of the best `lr` or `batch` in parameters and tokens: those, the loss, and the settings
    that the table has, also by name."""
    columns = {name: column for name, column in named.items() if column is not None}
    needed = {"params", "tokens", target}
    guessed = needed | {"loss", "group", *SETTINGS}
    rows = _select(_numbered(frame), f"a law of {target}", needed, guessed, columns)
    return TunedTable(rows.used, rows.dropped, rows.sources, target)


def _select(frame: pd.DataFrame, law: str, needed: set[str], guessed: set[str], named: dict[str, str]) -> Rows:
    sources = _find(frame, law, needed, guessed, named)
    values = pd.DataFrame({n: _numbers(frame, c) for n, c in sources.items() if n not in LABELS}, index=frame.index)
    for name in (n for n in LABELS if n in sources):
        values[name] = frame[sources[name]].astype("string").astype(object)
    reason = _reasons(values, frame)
    if (reason != "").all():
        raise UserError(f"none of the {len(frame)} rows of the table can be used: {counted(reason)}.")
    used = values[reason == ""].copy()
    for name in needed - set(sources):
        sources[name], used[name] = FORMULAS[name], used.eval(FORMULAS[name])
    bad = reason[reason != ""]
    return Rows(used, pd.DataFrame({"row": bad.index, "reason": bad.to_numpy()}), sources)


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_axis(pd.RangeIndex(1, len(frame) + 1), axis=0)


def counted(reasons: pd.Series) -> str:
    """no loss (3), params zero (1)."""
    return ", ".join(f"{why} ({n})" for why, n in reasons.value_counts().items())


def _needed(law: Law) -> set[str]:
    """Standard names of what the law is a function of; M, tokens per parameter, is made from both."""
    return {VARIABLE[v] for letter in law.inputs for v in ("ND" if letter == "M" else letter)}


def _find(frame: pd.DataFrame, law: str, needed: set[str], guessed: set[str], named: dict[str, str]) -> dict[str, str]:
    """Standard name -> column: those named, and those guessed; the law needs `needed` of them, and the loss."""
    _check_named(frame, named)
    found, needed = dict(named), needed | {"loss"}
    for name in (n for n in NAMES if n not in named):
        if (name in guessed or name in FORMULAS) and (guess := _guess(name, frame, found)) is not None:
            found[name] = guess
    wanted = guessed | set(named) | {"group"}
    for name in (n for n in NAMES if n in needed and n not in found):
        if name not in FORMULAS or len(set(FORMULAS) - set(found)) > 1:
            raise UserError(_missing(name, law, [c for c in frame.columns if c not in found.values()]))
        wanted |= set(FORMULAS)
    sources = {name: found[name] for name in NAMES if name in found and name in wanted}
    for column in found.values():
        if (copies := list(frame.columns).count(column)) > 1:
            raise UserError(f"{copies} columns of the table are named {column!r}; rename all but one.")
    return sources


def _check_named(frame: pd.DataFrame, named: dict[str, str]) -> None:
    for name, column in named.items():
        if column not in frame:
            also = " (--resample takes pairs, wild or a column)" if name == "cluster" else ""
            raise UserError(f"no column {column!r} in the table; {_nearest([column], frame.columns)}{also}.")
    numbers = {name: column for name, column in named.items() if name not in LABELS}
    for name, column in numbers.items():
        if (first := next(n for n, c in numbers.items() if c == column)) != name:
            raise UserError(f"--{first} and --{name} both name the column {column!r}; each needs its own.")


def _guess(name: str, frame: pd.DataFrame, taken: dict[str, str]) -> str | None:
    """The likeliest column of that name, the first of several."""
    numbers = [column for there, column in taken.items() if there not in LABELS]
    free = {_plain(c): str(c) for c in reversed(list(frame.columns)) if c not in numbers}
    return next((free[alias] for alias in NAMES[name] if alias in free), None)


def _add_cost(frame: pd.DataFrame, used: pd.DataFrame, sources: dict[str, str]) -> None:
    """What the runs did cost, where the table has it of all rows, else 6 N D; only optima need it, not the law."""
    used["flops"], sources["flops"] = used.eval(FORMULAS["flops"]), FORMULAS["flops"]
    column = _guess("flops", frame, sources)
    if column is None:
        return
    flops = _floats(frame.loc[used.index, column])
    if bad := int((~(np.isfinite(flops) & (flops > 0))).sum()):
        sources["flops"] += f" ({column!r} has no positive number in {bad} rows)"
    else:
        used["flops"], sources["flops"] = flops, column


def _plain(name: object) -> str:
    return re.sub(r"[\W_]", "", str(name).lower())


def _missing(name: str, law: str, free: list[str]) -> str:
    """The sentence for a column that the law needs and that none of the free ones can be guessed to be."""
    option = name in OPTIONS
    remedy = f"name the right one with --{name}" if option else f"call the right one {name}"
    start = f"{law} needs {MEANING[name]}, and no column of the table is called so"
    if not free:
        return f"{start}; add it and {remedy}."
    return f"{start}; {_nearest(NAMES[name], free)}: {remedy}."


def _nearest(words: Sequence[str], there: Iterable[object]) -> str:
    """The column that is likest to one of the words, or all there are where none is like them."""
    names = [str(column) for column in there]
    likeness = [max(difflib.SequenceMatcher(None, _plain(w), _plain(n)).ratio() for w in words) for n in names]
    if max(likeness) >= LIKE:
        return f"the nearest is {names[int(np.argmax(likeness))]!r}"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"there are {', '.join(names[:LISTED])}{more}"


def _floats(cells: pd.Series) -> NDArray[np.float64]:
    if is_bool_dtype(cells) or not is_numeric_dtype(cells):
        cells = cells.astype("string")  # pandas would make numbers of dates and of true and false
    return pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _numbers(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where a cell is empty. Raises UserError for text, dates, true and false."""
    cells = frame[column]
    values = _floats(cells)
    text = np.flatnonzero(np.isnan(values) & cells.notna().to_numpy())
    if len(text):
        raise UserError(
            f"column {column!r} has {str(cells.iloc[text[0]])!r} in row {text[0] + 1}, which is no number; write e.g. "
            "1.5e9, and leave cells without a value empty."
        )
    return values


def _reasons(values: pd.DataFrame, frame: pd.DataFrame) -> pd.Series:
    """Why each row cannot be used, empty where it can."""
    reason = pd.Series("", index=values.index)

    def mark(bad: pd.Series, why: str) -> None:
        reason[bad & (reason == "")] = why

    if "status" in frame:
        status = frame["status"].astype("string").str.lower()
        for word in UNFIT:
            mark((status == word).fillna(False).astype(bool), word)
    for name, column in values.items():
        if name not in FURTHER:
            mark(column.isna(), f"no {name}")
        if name == "ratio":
            mark((column < 0) | (column > 1), "ratio outside 0 to 1")
        elif name not in LABELS and name not in FURTHER:
            mark(np.isinf(column), f"{name} infinite")
            mark(column == 0, f"{name} zero")
            mark(column < 0, f"{name} negative")
    # runs that differ in their seed alone are runs; how they are resampled does not matter
    seeded = values.assign(seed=frame["seed"].astype(str).to_numpy()) if "seed" in frame else values
    seeded = seeded.drop(columns="cluster", errors="ignore")
    good = seeded[reason == ""]
    mark(good.duplicated().reindex(values.index, fill_value=False), "repeats an earlier row")
    return reason
