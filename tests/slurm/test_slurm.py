"""Sweeps on a real Slurm of two nodes: trained, capped, preempted, requeued, cancelled, and always the same numbers."""

import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from slurm_cluster import Cluster, Unavailable

from eutectic.sweeps import submit
from eutectic.sweeps.ledger import Ledger

pytestmark = pytest.mark.slurm
CLOCK = ("seconds", "tokens_per_second", "finished", "commit", "source")
SWEEP = ["--budget", "2e10", "--archs", "attn", "--cluster", "slurm", "--name", "s"]
TINY = ["--budget", "1e10", "--archs", "attn", "--cluster", "slurm", "--name", "s"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    root = Path(tempfile.mkdtemp(prefix="eutectic-slurm-", dir="/var/tmp"))
    slurm = Cluster(root)
    try:
        slurm.start()
        yield slurm
    except Unavailable as reason:
        pytest.skip(str(reason))
    finally:
        slurm.stop()
        shutil.rmtree(root)


class Place:
    """A folder with a sweep in results/s, and the command line in it."""

    def __init__(self, slurm: Cluster, folder: Path, cache: Path, corpus: Path):
        self.slurm, self.folder, self.corpus = slurm, folder, corpus
        self.environment = slurm.environment | {"EUTECTIC_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        self.sweep = folder / "results/s"

    def eutectic(self, *arguments: str) -> str:
        """What it prints on stdout."""
        command = [sys.executable, "-m", "eutectic.cli", *arguments]
        if arguments[0] in ("sweep", "plan"):
            command += ["--source", str(self.corpus)]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def job(self) -> str:
        """Id of the newest array or job."""
        return max(
            (path.name.removesuffix("_submission.sh") for path in self.sweep.glob("jobs/[0-9]*_submission.sh")), key=int
        )

    def accounts(self, fields: str) -> list[list[str]]:
        """These fields of the job's tasks, once Slurm's accounting has them all ended."""
        command = ["sacct", "-nPX", "-j", self.job(), "-o", f"State,{fields}"]
        until(lambda: all(line.startswith("COMPLETED") for line in self.slurm.run(*command).split("\n")), "its end")
        return [line.split("|")[1:] for line in self.slurm.run(*command).split("\n")]

    def finish(self) -> None:
        """Wait until nothing is queued, and collect."""
        until(lambda: not self.slurm.run("squeue", "-h"), "an empty queue")
        self.eutectic("collect", "--name", "s")

    def numbers(self, table: str, *keys: str) -> list[dict[str, Any]]:
        rows = pq.read_table(self.sweep / f"{table}.parquet").to_pylist()
        kept = [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]
        return sorted(kept, key=lambda row: [row[key] for key in keys])


def until(condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def place(cluster: Cluster, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    cache = tmp_path_factory.mktemp("cache")
    return lambda: Place(cluster, tmp_path_factory.mktemp("place"), cache, corpus)


@pytest.fixture(scope="session")
def whole(place: Callable[[], Place]) -> Place:
    """A sweep by two workers that nobody disturbed."""
    here = place()
    here.eutectic("sweep", *SWEEP, "--workers", "2", "--slurm", "partition=other", "account=lab", "nice=7")
    here.finish()
    return here


def test_two_nodes_train_each_run_once(whole: Place) -> None:
    runs = set(Ledger(whole.sweep).run_ids())
    assert sorted(node for (node,) in whole.accounts("NodeList")) == ["n1", "n2"]
    logs = [path.read_text() for path in whole.sweep.glob(f"jobs/{whole.job()}_*_log.err")]
    trained = [{run for run in runs if run in log} for log in logs]
    assert len(trained) == 2
    assert all(trained)
    assert not trained[0] & trained[1]
    assert trained[0] | trained[1] == runs
    assert [len(list((whole.sweep / "runs" / run).glob("claim-*.json"))) for run in runs] == [1] * 5


def test_collect_and_fit_read_it(whole: Place) -> None:
    report = json.loads(whole.eutectic("fit", "--name", "s", "--json"))
    assert (report["n_runs"], report["optima"][0]["n_sizes"]) == (5, 5)
    status = json.loads(whole.eutectic("status", "--name", "s", "--json"))["s"]
    assert [run["status"] for run in status.values()] == ["done"] * 5


def test_options_reach_the_job(whole: Place) -> None:
    assert whole.accounts("Partition,Account,JobName") == [["other", "lab", "eutectic"]] * 2
    assert "Nice=7" in whole.slurm.run("scontrol", "show", "job", f"{whole.job()}_0")


def test_the_dry_script_is_the_one_that_was_submitted(whole: Place) -> None:
    told = whole.eutectic(
        "sweep", "--dry", *SWEEP, "--workers", "2", "--slurm", "partition=other", "account=lab", "nice=7"
    )
    submitted = (whole.sweep / f"jobs/{whole.job()}_submission.sh").read_text()
    assert told.endswith(submitted + "\n")


def test_no_more_run_at_once_than_asked(place: Callable[[], Place]) -> None:
    """Three workers of which two at once, on four free CPUs; and a run that cannot be written fails alone."""
    here = place()
    plan = json.loads(here.eutectic("plan", *TINY, "--json"))
    stop = here.sweep / "runs" / plan[0]["run_id"] / "curve.parquet"
    stop.mkdir(parents=True)
    here.eutectic("sweep", *TINY, "--workers", "3", "--slurm", "array_parallelism=2")
    here.finish()
    times = sorted(here.accounts("Start,End"))
    assert len(times) == 3
    assert times[2][0] >= min(end for _, end in times[:2])
    told = here.eutectic("status", "--name", "s")
    line = next(line for line in told.splitlines() if line.startswith(plan[0]["run_id"]))
    assert " failed: IsADirectoryError" in line
    assert [run["status"] for run in json.loads(here.eutectic("status", "--json"))["s"].values()].count("done") == 4


def test_jobs_see_gpus_of_their_own(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    asked = submit.Cluster("slurm", 1, "cuda", 1, 0.1, 1e9, {"nodelist": "n1"})
    executor = submit._slurm(asked, tmp_path, submit.submitit.SlurmExecutor)
    # nothing of this module, which a job cannot import
    look = functools.partial(subprocess.check_output, ["sh", "-c", "sleep 3; echo $CUDA_VISIBLE_DEVICES"], text=True)
    jobs = executor.submit_array([look, look])
    assert sorted(job.result() for job in jobs) == ["0\n", "1\n"]


@pytest.mark.parametrize("how", ["preempted", "requeued", "cancelled"])
def test_disturbed_jobs_go_on_from_their_checkpoints(how: str, whole: Place, place: Callable[[], Place]) -> None:
    """Both tasks of the array are, each in the midst of a run. A cancelled sweep is told of, and submitted again."""
    here = place()
    here.eutectic("sweep", *SWEEP, "--workers", "2")
    job, runs = here.job(), here.sweep / "runs"
    ledger = Ledger(here.sweep)
    begun = lambda: [run for run in ledger.run_ids() if ledger.progress(run).get("step", 0) > 50]  # noqa: E731
    until(lambda: len(begun()) == 2, "two runs in progress")
    victims = [runs / run for run in begun()]
    command = {"preempted": ["scancel", "--signal=USR2"], "requeued": ["scontrol", "requeue"], "cancelled": ["scancel"]}
    here.slurm.run(*command[how], job)
    saved = [progress(victim) for victim in victims]
    if how == "cancelled":
        until(lambda: f"job {job}_1 ended early: CANCELLED" in here.eutectic("status", "--name", "s"), "its state", 30)
        here.eutectic("sweep", *SWEEP, "--workers", "2")
    here.finish()
    attempts = here.slurm.run("sacct", "-DnPX", "-j", job, "-o", "State").split("\n")
    assert len(attempts) == (2 if how == "cancelled" else 4), attempts
    for victim, before in zip(victims, saved, strict=True):
        curve = pq.read_table(victim / "curve.parquet").to_pylist()
        assert curve[: len(before)] == before  # also their seconds, which no second training would repeat
    assert here.numbers("runs", "run_id") == whole.numbers("runs", "run_id")
    assert here.numbers("curves", "run_id", "step") == whole.numbers("curves", "run_id", "step")


def progress(run: Path) -> list[dict[str, Any]]:
    """The curve in a run's checkpoint, once there is one."""
    path = run / "checkpoint.safetensors"
    until(path.exists, "a checkpoint", 20)
    with safe_open(path, "np") as file:
        found = json.loads(file.metadata()["progress"])
    curve: list[dict[str, Any]] = found["curve"]
    assert curve
    return curve
