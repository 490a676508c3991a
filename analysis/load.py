"""The runs of a sweep as a table fit for fitting, and those left out with the reason."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from eutectic.analysis import schema
from eutectic.errors import UserError

# losses and compute compare only where these agree
ONE_VALUED = (
    "corpus_sha256",
    "tokenizer_sha256",
    "seq_len",
    "valid_sequences",
    "convention",
    "conv_algorithm",
    "channel",
    "match",
)
CURVES = ("run_id", "tokens", "flops", "train_loss")
CELL = ["arch", "params", "tokens", "seed"]  # runs that differ in how they were trained alone
VARIED = ["lr", "batch_size", "weight_decay", "warmup_fraction", "init_scale"]
OUTDONE = "other settings did better"
GRAFTED = "begun from trained weights"
READING = (pa.ArrowException, OSError, KeyError)  # what reading a damaged table raises


@dataclass(frozen=True)
class Runs:
    """used: rows of the `runs` schema to fit laws of size to, of each cell (CELL) that with the best settings. tried:
    these and the rows that were outdone, to find the best settings from. dropped: columns run_id, arch, budget, reason.
    curves: of the `curves` schema what envelopes are made of (CURVES); no rows where none were logged.
    """

    used: pd.DataFrame
    tried: pd.DataFrame
    dropped: pd.DataFrame
    curves: pd.DataFrame

    @property
    def shares(self) -> dict[str, float]:
        """Of attention, by architecture, from none to all, as tables and figures read."""
        return shares_of(self.used)

    @property
    def archs(self) -> list[str]:
        """In the order of their shares."""
        return list(self.shares)

    @property
    def budgets(self) -> list[float]:
        return sorted(float(b) for b in self.used["budget"].unique())

    def select(self, arch: str, budget: float | None = None) -> pd.DataFrame:
        rows = self.used[self.used["arch"] == arch]
        return rows if budget is None else rows[rows["budget"] == budget]


def shares_of(frame: pd.DataFrame) -> dict[str, float]:
    """The same of any rows of the `runs` schema."""
    shares = frame.groupby("arch")["attn_share"].first().sort_values(kind="stable")
    return {str(arch): float(share) for arch, share in shares.items()}


def load(folder: Path) -> Runs:
    """Read FOLDER/runs.parquet, and curves.parquet where there is one.

    Raises UserError where a file is unreadable, the first is missing, or screen() does.
    """
    return with_curves(folder, read(folder))


def with_curves(folder: Path, frame: pd.DataFrame) -> Runs:
    """load() of what read() gave."""
    path = folder / "curves.parquet"
    try:
        curves = pq.read_table(path, columns=list(CURVES), read_dictionary=["run_id"]) if path.exists() else None
    except READING as error:
        raise _unreadable(path, error) from None
    return screen(frame, None if curves is None else curves.to_pandas())


def read(folder: Path) -> pd.DataFrame:
    """All of FOLDER/runs.parquet. Raises UserError where it is missing or unreadable."""
    path = folder / "runs.parquet"
    if not path.exists():
        raise UserError(f"no {path}; run `eutectic sweep` first, or `eutectic collect` for a sweep under way.")
    try:
        return schema.conform(pq.read_table(path), "runs").to_pandas()
    except READING as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read ({error}); `eutectic collect` sets it aside and rebuilds it.")


def read_table(folder: Path, name: str) -> pd.DataFrame | None:
    """A table of what was measured of trained models (schema.KEYS); None where the folder has none. Raises UserError
    where it is unreadable."""
    path = folder / f"{name}.parquet"
    if not path.exists():
        return None
    try:
        return schema.conform(pq.read_table(path), name).to_pandas()
    except READING as error:
        raise UserError(f"{path} cannot be read ({error}); move it away and measure again.") from None


def screen(frame: pd.DataFrame, curves: pd.DataFrame | None = None) -> Runs:
    """Split rows into those to fit and those not. Raises UserError where rows do not compare or none is left.

    Of a cell whose settings (VARIED) vary only the run of lowest loss is fitted: the others say how well theirs were
    chosen, not what a model of this size can do.
    """
    for column in ONE_VALUED:
        values = sorted(str(v) for v in frame[column].unique())
        if len(values) > 1:
            raise UserError(
                f"these runs differ in {column} ({', '.join(values)}), so their losses or FLOPs do not compare; "
                "fit them one by one, each under its own --name."
            )
    for arch, rows in frame.groupby("arch"):
        if rows["mixers"].nunique() > 1:
            raise UserError(
                f"runs of {arch} were trained with {rows['mixers'].nunique()} versions of its mixer; "
                "train each version under its own --name."
            )
    reason = pd.Series("", index=frame.index)
    reason[begun(frame)] = GRAFTED
    reason[frame["loss"].isna()] = "no loss"
    reason[frame["status"] != "done"] = frame["status"]
    bad = reason != ""
    if bad.all():
        grafted = f", {begun(frame).sum()} of them {GRAFTED}" if begun(frame).any() else ""
        raise UserError(f"none of the {len(frame)} runs ended with a loss to fit{grafted}; see `eutectic status`.")
    tried = frame[~bad]
    reason[~bad] = np.where(_outdone(tried), OUTDONE, "")
    out = reason != ""
    dropped = frame.loc[out, ["run_id", "arch", "budget"]].assign(reason=reason[out])
    if curves is None:
        curves = pd.DataFrame(columns=CURVES)
    used, tried, dropped = (rows.reset_index(drop=True) for rows in (frame[~out], tried, dropped))
    return Runs(used, tried, dropped, curves)


def begun(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Which runs did not draw the weights that they began from: their own FLOPs are not all that led to their loss."""
    return frame["start"].fillna("") != ""


def _outdone(rows: pd.DataFrame) -> "pd.Series[bool]":
    cells = rows.groupby(CELL)
    varied = (cells[VARIED].transform("nunique") > 1).any(axis=1)
    return varied & (cells["loss"].rank(method="first") > 1)
