"""A second command while Slurm has jobs of the first: nothing is submitted twice, and status tells of what waits."""

import dataclasses
import json
import pickle
from pathlib import Path

import pytest

from eutectic import cli
from eutectic.config import RunConfig
from eutectic.sweeps import plan as planning
from eutectic.sweeps import queued, tune
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps.cells import cells as cells_of
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.queued import Queue
from eutectic.sweeps.trials import Trials
from eutectic.train import log
from eutectic.train.shards import Manifest

# as squeue prints an array of which one task waits and another ends, one that collects, and a job requeued
TOLD = """\
7|RUNNING
7|PENDING
7|COMPLETING
8|PENDING
9|REQUEUED
"""
PROGRAMS = {
    "srun": "",
    "sbatch": 'echo "$1" >> submitted; echo "Submitted batch job $((6 + $(wc -l < submitted)))"',
    "squeue": 'echo "$*" >> asked; for jobs; do :; done; grep -E "^($(echo $jobs | tr , \'|\'))[|]" queue',
    "sacct": "",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands are given, with a Slurm that numbers jobs from 7 on and has in its queue what the file says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EUTECTIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()
    for name, text in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        program.chmod(0o755)
    (tmp_path / "queue").touch()
    (tmp_path / "submitted").touch()
    return tmp_path


@pytest.fixture
def ledger(place: Path) -> Ledger:
    """Of a sweep for which the jobs 7 to 9 were submitted."""
    (place / "results/s/jobs").mkdir(parents=True)
    for job in (7, 8, 9):
        name = "eutectic-collect" if job == 8 else "eutectic"
        (place / f"results/s/jobs/{job}_submission.sh").write_text(f"#SBATCH --job-name={name}\n")
    return Ledger(place / "results/s")


def test_jobs_wait_or_run_or_count_no_more(ledger: Ledger, place: Path) -> None:
    (place / "queue").write_text(TOLD)
    queue = queued.look(ledger.folder)
    assert queue == Queue(waiting=("7", "9"), running=("7",))
    assert (str(queue), queue.ids) == ("2 jobs waiting, 1 running", ["7", "9"])
    (asked,) = (place / "asked").read_text().splitlines()
    assert sorted(asked.split(" -j ")[1].split(",")) == ["7", "9"]


@pytest.mark.parametrize("told", ["", "exit 1", "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1"])
def test_where_slurm_says_nothing_there_is_no_queue(told: str, ledger: Ledger, place: Path) -> None:
    (place / "bin/squeue").write_text(f"#!/bin/sh\n{told}\n")
    assert not queued.look(ledger.folder)


def test_a_sweep_that_was_never_on_slurm_asks_for_nothing(ledger: Ledger, place: Path) -> None:
    for path in (ledger.folder / "jobs").iterdir():
        path.unlink()
    assert not queued.look(ledger.folder)
    assert not (place / "asked").exists()


def test_what_jobs_come_to_is_theirs(ledger: Ledger, small_run: RunConfig) -> None:
    runs = [dataclasses.replace(small_run, seed=seed) for seed in range(4)]
    a, b, c, d = (run.run_id for run in runs)
    ledger.add(runs)
    queued.note(ledger.folder, "7_0", [a, b])
    queued.note(ledger.folder, "9", [b, c])
    for lost in (b, c):
        claim = ledger.claim(lost)
        assert claim
        claim.release()
    assert queued.covered(ledger, Queue(("7", "7"), ("7",)), [a, b, c, d]) == {a, b}
    assert queued.covered(ledger, Queue((), ("7", "9")), [a, b, c, d]) == {a}, "the others were begun and lost"
    assert queued.covered(ledger, Queue(("9",), ("7",)), [a, c]) == {a, c}
    assert queued.covered(ledger, Queue(("9",)), [a]) == set()


def arrays(place: Path) -> list[str]:
    """Of each array that was submitted the number of its last task; the job that collects has none."""
    texts = [Path(line).read_text() for line in (place / "submitted").read_text().split()]
    return [text.partition("--array=0-")[2].partition("%")[0] for text in texts]


def test_a_second_sweep_submits_what_is_left_alone(
    corpus: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["sweep", "--budget", "1e10", "--archs", "attn", "--source", str(corpus), "--name", "s"]
    sweep += ["--cluster", "slurm", "--workers", "2"]

    def told(*more: str) -> str:
        assert cli.main([*sweep, *more]) == 0
        return capsys.readouterr().err

    assert cli.main([*sweep, "--json"]) == 0
    submitted = json.loads(capsys.readouterr().out)
    assert submitted["jobs"] == ["7_0", "7_1"]
    assert sorted(submitted["runs"]) == sorted(Ledger(place / "results/s").run_ids())
    runs = len(submitted["runs"])
    assert arrays(place) == ["1", ""]
    (place / "queue").write_text("7|PENDING\n7|PENDING\n8|PENDING\n")
    theirs, ours = told().splitlines()
    assert theirs == (
        f"{runs} runs are left to the jobs of 7 (2 jobs waiting, 0 running); for more workers, --continue or "
        "`scancel 7` first."
    )
    assert ours.startswith("nothing is left to submit;")
    assert len(arrays(place)) == 2
    assert cli.main(["status", "--name", "s"]) == 0
    assert "\nSlurm: 2 jobs waiting, 0 running\n" in capsys.readouterr().out
    assert cli.main(["status", "--name", "s", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["s"]
    assert (found["jobs_waiting"], found["jobs_running"]) == (2, 0)
    assert cli.main([*sweep, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"jobs": [], "runs": []}
    more = told("--seeds", "0 1").splitlines()
    assert more[0].startswith(f"{runs} runs are left to the jobs of 7 ")
    assert more[1].startswith(f"2 jobs submitted for {runs} runs;")
    assert len(arrays(place)) == 4
    assert f"2 jobs submitted for {runs} runs" in told("--continue")
    (place / "queue").write_text("")
    assert told().startswith(f"2 jobs submitted for {runs} runs")


def assert_submitted(place: Path, told: str, before: list[str]) -> None:
    """That what a dry command told ends with the scripts that came after those before, to the letter."""
    new = (place / "submitted").read_text().splitlines()[len(before) :]
    texts = "".join(f"{Path(line).read_text()}\n" for line in new)
    assert told.endswith(texts.replace(f"afterany:{7 + len(before)}", "afterany:ARRAY"))
    assert told.count("#!/bin/bash") == len(new)


def test_a_second_tuning_submits_what_is_left_alone(
    corpus: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune = ["tune", "--budget", "1e10", "--source", str(corpus), "--name", "t", "--cluster", "slurm"]

    def told(*more: str, archs: str = "attn", trials: int = 4, workers: int = 3) -> list[str]:
        asked = ["--archs", *archs.split(), "--trials", str(trials), "--workers", str(workers)]
        assert cli.main([*tune, *asked, *more, "--dry"]) == 0
        dry, before = capsys.readouterr(), (place / "submitted").read_text().splitlines()
        assert cli.main([*tune, *asked, *more]) == 0
        said = capsys.readouterr().err.splitlines()
        assert dry.err.splitlines()[:1] == [line for line in said if "left to" in line][:1]
        assert_submitted(place, dry.out, before)
        return said

    assert told() == ["3 jobs submitted; when they have ended, the same command shows what they found."]
    assert arrays(place) == ["2", ""]
    (place / "queue").write_text("7|RUNNING\n7|PENDING\n8|PENDING\n")
    theirs = (
        "4 trials are left to the jobs of 7 (1 job waiting, 1 running); for more workers, --continue or "
        "`scancel 7` first."
    )
    none = "nothing is left to submit; when the jobs have ended, the same command shows what they found."
    assert told() == [theirs, none]
    assert told(trials=3) == [theirs.replace("4 trials", "3 trials"), none]
    assert len(arrays(place)) == 2
    # of more trials those that the jobs do not ask, and of more cells those that they do not know
    assert told(trials=6) == [theirs, "2 jobs submitted; when they have ended, the same command shows what they found."]
    (place / "queue").write_text("7|RUNNING\n9|PENDING\n")
    assert told(archs="attn hyena", trials=6, workers=9)[0].startswith("6 trials are left to the jobs of 7 9 (1 job ")
    assert arrays(place) == ["2", "", "1", "", "5", ""]
    with (place / "results/t/jobs/11_0_submitted.pkl").open("rb") as file:
        job = pickle.load(file).function  # what its tasks call
    assert [cell.base.model.layout for cell in job.cells] == ["hyena"]
    assert told("--continue") == ["3 jobs submitted; when they have ended, the same command shows what they found."]
    (place / "queue").write_text("")
    assert told() == ["3 jobs submitted; when they have ended, the same command shows what they found."]


def test_a_trial_that_was_begun_and_lost_is_the_running_jobs(
    corpus: Path, place: Path, manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who asks takes it up; a job that does not tune does not ask."""
    recipe = dataclasses.replace(recipes.find("quick"), budgets=(1e10,), archs=("attn",))
    found = cells_of(recipe, planning.plan(recipe, manifest, 1))
    studies = tune.Studies(place / "results/t", found, 1)
    taken = studies.take()
    assert taken
    taken[1].release()
    assert studies.left_by_cell({}) == {found[0]: 1}
    assert studies.left_by_cell({found[0].study: 1}) == {}
    assert studies.left_by_cell({"another": 1}) == {found[0]: 1}
    folder = studies.ledger.folder
    (folder / "jobs").mkdir()
    queued.note_trials(folder, "7_0", {found[0].study: 3, "another": 1})
    queued.note_trials(folder, "8_0", {found[0].study: 2})
    assert queued.covered_trials(folder, Queue(("8",), ("7", "9"))) == {found[0].study: 3, "another": 1}
    assert queued.covered_trials(folder, Queue((), ("8",))) == {found[0].study: 2}
    assert queued.covered_trials(folder, Queue(("9",))) == {}


def test_a_dry_sweep_is_the_next_submission_to_the_letter(
    corpus: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of five runs one is done and one has failed; then ten are asked for, of which Slurm's jobs have three."""
    command = ["sweep", "--budget", "1e10", "--archs", "attn", "--source", str(corpus), "--name", "s", "--price", "60"]
    command += ["--cluster", "slurm", "--workers", "9"]

    def dry_and_submitted(tasks: int, *more: str) -> tuple[str, str]:
        """What both say; that the dry one prints what the other submits, and writes nothing, is seen."""
        there, before = sorted(place.glob("results/**/*")), (place / "submitted").read_text().splitlines()
        assert cli.main([*command, *more, "--dry"]) == 0
        dry = capsys.readouterr()
        assert sorted(place.glob("results/**/*")) == there
        assert cli.main([*command, *more]) == 0
        said = capsys.readouterr().err
        assert_submitted(place, dry.out, before)
        assert (f"--array=0-{tasks - 1}%" in dry.out, f"{tasks} runs on cpu" in dry.out) == (tasks > 0, tasks > 0)
        return dry.err, said

    assert dry_and_submitted(5)[0] == ""
    ledger = Ledger(place / "results/s")
    done, failed, *_ = ledger.run_ids()
    config = ledger.config(done)
    assert config
    row = log.planned_columns(config) | {"status": "done", "loss": 2.0, "source": "planted"}
    log.write_rows(ledger.runs / done / "curve.parquet", "curves", [{"run_id": done, "step": 1}])
    log.write_rows(ledger.runs / done / "run.parquet", "runs", [row])
    ledger.finish(done, "done")
    ledger.fail(failed, "ValueError: no")
    dry, _ = dry_and_submitted(3)
    assert dry.splitlines() == ["of 5 runs 1 done, 1 failed; what is planned is the rest."]
    (place / "queue").write_text("9|PENDING\n")
    dry, said = dry_and_submitted(5, "--seeds", "0 1")
    theirs = said.splitlines()[0]
    assert theirs.startswith("3 runs are left to the jobs of 9 ")
    assert dry.splitlines() == [theirs, "of 10 runs 1 done, 1 failed; what is planned is the rest."]
    (place / "queue").write_text("9|PENDING\n11|PENDING\n")
    assert dry_and_submitted(0)[0].splitlines()[-1] == "nothing is left to submit."
    assert cli.main([*command, "--seeds", "0 1", "--dry", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {run["run_id"]: run["status"] for run in told["runs"] if run["status"] != "planned"} == {
        done: "done",
        failed: "failed",
    }
    assert ([run["submitted"] for run in told["runs"]], told["cost"]) == ([False] * 10, 0.0)
    dry_and_submitted(8, "--seeds", "0 1", "--continue")


def test_a_second_probe_submits_what_is_left_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And shows what there is, without waiting for it."""
    probe = ["probe", "--archs", "attn", "--tasks", "recall", "--cluster", "slurm", "--device", "cpu"]

    def told(*more: str) -> tuple[int, list[str]]:
        return cli.main([*probe, *more]), capsys.readouterr().err.splitlines()

    assert told() == (0, ["1 jobs submitted for 1 trials; the same command shows what is done."])
    (place / "queue").write_text("7|PENDING\n8|PENDING\n")
    theirs = "1 trials are left to the jobs of 7 (1 job waiting, 0 running); for more workers, `scancel 7` first."
    assert told() == (1, [theirs, "1 of 1 trials are not done; the same command tries them again."])
    assert len(arrays(place)) == 2
    code, (first, second) = told("--tasks", "recall", "induction")
    assert (code, first) == (0, theirs) and second.startswith("1 jobs submitted for 1 trials;")
    (place / "queue").write_text("7|RUNNING\n")
    trials = Trials(place / "results/probe")
    (lost,) = json.loads((place / "results/probe/jobs/7_runs.json").read_text())
    claim = trials.claim(lost)
    assert claim and not trials.abandoned(lost)
    claim.release()
    assert trials.abandoned(lost) and told()[1][0].startswith("1 jobs submitted for 1 trials;")
