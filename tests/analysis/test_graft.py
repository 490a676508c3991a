"""Grafts by cell: compute added up by hand, runs from scratch beside those of equal total, seeds as one point."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sweep_table

from eutectic.analysis import schema
from eutectic.analysis.figures import graft as graft_figure
from eutectic.analysis.figures import sensitivity as sensitivity_figure
from eutectic.analysis.figures.draw import draw
from eutectic.analysis.graft import Begin, grafts
from eutectic.analysis.load import GRAFTED, screen
from eutectic.errors import UserError
from eutectic.train import log

BLANK = {c.name: {"string": "", "int64": 0, "double": 0.0}[str(c.type)] for c in schema.RUNS}
SHAPE = {
    "n_layers": 4,
    "d_model": 64,
    "n_heads": 4,
    "n_kv_heads": 2,
    "d_ffn": 176,
    "status": "done",
    "convention": "exact-causal",
}
OF = {"start": "f" * 64, "parent": "p", "parent_flops": 1e15, "parent_loss": 3.0}


def run(arch: str, flops: float, loss: float, **fields: Any) -> dict[str, Any]:
    return BLANK | SHAPE | {"arch": arch, "budget": flops, "flops": flops, "loss": loss, "tokenizer": "bytes"} | fields


def grafted(arch: str, flops: float, loss: float, cost: float, seed: int = 1, **fields: Any) -> dict[str, Any]:
    return run(arch, flops, loss, **OF, graft_flops=cost, start_loss=3.0 + cost / 1e14, seed=seed, **fields)


def table() -> pd.DataFrame:
    return pd.DataFrame(
        [
            grafted("attn", 1e14, 2.95, 0.0),
            grafted("attn", 3e14, 2.9, 0.0),
            grafted("hyena+attn", 1e14, 2.94, 2e13, seed=1),
            grafted("hyena+attn", 1e14, 2.90, 2e13, seed=2),
            grafted("hyena+attn", 3e14, 2.85, 2e13),
            grafted("hyena+attn", 3e14, float("nan"), 2e13, seed=2, status="diverged"),
            run("hyena+attn", 1.125e15, 2.97),  # of 1e15 + 1e14 + 2e13, to half a percent
            run("hyena+attn", 1.32e15, 2.9, d_model=96),
            run("hyena+attn", 1.38e15, 2.9),
            run("attn", 1.302e15, 2.93),
        ]
    ).assign(run_id=lambda rows: [f"{k:016x}" for k in range(len(rows))])


def test_cells_are_added_up_by_hand() -> None:
    (found,) = grafts(table())
    assert (found.arch, found.loss, found.flops, found.left_out, found.runs) == ("attn", 3.0, 1e15, 1, 7)
    assert found.archs == ["attn", "hyena+attn"] and found.seeds == (1, 2)
    assert found.begins == {"attn": Begin(0.0, 3.0), "hyena+attn": Begin(2e13, 3.2)}
    first, last = found.of("hyena+attn")
    assert (first.trained_on.extra, first.trained_on.total, first.trained_on.runs) == (1.2e14, 1.12e15, 2)
    # two seeds 0.04 apart: a standard error of 0.02, and Student's 12.706 of one degree of freedom
    assert first.trained_on.loss == pytest.approx(2.92)
    assert first.trained_on.high == pytest.approx(2.92 + 12.7062 * 0.02, abs=1e-4)
    assert first.scratch is not None
    assert (first.scratch.loss, first.scratch.extra) == (2.97, pytest.approx(1.25e14))
    assert last.scratch is None and last.trained_on.low != last.trained_on.low, "one run has no interval"
    alone = [cell.scratch.loss if cell.scratch else None for cell in found.of("attn")]
    assert alone == [None, 2.93]


def test_no_law_is_fitted_to_grafts() -> None:
    runs = screen(table())
    assert len(runs.used) == 4 and (runs.used["start"] == "").all()
    assert list(runs.dropped["reason"]) == [*[GRAFTED] * 5, "diverged"]
    with pytest.raises(UserError, match=f"to fit, 6 of them {GRAFTED}"):
        screen(table()[:6])
    assert grafts(sweep_table.table(lambda n, d, r: 3.0, {"attn": 1.0}, (1e15,))) == []


def scanned(**fields: Any) -> dict[str, Any]:
    layer = {"parent": "p", "layers": "attn*4", "old": "attn", "new": "hyena", "error_before": 1.0, "error_after": 0.3}
    counted = {"loss": 3.1, "sequences": 64, "tokens": 4096, "flops": 1e12, "seed": 0}
    return {column.name: "" for column in schema.SENSITIVITY} | layer | counted | fields


def test_both_figures_are_drawn_of_a_folder_and_show_its_numbers(tmp_path: Path) -> None:
    log.write_rows(tmp_path / "runs.parquet", "runs", table().to_dict("records"))
    rows = [scanned(layer=k, rise=0.1 * k, rise_error=0.01) for k in range(4)]
    log.write_rows(tmp_path / "sensitivity.parquet", "sensitivity", rows)
    assert [path.name for path in draw(tmp_path)] == [
        f"{name}.{ending}" for name in ("sensitivity", "graft") for ending in ("png", "svg")
    ]
    drawn = graft_figure.figure(table())
    assert drawn is not None
    (axes,) = drawn.axes
    lines = [container.lines[0].get_xydata().tolist() for container in axes.containers]
    assert lines[2] == [[1.2e14, pytest.approx(2.92)], [pytest.approx(3.2e14), 2.85]]
    assert lines[3] == [[pytest.approx(1.25e14), 2.97]]
    assert axes.get_xlabel() == "extra training compute (FLOPs)" and axes.get_xscale() == "log"
    assert "7 runs, 2 seeds; 1 that did not end left out" in " ".join(drawn.get_supxlabel().split())
    scan = sensitivity_figure.figure(pd.DataFrame(rows))
    (bars,) = scan.axes[0].containers
    assert bars.lines[0].get_ydata().tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    assert bars.lines[2][0].get_segments()[1][:, 1].tolist() == pytest.approx([0.1 - 0.0196, 0.1 + 0.0196])
    assert [text.get_text() for text in scan.legends[0].get_texts()] == ["hyena"]
    (tmp_path / "runs.parquet").unlink()
    assert [path.stem for path in draw(tmp_path)] == ["sensitivity"] * 2
    assert not (tmp_path / "figures/graft.png").exists()
