"""From a table with a planted truth to the report and the figures; and the tables that are refused."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eutectic.analysis import schema
from eutectic.analysis.figures.draw import draw
from eutectic.analysis.load import load, screen
from eutectic.analysis.report import report
from eutectic.errors import UserError

ARCHS = {"hyena": 0.0, "hyena*3+attn": 0.25, "hyena+attn": 0.5, "hyena+attn*3": 0.75, "attn": 1.0}
BUDGETS = (1e15, 3e15, 1e16)


def table() -> pd.DataFrame:
    """Every layout follows L(N, D) with an E that is lowest at a share of 0.4."""
    kinds = {"str": "", "int": 0, "float": 0.0}
    names = {"string": "str", "int64": "int", "double": "float"}
    blank = {c.name: kinds[names[str(c.type)]] for c in schema.RUNS}
    rows = []
    for budget in BUDGETS:
        for arch, share in ARCHS.items():
            for params in np.sqrt(budget / 6) * np.geomspace(0.3, 3, 5):
                tokens = budget / (6 * params)
                loss = 1.7 + 0.2 * (share - 0.4) ** 2 + 400 / params**0.34 + 400 / tokens**0.34
                rows.append(
                    blank
                    | {
                        "run_id": f"{len(rows):016x}",
                        "status": "done",
                        "arch": arch,
                        "attn_share": share,
                        "budget": budget,
                        "convention": "6nd",
                        "tokenizer": "bytes",
                        "params": int(params),
                        "tokens": int(tokens),
                        "loss": loss,
                        "bytes_per_token": 1.0,
                    }
                )
    return pd.DataFrame(rows)


def test_the_planted_truth_is_reported() -> None:
    frame = table()
    frame.loc[0, "status"] = "diverged"
    found = report(screen(frame))
    assert (found.n_runs, found.seeds, list(found.shares)) == (74, (0,), list(ARCHS))
    assert found.dropped == (("0" * 16, "hyena", 1e15, "diverged"),)
    for optimum in found.optima:
        assert optimum.status == "optimum"
        # alpha = beta and A = B, so that N* = D* = sqrt(C / 6)
        if optimum.n_sizes == 5:
            assert optimum.params == pytest.approx(np.sqrt(optimum.budget / 6), rel=0.01)
    for law in found.laws.values():
        assert law is not None
        assert (law.alpha, law.beta) == (pytest.approx(0.34, rel=0.01), pytest.approx(0.34, rel=0.01))
    for front in found.frontiers:
        assert front.params is not None and front.tokens is not None
        assert front.params.exponent + front.tokens.exponent == pytest.approx(1.0, abs=0.02)
    for hybrid in found.hybrids[1:]:
        assert (hybrid.verdict, hybrid.share) == ("optimum", pytest.approx(0.4, abs=0.01))


def test_order_of_rows_does_not_matter() -> None:
    frame = table()
    shuffled = frame.sample(frac=1.0, random_state=0).reset_index(drop=True)
    for a, b in zip(report(screen(frame)).optima, report(screen(shuffled)).optima, strict=True):
        assert (a.arch, a.budget, a.status) == (b.arch, b.budget, b.status)
        assert a.params == pytest.approx(b.params)


@pytest.mark.parametrize("column", ["corpus_sha256", "tokenizer_sha256", "seq_len", "convention"])
def test_runs_that_do_not_compare_are_refused(column: str) -> None:
    frame = table()
    frame.loc[3, column] = 7 if column == "seq_len" else "other"
    with pytest.raises(UserError, match=f"these runs differ in {column}"):
        screen(frame)


def test_nothing_to_fit_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the 75 runs ended with a loss"):
        screen(table().assign(status="diverged"))
    with pytest.raises(UserError, match="run `eutectic sweep` first"):
        load(tmp_path)
    (tmp_path / "runs.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"runs\.parquet cannot be read"):
        load(tmp_path)


def write(frame: pd.DataFrame, folder: Path) -> None:
    pq.write_table(
        pa.Table.from_pylist(frame.to_dict("records"), schema.arrow_schema(schema.RUNS)), folder / "runs.parquet"
    )


def test_figures_say_what_they_show(tmp_path: Path) -> None:
    write(table(), tmp_path)
    paths = draw(tmp_path)
    assert [path.name for path in paths] == [
        f"{name}.{ending}" for name in ("isoflop", "perplexity", "ratio") for ending in ("png", "svg")
    ]
    for path in paths:
        if path.suffix == ".png":
            width, height = Image.open(path).size
            assert width > 700 and height > 600
    words = {path.stem: " ".join(re.findall(r"<!-- (.*?) -->", path.read_text())) for path in paths[1::2]}
    assert "validation loss (nats per token)" in words["isoflop"] and "parameters" in words["isoflop"]
    assert all(name in words["isoflop"] for name in (*ARCHS, "1e15 FLOPs", "1e16 FLOPs"))
    assert "training compute (FLOPs)" in words["perplexity"] and "perplexity" in words["perplexity"]
    assert "best share of attention" in words["ratio"]
    assert all("75 runs, 1 seed" in text for text in words.values())
    first = [path.read_bytes() for path in paths]
    assert first == [path.read_bytes() for path in draw(tmp_path)], "a figure is not a function of its table"


def test_figures_of_almost_nothing(tmp_path: Path) -> None:
    write(table()[:2], tmp_path)
    assert len(draw(tmp_path)) == 6
