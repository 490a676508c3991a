"""What a campaign comes to: its parts counted, and all of it again from the same parquet."""

import pandas as pd
import pytest
from campaign_table import NOTHING, campaign, screened

from eutectic.analysis import findings
from eutectic.analysis.campaign import UNCLAIMED
from eutectic.analysis.evidence import Evidence
from eutectic.analysis.findings import Findings

pytestmark = pytest.mark.usefixtures("few_starts")

NAMES = ("ratio", "heads")


def find(tables: dict[str, pd.DataFrame]) -> Findings:
    return findings.findings(Evidence(screened(tables)), tables, dict.fromkeys(tables, ()), dict.fromkeys(tables, ()))


def test_parts_are_counted_and_what_is_left_out_by_reason() -> None:
    tables = campaign(NOTHING, names=NAMES)
    bad = tables["heads"].iloc[:3].assign(run_id=["a", "b", "c"], status=["diverged", "diverged", "pruned"])
    tables["heads"] = pd.concat([tables["heads"], bad], ignore_index=True)
    # runs that another part has, and three of its own: no claim is of it
    tables["tune"] = pd.concat(
        [tables["ratio"].iloc[:5], tables["ratio"].iloc[:3].assign(run_id=["x", "y", "z"], seed=9)]
    )
    found = find(tables)
    heads = next(part for part in found.parts if part.name == "heads")
    assert (heads.runs, heads.seeds, heads.archs, heads.budgets) == (48, 2, 6, (3e14, 1e15))
    assert heads.dropped == {"diverged": 2, "pruned": 1}
    tune = next(part for part in found.parts if part.name == "tune")
    assert (tune.rows, tune.runs, tune.dropped) == (8, 0, {UNCLAIMED: 8})
    assert found.whole.dropped == heads.dropped | {UNCLAIMED: 3}
    assert heads.flops == pytest.approx(24 * (3e14 + 1e15) + 3 * 3e14, rel=1e-4)
    assert (found.whole.runs, found.whole.seeds) == (120 + 48, 2)
    assert found.whole.flops == pytest.approx(heads.flops + 40 * (3e14 + 1e15 + 3e15) + 3 * 3e14)
    assert (
        found.whole.run_hours == pytest.approx((120 + 54) / 60) and found.whole.hours_of_clock < found.whole.run_hours
    )
    assert found.report is None and found.rankings == () and found.to_dict()["whole"]["devices"] == ("an accelerator",)


def test_a_part_without_a_main_one_is_found_too() -> None:
    verdicts = {one.key: one.verdict for one in find(campaign(NOTHING, names=NAMES)).claims}
    assert verdicts["hybrids"] == "not tested" and verdicts["heads"] == "undecided"
