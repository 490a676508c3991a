"""Jobs, through submitit and nowhere else: `local` processes, `debug` in this process, or `slurm`."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import submitit

from eutectic import files
from eutectic.errors import UserError
from eutectic.sweeps.worker import work

if TYPE_CHECKING:
    from eutectic.sweeps.tune import Cell

CLUSTERS = ("local", "debug", "slurm")


@dataclass(frozen=True, kw_only=True)
class Job:
    """The call a job makes. Slurm's preemption and time limit requeue it; runs go on from their checkpoints."""

    folder: Path
    device: str
    cache: Path
    number: int = 0

    def __call__(self) -> None:
        self.work()

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
    """Where jobs go. hours and memory (bytes): of a job. slurm: sbatch options by submitit's names without `slurm_`."""

    name: str
    workers: int
    device: str
    cpus: int
    hours: float
    memory: float
    slurm: dict[str, str] = field(default_factory=dict)


def submit(cluster: Cluster, job: Job) -> list[submitit.Job[None]]:
    """One job per worker, all with the same work to share. Raises UserError where the cluster takes none."""
    executor = _executor(cluster, job.folder / "jobs")
    jobs: list[submitit.Job[None]] = []
    for k in range(cluster.workers):
        try:
            with _stderr_to(job.folder / "jobs" / "controllers.log"):
                jobs.append(executor.submit(dataclasses.replace(job, number=k)))
        except (submitit.core.utils.FailedJobError, OSError) as error:
            for earlier in jobs:
                earlier.cancel(check=False)
            raise UserError(f"{cluster.name} took no job ({error}); check the options given with --slurm.") from None
    return jobs


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
        executor.update_parameters(
            name="eutectic",
            timeout_min=round(60 * cluster.hours),
            cpus_per_task=cluster.cpus,
            mem_gb=math.ceil(cluster.memory / 1e9),
            gpus_per_node=_gpus(cluster),
            **{f"slurm_{key}": value for key, value in cluster.slurm.items()},
        )
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        raise UserError(f"cannot submit to {cluster.name}: {error}") from None
    return executor


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
