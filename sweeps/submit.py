"""Jobs, through submitit and nowhere else: `local` processes, `debug` in this process, or `slurm`."""

import contextlib
import dataclasses
import math
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import submitit

from eutectic import files
from eutectic.errors import UserError
from eutectic.sweeps.worker import work
from eutectic.train import preemption

if TYPE_CHECKING:
    from eutectic.sweeps.tune import Cell

CLUSTERS = ("local", "debug", "slurm")
# submitit takes every preemption of a short job for a time-out and gives up after three; what is limited is the job
TIMEOUTS = 1000


@dataclass(frozen=True, kw_only=True)
class Job:
    """The call a job makes. Slurm's preemption and time limit requeue it; runs go on from their checkpoints."""

    folder: Path
    device: str
    cache: Path
    number: int = 0

    def __call__(self) -> None:
        requeue = preemption.heed()
        try:
            self.work()
        except preemption.Preempted:
            assert requeue is not None
            requeue(signal.SIGUSR2, None)

    def work(self) -> None:
        raise NotImplementedError

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        return submitit.helpers.DelayedSubmission(self)


@dataclass(frozen=True, kw_only=True)
class Work(Job):
    """Train the runs of a list."""

    run_ids: list[str]

    def work(self) -> None:
        work(self.folder, self.run_ids, self.device, self.cache, self.number)


@dataclass(frozen=True, kw_only=True)
class Tuning(Job):
    """Ask and train until every cell's study has its trials. url: of their database, where they are in one."""

    cells: "Sequence[Cell]"
    trials: int
    url: str | None

    def work(self) -> None:
        from eutectic.sweeps import tune  # with it optuna, which a sweep does not need

        tune.work(self.folder, self.cells, self.trials, self.url, self.device, self.cache, self.number)


@dataclass(frozen=True)
class Cluster:
    """Where jobs go. hours and memory (bytes): of a job. slurm: options of submitit's Slurm executor, or of sbatch."""

    name: str
    workers: int
    device: str
    cpus: int
    hours: float
    memory: float
    slurm: dict[str, str] = field(default_factory=dict)


def submit(cluster: Cluster, job: Job) -> list[submitit.Job[None]]:
    """One job per worker, all with the same work to share. Raises UserError where the cluster takes none."""
    if cluster.name == "slurm":
        return _submit_array(cluster, job)
    executor = _executor(cluster, job.folder / "jobs")
    jobs: list[submitit.Job[None]] = []
    for k in range(cluster.workers):
        try:
            with _stderr_to(job.folder / "jobs" / "controllers.log"):
                jobs.append(executor.submit(dataclasses.replace(job, number=k)))
        except (submitit.core.utils.FailedJobError, OSError) as error:
            for earlier in jobs:
                earlier.cancel(check=False)
            raise UserError(f"{cluster.name} took no job ({error}); use fewer workers.") from None
    return jobs


def _submit_array(cluster: Cluster, job: Job) -> list[submitit.Job[None]]:
    """One array of Slurm's, a task per worker."""
    executor = _slurm(cluster, job.folder / "jobs", submitit.SlurmExecutor)
    tasks = [dataclasses.replace(job, number=k) for k in range(cluster.workers)]
    try:
        jobs: list[submitit.Job[None]] = executor.submit_array(tasks)
    except (submitit.core.utils.FailedJobError, OSError) as error:
        raise UserError(f"slurm took no job ({error}); check the options given with --slurm.") from None
    return jobs


def script(cluster: Cluster, folder: Path) -> str:
    """What `submit` would hand to sbatch for the sweep in a folder; also on a machine without Slurm."""
    executor = _slurm(cluster, folder / "jobs", _Unsubmitted)
    if cluster.workers > 1:
        executor.parameters["map_count"] = cluster.workers
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


class _Unsubmitted(submitit.SlurmExecutor):
    """Of which only the script is wanted."""

    @classmethod
    def affinity(cls) -> int:
        return 1


def unfinished(folder: Path) -> dict[str, str]:
    """State of a sweep's jobs that Slurm's accounting has as neither waiting, running nor completed, by job id."""
    jobs = [path.name.removesuffix("_submission.sh") for path in folder.glob("jobs/*_submission.sh")]
    if not jobs:
        return {}
    try:
        found = subprocess.run(
            ["sacct", "-nPX", "-o", "JobID,State", "-j", ",".join(jobs)], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    states = dict(line.split("|") for line in found.stdout.splitlines())
    return {
        job: state
        for job, state in states.items()
        if state not in ("PENDING", "REQUEUED", "RUNNING", "COMPLETING", "COMPLETED")
    }


@contextlib.contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """What is started within writes its stderr to a file: submitit's local controllers end in a traceback on Ctrl-C."""
    files.make_folder(path.parent)
    kept = os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _executor(cluster: Cluster, logs: Path) -> Any:
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=cluster.name)
        executor.update_parameters(**_needs(cluster))
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        raise UserError(f"cannot submit to {cluster.name}: {error}") from None
    return executor


def _slurm(cluster: Cluster, logs: Path, kind: type[submitit.SlurmExecutor]) -> submitit.SlurmExecutor:
    """An executor with the user's options; what submitit does not know is an option of sbatch."""
    options = {key.replace("-", "_"): _value(key, text) for key, text in cluster.slurm.items()}
    known = kind._valid_parameters()
    own: dict[str, Any] = {key: value for key, value in options.items() if key in known}
    own["additional_parameters"] = {key: value for key, value in options.items() if key not in known}
    try:
        executor = kind(folder=logs, max_num_timeout=TIMEOUTS)
        executor.update_parameters(**executor._convert_parameters(_needs(cluster)) | own)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"cannot submit to slurm: {error}") from None
    return executor


def _value(key: str, text: str) -> bool | int | str | list[str]:
    """An option's value as submitit wants it; one without a value is a switch, and a script's line is a list of it."""
    if key in ("setup", "teardown", "srun_args"):
        return [text]
    if key in ("array_parallelism", "nodes", "signal_delay_s") and not text.isdigit():
        raise UserError(f"--slurm {key}={text} must be a whole number.")
    return int(text) if text.isdigit() else text or True


def _needs(cluster: Cluster) -> dict[str, Any]:
    """Of a job, by submitit's names for all clusters."""
    return {
        "name": "eutectic",
        "timeout_min": round(60 * cluster.hours),
        "cpus_per_task": cluster.cpus,
        "mem_gb": math.ceil(cluster.memory / 1e9),
        "gpus_per_node": _gpus(cluster),
    }


def _gpus(cluster: Cluster) -> int:
    """GPUs a job sees: its own on a cluster; here all of them, over which the workers spread."""
    if cluster.device == "cpu" or cluster.name == "slurm":
        return int(cluster.device == "cuda")
    import torch

    return torch.cuda.device_count()


def running(jobs: list[submitit.Job[None]]) -> Iterator[submitit.Job[None]]:
    """Those that have not ended; a `debug` job runs here and now, when it is asked."""
    for job in jobs:
        if isinstance(job, submitit.DebugJob):
            job.results()
        if not job.done():
            yield job
