"""What grafts come to: their loss against the FLOPs beyond their parent's, beside as many spent from scratch."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from eutectic.analysis.load import begun

SHAPE = ["n_layers", "d_model", "n_heads", "n_kv_heads", "d_ffn"]
EQUAL = 0.02  # totals of FLOPs that differ by less are equal: either run's may be 1% off its budget
LEVEL = 0.95


@dataclass(frozen=True)
class Point:
    """Runs that differ in their seed alone. extra: FLOPs beyond the parent's, a regression's included; total: all that
    are known. loss: the mean, nats per token, with Student's 95% interval, which is NaN of one run."""

    extra: float
    total: float
    loss: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Cell:
    """A layout trained on from a parent at one budget. scratch: the same model drawn anew and trained with as many
    FLOPs in all that are known, None where that was not."""

    arch: str
    trained_on: Point
    scratch: Point | None


@dataclass(frozen=True)
class Begin:
    """What a layout is trained on from. flops: of the regression, 0 for the parent itself; loss: on validation."""

    flops: float
    loss: float


@dataclass(frozen=True)
class Grafts:
    """Of one parent. arch: its layout, or its run_id where it was not itself trained on. flops: behind it, NaN where
    nobody knows. begins: by layout. cells: by layout, then extra FLOPs. left_out: runs from its weights that did not
    end as they should."""

    parent: str
    arch: str
    d_model: int
    flops: float
    loss: float
    begins: dict[str, Begin]
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    left_out: int
    convention: str
    tokenizer: str

    @property
    def runs(self) -> int:
        return sum(cell.trained_on.runs + (cell.scratch.runs if cell.scratch else 0) for cell in self.cells)

    @property
    def archs(self) -> list[str]:
        """The parent's first."""
        return sorted(self.begins, key=lambda arch: (arch != self.arch, arch))

    def of(self, arch: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.arch == arch]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def grafts(frame: pd.DataFrame) -> list[Grafts]:
    """Of each parent whose grafts are among these rows of `runs`; none where no run was begun from trained weights."""
    own = begun(frame)
    scratch = frame[~own & (frame["status"] == "done")]
    found = (_of_parent(rows, scratch) for _, rows in frame[own].groupby("parent"))
    return sorted(found, key=lambda one: (one.arch, one.d_model, one.parent))


def _of_parent(rows: pd.DataFrame, scratch: pd.DataFrame) -> Grafts:
    one, done = rows.iloc[0], rows[rows["status"] == "done"]
    found = [_cell(cell, scratch) for _, cell in done.groupby(["arch", "budget"], sort=True)]
    begins = rows.groupby("arch", sort=True)[["graft_flops", "start_loss"]].first()
    itself = rows.loc[rows["graft_flops"] == 0, "arch"]
    return Grafts(
        parent=str(one["parent"]),
        arch=str(itself.iloc[0] if len(itself) else one["parent"]),
        d_model=int(one["d_model"]),
        flops=float(one["parent_flops"]),
        loss=float(one["parent_loss"]),
        begins={str(arch): Begin(float(flops), float(loss)) for arch, flops, loss in begins.itertuples(name=None)},
        cells=tuple(found),
        seeds=tuple(sorted({int(seed) for seed in done["seed"]})),
        left_out=len(rows) - len(done),
        convention=str(one["convention"]),
        tokenizer=str(one["tokenizer"]),
    )


def _cell(rows: pd.DataFrame, scratch: pd.DataFrame) -> Cell:
    one = rows.iloc[0]
    alike = (scratch[["arch", *SHAPE]] == one[["arch", *SHAPE]]).all(axis=1)
    behind = 0.0 if pd.isna(one["parent_flops"]) else one["parent_flops"]
    total = behind + rows["graft_flops"] + rows["flops"]
    equal = scratch[alike & ((scratch["flops"] / total.mean() - 1).abs() < EQUAL)]
    beside = _point(equal["loss"], equal["flops"], behind) if len(equal) else None
    return Cell(str(one["arch"]), _point(rows["loss"], total, behind), beside)


def _point(losses: "pd.Series[float]", total: "pd.Series[float]", behind: float) -> Point:
    mean, n = float(losses.mean()), len(losses)
    half = float(t.ppf((1 + LEVEL) / 2, n - 1) * losses.std() / n**0.5) if n > 1 else np.nan
    return Point(float(total.mean() - behind), float(total.mean()), mean, mean - half, mean + half, n)
