"""Runs without a row: as the ledger has them, in the findings and on the page."""

import dataclasses
import json
import shutil
from pathlib import Path

import campaign
import campaign_table
import pandas as pd
import pytest
from inside import eutectic

from eutectic.analysis.unfinished import Unfinished, of_parts, unfinished
from eutectic.config import RunConfig
from eutectic.display.words import compute
from eutectic.sweeps.ledger import Ledger

ERROR = "OutOfMemoryError: CUDA out of memory <of> 80 GiB; see results/made/main/jobs."


def add(small_run: RunConfig, folder: Path) -> tuple[RunConfig, RunConfig]:
    """A run that failed and one that nobody trained, in a sweep's folder."""
    runs = small_run, dataclasses.replace(small_run, seed=7)
    ledger = Ledger(folder)
    ledger.add(runs)
    ledger.fail(runs[0].run_id, ERROR)
    return runs


def test_they_are_those_of_the_ledger(small_run: RunConfig, tmp_path: Path) -> None:
    first, second = add(small_run, tmp_path)
    arch, budget = first.model.layout, first.budget
    failed = Unfinished(first.run_id, arch, budget, "failed", ERROR)
    assert failed.kind == "failed (OutOfMemoryError)"
    untrained = Unfinished(second.run_id, arch, budget, "not trained")
    assert sorted(unfinished(tmp_path), key=lambda one: one.status) == [failed, untrained]
    shutil.rmtree(tmp_path / "runs")  # as in a copy of what is committed
    assert {one.kind for one in unfinished(tmp_path)} == {"not trained"} and len(unfinished(tmp_path)) == 2
    assert list(unfinished(campaign.H200)) == []


def test_a_run_that_another_part_has_is_none(small_run: RunConfig, tmp_path: Path) -> None:
    first, second = add(small_run, tmp_path)
    rows = {"heads": pd.DataFrame({"run_id": ["other"]}), "main": pd.DataFrame({"run_id": [second.run_id]})}
    found = of_parts({"heads": tmp_path, "main": campaign.H200}, rows)
    assert [one.run_id for one in found["heads"]] == [first.run_id] and found["main"] == []


@pytest.mark.usefixtures("few_starts")
def test_the_page_lists_them_and_findings_count_them(small_run: RunConfig, tmp_path: Path) -> None:
    campaign_table.write(campaign_table.campaign(campaign_table.NOTHING, names=("heads",)), tmp_path / "results/made")
    first, second = add(small_run, tmp_path / "results/made/heads")
    assert eutectic("findings", "--name", "made", cwd=tmp_path).returncode == 0
    told = (tmp_path / "results/made/FINDINGS.md").read_text()
    at = f"1 of heads (1 at {compute(first.budget)})."
    assert f"Planned and failed (OutOfMemoryError): {at}\n\nPlanned and not trained: {at}\n" in told
    assert "2 more were planned and have no row." in told
    found = json.loads(eutectic("findings", "--name", "made", "--json", cwd=tmp_path).stdout)
    assert found["whole"]["unfinished"] == {
        "failed (OutOfMemoryError)": {str(first.budget): 1},
        "not trained": {str(first.budget): 1},
    }
    assert eutectic("report", "--name", "made", cwd=tmp_path).returncode == 0
    page = (tmp_path / "results/made/report.html").read_text()
    cells = f"<td>heads</td><td>{first.model.layout}</td>"
    assert (
        f"<td>{first.run_id}</td>{cells}" in page
        and "OutOfMemoryError: CUDA out of memory &lt;of&gt; 80 GiB; see" in page
    )
    assert "1 run: planned and failed" in page and "1 run: planned and not trained" in page
    once = f'<tr>{cells}<td class="right">{compute(second.budget)}</td><td class="right">1</td></tr>'
    assert once in page and second.run_id not in page
    assert ">2 more</a> were planned and have no row;" in page
