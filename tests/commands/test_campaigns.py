"""A campaign on the command line: figures of its parts and of it, its findings, and names that do not clash."""

import json
import shutil
from pathlib import Path

import pytest
from campaign_table import NOTHING, campaign, write
from inside import eutectic

from eutectic.analysis.figures.campaign import CAMPAIGN
from eutectic.sweeps.ledger import sweeps

pytestmark = pytest.mark.usefixtures("few_starts")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/campaign with two parts, and results/heads, a sweep by the name of one of them."""
    place = tmp_path_factory.mktemp("place")
    write(campaign(NOTHING, names=("heads", "placement")), place / "results" / "campaign")
    shutil.copytree(place / "results" / "campaign" / "heads", place / "results" / "heads")
    return place


def test_parts_are_sweeps_of_their_own_names(place: Path) -> None:
    assert [str(path.relative_to(place / "results")) for path in sweeps(place / "results")] == [
        "campaign/heads",
        "campaign/placement",
        "heads",
    ]
    told = json.loads(eutectic("status", "--json", cwd=place).stdout)
    assert {name: one["ended"] for name, one in told.items()} == {
        "campaign/heads": 48,
        "campaign/placement": 30,
        "heads": 48,
    }
    shown = eutectic("status", cwd=place).stdout
    assert "campaign/heads" in shown and "campaign/placement" in shown
    assert "are: campaign/heads, campaign/placement, heads." in eutectic("fit", "--name", "gone", cwd=place).stderr
    assert json.loads(eutectic("status", "--name", "campaign/heads", "--json", cwd=place).stdout).keys() == {
        "campaign/heads"
    }


def test_a_campaign_is_looked_at_whole_and_worked_on_by_part(place: Path) -> None:
    told = json.loads(eutectic("status", "--name", "campaign", "--json", cwd=place).stdout)
    assert {name: one["ended"] for name, one in told.items()} == {"campaign/heads": 48, "campaign/placement": 30}
    before = sorted((place / "results/campaign").iterdir())
    for words in (["fit"], ["collect"], ["retry"], ["predict", "--flops", "1e15"], ["run", "0"]):
        done = eutectic(*words, "--name", "campaign", cwd=place)
        assert done.returncode == 1 and "name one: campaign/heads, campaign/placement." in done.stderr, words
    assert sorted((place / "results/campaign").iterdir()) == before


def test_figures_are_drawn_of_every_part_and_of_the_campaign(place: Path) -> None:
    done = eutectic("figures", "--json", cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    folders = {str(Path(path).parent) for path in json.loads(done.stdout)}
    assert folders == {
        f"results/{name}/figures" for name in ("campaign", "campaign/heads", "campaign/placement", "heads")
    }
    assert (place / "results/campaign/figures/heads.png").exists()
    one = json.loads(eutectic("figures", "--name", "campaign", "--json", cwd=place).stdout)
    assert {str(Path(path).parent) for path in one} == folders - {"results/heads/figures"}
    part = json.loads(eutectic("figures", "--name", "campaign/heads", "--json", cwd=place).stdout)
    assert {str(Path(path).parent) for path in part} == {"results/campaign/heads/figures"}
    assert not set(CAMPAIGN) & {Path(path).stem for path in part}


def test_findings_are_written_and_the_same_each_time(place: Path) -> None:
    done = eutectic("findings", "--name", "campaign", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "results/campaign/FINDINGS.md",
        "results/campaign/figures/heads.png",
        "results/campaign/figures/heads.svg",
    ]
    page = place / "results" / "campaign" / "FINDINGS.md"
    first = page.read_bytes()
    assert b"# What campaign finds" in first and b"![heads](figures/heads.png)" in first
    found = json.loads(eutectic("findings", "--name", "campaign", "--json", cwd=place).stdout)
    assert page.read_bytes() == first
    assert [one["key"] for one in found["claims"]] == ["hybrids", "ratio", "ordering", "heads", "robust", "domain"]
    assert found["claims"][3]["verdict"] == "undecided" and found["whole"]["runs"] == 78


def test_what_is_no_campaign_is_named(place: Path) -> None:
    (place / "results" / "empty").mkdir()
    assert (
        "no runs.parquet in results/empty or a folder in it"
        in eutectic("findings", "--name", "empty", cwd=place).stderr
    )
    assert "no results/empty/runs.parquet" in eutectic("figures", "--name", "empty", cwd=place).stderr
    assert "no sweep results/gone" in eutectic("findings", "--name", "gone", cwd=place).stderr
