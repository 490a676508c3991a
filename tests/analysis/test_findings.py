"""What a campaign comes to: its parts counted, and all of it again from the same parquet."""

import pandas as pd
import pytest
from campaign_table import NOTHING, campaign, screened

from eutectic.analysis import findings
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
    tables["again"] = tables["ratio"].iloc[:5]  # runs that another part has
    found = find(tables)
    heads = next(part for part in found.parts if part.name == "heads")
    assert (heads.runs, heads.seeds, heads.archs, heads.budgets) == (48, 2, 6, (3e14, 1e15))
    assert heads.dropped == {"diverged": 2, "pruned": 1} == found.whole.dropped
    assert heads.flops == pytest.approx(24 * (3e14 + 1e15) + 3 * 3e14, rel=1e-4)
    assert found.whole.runs == 120 + 48 and found.whole.flops == pytest.approx(heads.flops + 40 * (3e14 + 1e15 + 3e15))
    assert (
        found.whole.run_hours == pytest.approx((120 + 51) / 60) and found.whole.hours_of_clock < found.whole.run_hours
    )
    assert found.report is None and found.rankings == () and found.to_dict()["whole"]["devices"] == ("an accelerator",)


def test_a_part_without_a_main_one_is_found_too() -> None:
    verdicts = {one.key: one.verdict for one in find(campaign(NOTHING, names=NAMES)).claims}
    assert verdicts["hybrids"] == "not tested" and verdicts["heads"] == "undecided"
