"""Sweeps on a real Slurm of two nodes: capped, preempted, requeued, cancelled, through a node's loss and a controller's
crash, and always the same numbers."""

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
from trackers import assert_mirrored

from eutectic import files
from eutectic.config import RunConfig
from eutectic.sweeps import snapshot, submit
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.trials import Trials

pytestmark = pytest.mark.slurm
CLOCK = ("seconds", "tokens_per_second", "mfu", "finished", "commit", "source")
WHOLE = ["--slurm", "partition=other", "account=lab", "nice=7", "setup=export WORD=up", "setup=echo set $WORD"]
SWEEP = ["--budget", "2e10", "--archs", "attn", "--cluster", "slurm", "--name", "s"]
TINY = ["--budget", "1e10", "--archs", "attn", "--cluster", "slurm", "--name", "s"]


@pytest.fixture(scope="session")
def cluster(worker_id: str) -> Iterator[Cluster]:
    root = Path(tempfile.mkdtemp(prefix="eutectic-slurm-", dir="/var/tmp"))
    slurm = Cluster(root, worker_id)
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

    def __init__(self, slurm: Cluster, folder: Path, cache: Path, corpus: Path, code: Path):
        self.slurm, self.folder, self.corpus = slurm, folder, corpus
        own = {"EUTECTIC_CACHE": str(cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(code)}
        own["TRACKIO_DIR"] = str(folder / "trackio")
        self.environment = slurm.environment | own
        self.sweep = folder / "results/s"

    def eutectic(self, *arguments: str) -> str:
        """What it prints on stdout."""
        command = [sys.executable, "-m", "eutectic.cli", *arguments]
        if arguments[0] in ("sweep", "plan", "tune"):
            command += ["--source", str(self.corpus)]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def job(self) -> str:
        """Id of the newest array or job that trains."""
        return max((job for job, script in self.scripts().items() if "--dependency" not in script), key=int)

    def scripts(self) -> dict[str, str]:
        """What went to sbatch, by the id of the job."""
        paths = self.sweep.glob("jobs/[0-9]*_submission.sh")
        return {path.name.removesuffix("_submission.sh"): path.read_text() for path in paths}

    def statuses(self) -> list[str]:
        runs = json.loads(self.eutectic("status", "--name", "s", "--json"))["s"]["runs"]
        return [run["status"] for run in runs.values()]

    def in_progress(self, n: int = 2, steps: int = 50) -> list[Path]:
        """The folders of so many runs, which are being trained, once there are as many that have taken such steps, and
        have a row in their curve, which is what gives them a loss."""
        ledger = Ledger(self.sweep)

        def begun() -> list[str]:
            told = {run: ledger.progress(run) for run in ledger.run_ids()}
            return [run for run, at in told.items() if at.get("step", 0) > steps and at.get("loss") is not None]

        until(lambda: len(begun()) == n, f"{n} runs in progress")
        return [ledger.runs / run for run in begun()]

    def await_life(self, life: int) -> None:
        """Wait until both tasks have claimed a run in the life that follows so many requeues."""
        held = lambda: {claim["job"] for run in self.runs() for claim in claims(run) if claim["life"] == life}  # noqa: E731
        until(lambda: len(held()) == 2, f"life {life} of both tasks")

    def runs(self) -> list[Path]:
        """The folders of all."""
        return [path.parent for path in self.sweep.glob("runs/*/config.json")]

    def accounts(self, fields: str) -> list[list[str]]:
        """These fields of the job's tasks, once Slurm's accounting has them all ended."""
        command = ["sacct", "-nPX", "-j", self.job(), "-o", f"State,{fields}"]
        until(lambda: all(line.startswith("COMPLETED") for line in self.slurm.run(*command).split("\n")), "its end")
        return [line.split("|")[1:] for line in self.slurm.run(*command).split("\n")]

    def finish(self) -> None:
        """Wait until nothing is queued; by then all is collected."""
        until(lambda: not self.slurm.run("squeue", "-h"), "an empty queue", 180)
        assert (self.sweep / "runs.parquet").exists()

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
    """Each with the code as it was at first, whatever is edited meanwhile."""
    cache, code = tmp_path_factory.mktemp("cache"), snapshot.keep(tmp_path_factory.mktemp("code"))
    return lambda: Place(cluster, tmp_path_factory.mktemp("place"), cache, corpus, code)


@pytest.fixture(scope="session")
def whole(place: Callable[[], Place]) -> Place:
    """A sweep by two workers that nobody disturbed."""
    here = place()
    here.eutectic("sweep", *SWEEP, "--workers", "2", *WHOLE)
    here.finish()
    return here


def test_two_nodes_train_each_run_once(whole: Place) -> None:
    runs = set(Ledger(whole.sweep).run_ids())
    assert sorted(node for (node,) in whole.accounts("NodeList")) == [*whole.slurm.nodes]
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
    assert whole.statuses() == ["done"] * 5


def test_options_reach_the_job(whole: Place) -> None:
    assert whole.accounts("Partition,Account,JobName") == [["other", "lab", "eutectic"]] * 2
    assert "Nice=7" in whole.slurm.run("scontrol", "show", "job", f"{whole.job()}_0")
    logs = list(whole.sweep.glob("jobs/*_0_log.out"))
    assert len(logs) == 3
    assert [log.read_text().splitlines()[0] for log in logs] == ["set up"] * 3


def test_the_dry_scripts_are_those_that_are_submitted_next(whole: Place, place: Callable[[], Place]) -> None:
    """The second time five of the runs are left to the jobs of the first."""
    here = place()
    for more in ([], ["--seeds", "0 1"]):
        command = ["sweep", *SWEEP, *more, "--workers", "9", *WHOLE, "hold"]
        told, before = here.eutectic(*command, "--dry"), here.scripts().keys()
        here.eutectic(*command)
        scripts = {job: text for job, text in here.scripts().items() if job not in before}
        array, (after,) = scripts.pop(here.job()), scripts.values()
        assert "#SBATCH --array=0-4%5\n" in array
        assert f"#SBATCH --dependency=afterany:{here.job()}\n" in after
        assert told.endswith(f"{array}\n{after.replace(f'afterany:{here.job()}', 'afterany:ARRAY')}\n")
    here.slurm.run("scancel", *here.scripts())
    told = lambda: here.eutectic("status", "--name", "s").splitlines()  # noqa: E731
    ended = " ended early: it was cancelled by root (CANCELLED)"  # of both arrays, and nothing of what follows them
    until(lambda: [line[-len(ended) :] for line in told() if "ended early" in line] == [ended] * 2, "their end", 30)
    assert "#!/bin/bash" not in whole.eutectic("sweep", "--dry", *SWEEP, "--workers", "2", *WHOLE)


def test_jobs_of_two_devices_run_the_code_that_was_submitted(
    whole: Place, place: Callable[[], Place], tmp_path: Path
) -> None:
    """Held in the queue while its place in PYTHONPATH, which jobs have as well, gets other code. Then preempted once:
    its two tasks train what one did, to rounding, of which there is more late in a run."""
    here, live = place(), snapshot.keep(tmp_path)
    frozen, here.environment["PYTHONPATH"] = here.environment["PYTHONPATH"], str(live)
    here.eutectic("sweep", *SWEEP, "--workers", "1", "--devices", "2", "--slurm", "hold")
    here.eutectic("sweep", *SWEEP, "--workers", "1", "--devices", "2")  # submits nothing more
    told = json.loads(here.eutectic("status", "--name", "s", "--json"))["s"]
    assert (told["jobs_waiting"], told["jobs_running"], len(here.scripts())) == (1, 0, 2)
    here.environment["PYTHONPATH"] = frozen
    for path in live.rglob("*.py"):
        path.write_text("raise SystemExit('this is not what was submitted')")
    here.slurm.run("scontrol", "release", here.job())
    (victim,) = here.in_progress(1)
    here.slurm.run("scancel", "--signal=USR2", here.job())
    here.finish()
    assert here.accounts("NNodes,AllocCPUS") == [["1", "2"]]
    assert [claim["life"] for claim in claims(victim)] == [0, 1]
    runs, alone = here.numbers("runs", "run_id"), whole.numbers("runs", "run_id")
    assert [(row["run_id"], row["device"]) for row in runs] == [
        (row["run_id"], f"2 x {row['device']}") for row in alone
    ]
    assert [row["loss"] for row in runs] == pytest.approx([row["loss"] for row in alone], rel=0.02)
    for run_id in (row["run_id"] for row in runs):
        early, wanted = ([row["train_loss"] for row in curve(of.sweep / "runs" / run_id)[:5]] for of in (here, whole))
        assert early == pytest.approx(wanted, rel=1e-6)


def test_no_more_run_at_once_than_asked(place: Callable[[], Place]) -> None:
    """Three workers of which two at once, on four free CPUs; and a run that cannot be written fails alone."""
    here = place()
    plan = json.loads(here.eutectic("plan", *TINY, "--json"))["runs"]
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
    assert here.statuses().count("done") == 4


def test_jobs_see_gpus_of_their_own(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    asked = submit.Cluster("slurm", 1, "cuda", 1, 0.1, 1e9, {"nodelist": cluster.nodes[0]})
    executor = submit._slurm(asked, tmp_path, snapshot.keep(tmp_path), submit.submitit.SlurmExecutor)
    # nothing of this module, which a job cannot import
    look = functools.partial(subprocess.check_output, ["sh", "-c", "sleep 3; echo $CUDA_VISIBLE_DEVICES"], text=True)
    jobs = executor.submit_array([look, look])
    assert sorted(job.result() for job in jobs) == ["0\n", "1\n"]


def test_disturbed_jobs_go_on_from_their_checkpoints(
    whole: Place, place: Callable[[], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both tasks of the array are, in six lives: requeued in the midst of a run, then preempted four times. Of jobs as
    short as these submitit takes that for time-outs, of which it allows three unless told otherwise. A tracker has each
    run once, too."""
    here = place()
    here.eutectic("sweep", *SWEEP, "--workers", "2", "--slurm", "time=5", "--track", "trackio")
    job, victims = here.job(), here.in_progress()
    here.slurm.run("scontrol", "requeue", job)
    saved = [progress(victim) for victim in victims]
    # a job of a partition of a higher tier wants all of both nodes
    urgent = ["sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true"]
    for life, preempt in enumerate([urgent, *[["scancel", "--signal=USR2", job]] * 3], start=1):
        here.await_life(life)
        here.slurm.run(*preempt)
    here.finish()
    attempts = here.slurm.run("sacct", "-DnPX", "-j", job, "-o", "State").split("\n")
    assert len(attempts) == 12, attempts
    assert "(996 remaining timeouts)" in (here.sweep / f"jobs/{job}_0_0_log.out").read_text()
    assert_begun_with(saved, victims)
    assert_the_same(here, whole)
    monkeypatch.setenv("TRACKIO_DIR", here.environment["TRACKIO_DIR"])
    for run in here.runs():
        assert_mirrored("trackio", here.sweep, config(run))


def test_trials_go_on_from_their_checkpoints(place: Callable[[], Place]) -> None:
    """Both tasks that tune are preempted in the midst of a trial; TensorBoard has each trial once, too. The same
    command while they are at it submits nothing."""
    here = place()
    tune = ["tune", "--budget", "2e10", "--archs", "attn", "--trials", "4", "--name", "s"]
    here.eutectic(*tune, "--cluster", "slurm", "--workers", "2", "--track", "tensorboard")
    victims = here.in_progress(steps=0)  # some take few
    here.slurm.run("scancel", "--signal=USR2", here.job())
    saved = [progress(victim) for victim in victims]
    here.await_life(1)
    here.eutectic(*tune, "--cluster", "slurm", "--workers", "2")
    assert len(here.scripts()) == 2, "the array, and the job that collects"
    here.finish()
    assert_begun_with(saved, victims)
    assert [[claim["life"] for claim in claims(victim)] for victim in victims] == [[0, 1]] * 2
    assert here.statuses() == ["done"] * 4
    for run in here.runs():
        assert_mirrored("tensorboard", here.sweep, config(run))
    told = json.loads(here.eutectic(*tune, "--json"))
    assert ([*told["trials"].values()], told["unfinished"]) == ([{"complete": 4}], 0)


def test_synthetic_tasks_are_gone_on_with_and_collected(place: Callable[[], Place]) -> None:
    """Both jobs are to go in the midst of a trial, come back and do it."""
    here = place()
    tasks = ["recall", "memorization", "selective_copy", "compression"]
    probe = ["probe", "--archs", "attn", "--tasks", *tasks, "--width", "16", "--match", "width", "--tokens", "400000"]
    probe += ["--seeds", "0", "--rates", "1e-3", "--name", "s", "--workers", "2", "--json"]
    told = json.loads(here.eutectic(*probe, "--cluster", "slurm"))
    trials = Trials(here.sweep)
    running = lambda: [one for one in told["trials"] if trials.status(one) == "running"]  # noqa: E731
    until(lambda: len(running()) == 2, "two trials at once")
    here.slurm.run("scancel", "--signal=USR2", here.job())
    until(lambda: not here.slurm.run("squeue", "-h"), "an empty queue", 180)
    assert sorted(pq.read_table(here.sweep / "trials.parquet")["task"].to_pylist()) == sorted(tasks)
    again = json.loads(here.eutectic(*probe))
    assert set(again["statuses"].values()) == {"done"} and len(again["scores"]) == 4
    assert len(list(here.sweep.glob("trials/*/claim-1.json"))) >= 1, "a trial that was begun anew"


def test_jobs_that_end_early_are_told_apart_and_their_runs_go_on(whole: Place, place: Callable[[], Place]) -> None:
    """One is cancelled; one hangs until its time is up, and is told nothing before; one is told ahead of its limit, and
    queued again; one has too little memory. The sweep is submitted again."""
    here = place()
    here.eutectic("sweep", *SWEEP, "--workers", "2", "--slurm", "time=5")
    cancelled, warned = f"{here.job()}_0", f"{here.job()}_1"
    here.eutectic("sweep", *SWEEP, "--workers", "1", "--continue", "--slurm", "time=5", "signal_delay_s=0")
    late = here.job()
    tasks = {claims(victim)[0]["log"].removesuffix("_0_log.err"): victim for victim in here.in_progress(3)}
    here.slurm.run("scancel", "--signal=STOP", late, warned)  # the controller looks at limits twice a minute
    here.slurm.run("scontrol", "update", f"jobid={late}", "endtime=now+1")
    here.slurm.run("scontrol", "update", f"jobid={warned}", "endtime=now+100")  # it is told 90 s before
    here.slurm.run("scancel", cancelled)
    saved = {cancelled: progress(tasks[cancelled])}
    ends = {f"job {cancelled} ended early: it was cancelled by root (CANCELLED)"}
    if here.slurm.kills_for_memory:
        here.eutectic("sweep", *SWEEP, "--workers", "1", "--continue", "--slurm", "mem=200M")
        ends.add(f"job {here.job()} ended early: it was killed for its memory (OUT_OF_MEMORY)")
    until(lambda: here.slurm.run("sacct", "-nPX", "-j", late, "-o", "State") == "TIMEOUT", "its limit", 60)
    saved[warned] = progress(tasks[warned])  # which Slurm woke
    ends.add(f"job {late} ended early: it reached its time limit (TIMEOUT)")
    told = lambda: here.eutectic("status", "--name", "s").splitlines()  # noqa: E731
    until(lambda: ends == {line.partition(";")[0] for line in told() if "ended early" in line}, "word of all ends", 30)
    here.eutectic("sweep", *SWEEP, "--workers", "1", "--continue")
    here.finish()
    assert "(999 remaining timeouts)" in (here.sweep / f"jobs/{warned}_0_log.out").read_text()
    assert_begun_with([*saved.values()], [tasks[task] for task in saved])
    assert_the_same(here, whole)


def test_a_node_s_loss_and_a_crash_of_the_controller_are_survived(whole: Place, place: Callable[[], Place]) -> None:
    """The controller crashes before it knows of the node, while the other node trains on."""
    here = place()
    here.eutectic("sweep", *SWEEP, "--workers", "2")
    (stays, dies), job, victims = here.slurm.nodes, here.job(), here.in_progress()
    (lost,) = [victim for victim in victims if claims(victim)[0]["host"] == dies]
    try:
        here.slurm.kill(dies)
        time.sleep(6)  # what the controller has not saved, some seconds' worth, it begins again
        here.slurm.kill("slurmctld")
        here.slurm.start_controller()
        here.finish()
    finally:
        here.slurm.boot(dies)
    assert sorted(here.slurm.run("sacct", "-DnPX", "-j", job, "-o", "State").split("\n")) == [
        "COMPLETED",
        "COMPLETED",
        "NODE_FAIL",
    ]
    assert [(claim["host"], claim["life"]) for claim in claims(lost)] == [(dies, 0), (stays, 1)]
    assert len({claim["job"] for claim in claims(lost)}) == 1
    assert [len(claims(run)) for run in here.runs() if run != lost] == [1] * 4
    assert_the_same(here, whole)


def assert_the_same(here: Place, whole: Place) -> None:
    """Each run is done, once, with the numbers of the sweep that nobody disturbed, bit for bit."""
    assert here.statuses() == ["done"] * 5
    assert here.numbers("runs", "run_id") == whole.numbers("runs", "run_id")
    assert here.numbers("curves", "run_id", "step") == whole.numbers("curves", "run_id", "step")


def assert_begun_with(saved: list[list[dict[str, Any]]], runs: list[Path]) -> None:
    """Each run's curve begins with what was saved of it, also its seconds, which no second training would repeat."""
    for before, run in zip(saved, runs, strict=True):
        assert curve(run)[: len(before)] == before


def curve(run: Path) -> list[dict[str, Any]]:
    return pq.read_table(run / "curve.parquet").to_pylist()


def claims(run: Path) -> list[dict[str, Any]]:
    """First to last."""
    found = [run / f"claim-{k}.json" for k in range(len(list(run.glob("claim-*.json"))))]
    return [claim for path in found if (claim := files.read_json(path))]  # the last may be being written


def config(run: Path) -> RunConfig:
    return RunConfig.from_dict(json.loads((run / "config.json").read_text()))


def progress(run: Path) -> list[dict[str, Any]]:
    """The curve in a run's checkpoint, once there is one."""
    path = run / "checkpoint.safetensors"
    until(path.exists, "a checkpoint", 60)
    with safe_open(path, "np") as file:
        found = json.loads(file.metadata()["progress"])
    so_far: list[dict[str, Any]] = found["curve"]
    assert so_far
    return so_far
