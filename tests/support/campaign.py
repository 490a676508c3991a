"""A small campaign of two parts, of the runs of results/h200: three architectures, and two of them at one budget."""

from pathlib import Path

import pandas as pd

from eutectic.analysis.page import Part, read_parts

H200 = Path(__file__).parents[2] / "results/h200"
OPTION = "hyena(poles=complex)"
ARCHS = ("hyena", "hyena*3+attn", "attn")
DIVERGED = 7.5  # the loss of the run that did


def write(folder: Path) -> None:
    """Parts main and ratio. Of main attention's worst run diverged; ratio has another seed, and its hyena an option."""
    runs, curves = (pd.read_parquet(H200 / f"{table}.parquet") for table in ("runs", "curves"))
    main = runs[runs["arch"].isin(ARCHS)].reset_index(drop=True)
    worst = main[main["arch"] == "attn"]["loss"].idxmax()
    main.loc[worst, ["status", "loss"]] = ["diverged", DIVERGED]
    part = runs[runs["arch"].isin(ARCHS[:2]) & (runs["budget"] == 3e14)]
    ratio = part.assign(run_id=part["run_id"].str[::-1], seed=1).replace({"arch": {"hyena": OPTION}})
    for name, table in (("main", main), ("ratio", ratio)):
        (folder / name).mkdir(parents=True)
        table.to_parquet(folder / name / "runs.parquet")
    curves[curves["run_id"].isin(main["run_id"])].to_parquet(folder / "main" / "curves.parquet")


def read(folder: Path) -> dict[str, Part]:
    """The parts of what write() writes into a folder that is not there yet."""
    write(folder)
    return read_parts(folder)[1]
