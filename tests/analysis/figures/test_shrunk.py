"""Figures of models that were distilled or pruned."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawing import BUDGETS, THREE, bars, table

from eutectic.analysis import schema
from eutectic.analysis.figures import distill, prune
from eutectic.analysis.figures.draw import draw
from eutectic.train.log import add_rows, write_rows

ORDERS = (2, 4, 8, 16)


def rows(name: str, made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds = {"string": "", "int64": 0, "double": 0.0, "bool": False}
    blank = {column.name: kinds[str(column.type)] for column in schema.TABLES[name]}
    return [blank | row for row in made]


def distilled(runs: int = 2) -> list[dict[str, Any]]:
    """Three layers, whose error is 2^-layer / order."""
    return rows(
        "distill",
        [
            {"run_id": f"r{r}", "arch": "hyena_implicit*3+attn", "seed": r, "length": 512, "path": f"blocks.{k}.mixer"}
            | {
                "layer": k,
                "mixer": "hyena_implicit(max_length=512)",
                "max_order": d,
                "tolerance": 1e-3,
                "error": 2.0**-k / d,
                "error_low": 0.5 * 2.0**-k / d,
            }
            | {"error_high": 2 * 2.0**-k / d, "peak": 2 / d, "lower": 1 / d, "upper": 9 / d}
            | {"perplexity_before": 12.0, "perplexity": 12 + 8 / d}
            | {"ratio_low": 1.0, "ratio_high": 1 + 2 / d}
            for r in range(runs)
            for k in range(3)
            for d in ORDERS
        ],
    )


def pruned() -> list[dict[str, Any]]:
    return rows(
        "prune",
        [
            {"run_id": "r0", "arch": "hyena*3+attn", "length": 512, "modes": m, "within_budget": m > 1}
            | {
                "perplexity": 10 + 0.1 / m,
                "judged_perplexity": 20 + 0.4 / m,
                "ratio_low": 0.9,
                "ratio_high": 1.2,
                "state_bytes": 4096 + 1024 * m,
                "filter_bytes": 1024 * m,
            }
            | {"decode_ms": 0.2 + 0.01 * m, "device": "a device"}
            for m in range(8, 0, -1)
        ],
    )


def test_errors_and_perplexity_are_drawn_against_the_order() -> None:
    drawn = distill.figure(pd.DataFrame(distilled()))
    fit, peak, perplexity = drawn.axes
    assert fit.get_xscale() == fit.get_yscale() == "log"
    assert set(bars(fit)) >= {"0: hyena_implicit", "1: hyena_implicit", "2: hyena_implicit"}
    points, ends = bars(fit)["1: hyena_implicit"]
    np.testing.assert_allclose(points[:, 1], [0.5 / d for d in ORDERS])
    np.testing.assert_allclose(ends, [[0.25 / d, 1 / d] for d in ORDERS])
    np.testing.assert_allclose(points[:, 0], ORDERS, rtol=0.05)
    middle = {str(line.get_label()): line for line in peak.get_lines()}
    np.testing.assert_allclose(middle["bound of balanced truncation"].get_ydata(), [9 / d for d in ORDERS])
    np.testing.assert_allclose(middle["no filter is nearer"].get_ydata(), [1 / d for d in ORDERS])
    points, ends = bars(perplexity)["hyena_implicit*3+attn (12 as trained)"]
    np.testing.assert_allclose(points, [(d, 1 + 8 / 12 / d) for d in ORDERS])
    np.testing.assert_allclose(ends, [(1, 1 + 2 / d) for d in ORDERS])
    said = " ".join(drawn.get_supxlabel().split())
    assert "2 runs, 2 seeds." in said and "over the 512 tokens" in said


def test_perplexity_state_and_time_are_drawn_against_modes() -> None:
    drawn = prune.figure(pd.DataFrame(pruned()))
    perplexity, state, time, allowed = drawn.axes
    points, _ = bars(perplexity)["hyena*3+attn (10 unpruned)"]
    np.testing.assert_allclose(points, [(m, (10 + 0.1 / m) / 10.0125) for m in range(1, 9)])
    hollow = [line for line in perplexity.get_lines() if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[1]]
    whole, filters = state.get_lines()
    np.testing.assert_allclose(whole.get_ydata() - filters.get_ydata(), 4.0)
    assert time.get_ylim()[0] == 0 and "ms a token" in time.get_ylabel()
    # judged are 20.05 of 8 modes, 20.067 of 6, 20.08 of 5, 20.2 of 2 and 20.4 of 1
    lines = allowed.get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[6, 2, 1], []]
    assert list(lines[0].get_xdata()) == [0.001, 0.01, 0.05]
    assert "1 run, 1 seed." in " ".join(drawn.get_supxlabel().split())


@pytest.mark.usefixtures("few_starts")
def test_they_are_drawn_where_a_sweep_has_the_tables(tmp_path: Path) -> None:
    write_rows(tmp_path / "runs.parquet", "runs", table(THREE, BUDGETS[:1])[:2].to_dict("records"))  # type: ignore[arg-type]
    add_rows(tmp_path / "distill.parquet", "distill", distilled(1))
    add_rows(tmp_path / "prune.parquet", "prune", pruned())
    names = [path.name for path in draw(tmp_path)]
    assert names[:4] == ["distill.png", "distill.svg", "prune.png", "prune.svg"]
