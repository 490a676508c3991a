"""Jobs, through submitit and nowhere else: `local` processes, `debug` in this process, or `slurm`."""

import contextlib
import dataclasses
import math
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import submitit
from submitit.core.submission import process_job

from eutectic import files
from eutectic.errors import UserError
from eutectic.sweeps import snapshot
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.slurm import COLLECTOR, Options
from eutectic.sweeps.worker import Place, work
from eutectic.train import preemption
from eutectic.train.parallel import joined

if TYPE_CHECKING:
    from eutectic.sweeps.cells import Cell

CLUSTERS = ("local", "debug", "slurm")
# submitit takes every preemption of a short job for a time-out and gives up after three; what is limited is the job
TIMEOUTS = 1000
UNLIMITED_HOURS = 24 * 365.0
# of the options of a sweep's jobs, those that hold for the job that collects as well
PLACE = ("partition", "account", "qos", "setup", "teardown")
COLLECT_HOURS, COLLECT_BYTES = 1.0, 4e9
STORAGE = "EUTECTIC_STORAGE"


@dataclass(frozen=True, kw_only=True)
class Job:
    """The call a job makes. Slurm's preemption and time limit requeue it, unless it is told not to be `requeued`; runs
    go on from their checkpoints."""

    folder: Path
    device: str
    cache: Path
    number: int = 0
    tracker: str | None = None
    requeued: bool = True

    def __call__(self) -> None:
        requeue = preemption.heed(self.requeued)
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
    """Train the runs of a list; on several devices, each the GPU or CPU of a task of the job, all together each run."""

    run_ids: list[str]
    devices: int = 1
    sharded: bool | None = None

    def work(self) -> None:
        if self.devices == 1:
            work(self.folder, self.run_ids, Place(self.device, self.cache, tracker=self.tracker), self.number)
            return
        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        with joined(self.device, self.number * self.devices, self.sharded) as ranks:
            work(self.folder, self.run_ids, Place(self.device, self.cache, ranks, self.tracker))


@dataclass(frozen=True, kw_only=True)
class Tuning(Job):
    """Ask and train until every cell's study has its trials. in_database: whether the studies are in that of STORAGE in
    the environment, which jobs inherit: its URL may hold a password, and a job is pickled into a file."""

    cells: "Sequence[Cell]"
    trials: int
    in_database: bool

    def work(self) -> None:
        from eutectic.sweeps import tune  # with it optuna, which a sweep does not need

        url = os.environ.get(STORAGE) if self.in_database else None
        if self.in_database and not url:
            raise UserError(f"{STORAGE} is not in this job's environment; submit it with --slurm export=ALL.")
        place = Place(self.device, self.cache, tracker=self.tracker)
        tune.work(self.folder, self.cells, self.trials, url, place, self.number)


@dataclass(frozen=True, kw_only=True)
class Probing(Job):
    """Do the trials of a list."""

    trial_ids: list[str]

    def work(self) -> None:
        from eutectic.sweeps import trials  # with it torch, which a submission does not need

        trials.work(self.folder, self.trial_ids, Place(self.device, self.cache), self.number)


@dataclass(frozen=True)
class Collect:
    """Gather what the jobs before this one have trained."""

    folder: Path

    def __call__(self) -> None:
        if (self.folder / "trials").is_dir():
            from eutectic.sweeps import trials

            print(f"{trials.Trials(self.folder).collect()} new trials in {self.folder}/trials.parquet")
        else:
            print(f"{Ledger(self.folder).collect()} new runs in {self.folder}/runs.parquet")


@dataclass(frozen=True)
class Cluster:
    """Where jobs go. hours (None: no limit): of a job. cpus and memory (bytes): of each of a job's devices, a task for
    each. slurm: as sweeps.slurm.options has them."""

    name: str
    workers: int
    device: str
    cpus: int
    hours: float | None
    memory: float
    slurm: Options = field(default_factory=dict)
    devices: int = 1


def submit(cluster: Cluster, job: Job) -> list[submitit.Job[None]]:
    """One job per worker, all with the same work to share, and on Slurm one more that collects when they have ended.

    They run the code as it is now, kept in the sweep's folder. Raises UserError where the cluster takes no job, or
    others could write where it is kept.
    """
    files.keep_others_out()
    _own_sweep(job.folder)
    code = snapshot.keep(job.folder)
    requeued = "no_requeue" not in cluster.slurm
    tasks = [dataclasses.replace(job, number=k, requeued=requeued) for k in range(cluster.workers)]
    if cluster.name == "slurm":
        return _submit_array(cluster, tasks, code)
    executor = _executor(cluster, job.folder / "jobs", code)
    jobs: list[submitit.Job[None]] = []
    for task in tasks:
        try:
            with _stderr_to(job.folder / "jobs" / "controllers.log"):
                jobs.append(executor.submit(task))
        except (submitit.core.utils.FailedJobError, OSError) as error:
            for earlier in jobs:
                earlier.cancel(check=False)
            raise UserError(f"{cluster.name} took no job ({error}); use fewer workers.") from None
    return jobs


def _submit_array(cluster: Cluster, tasks: Sequence[Job], code: Path) -> list[submitit.Job[None]]:
    """One array of Slurm's, a task per worker, and the job that follows it."""
    folder = tasks[0].folder
    executor = _slurm(cluster, folder / "jobs", code, submitit.SlurmExecutor)
    try:
        jobs: list[submitit.Job[None]] = executor.submit_array(tasks)
    except (submitit.core.utils.FailedJobError, OSError) as error:
        raise UserError(f"slurm took no job ({error}); check the options given with --slurm.") from None
    collector = _collector(cluster, jobs[0].job_id.partition("_")[0])
    try:
        _slurm(collector, folder / "jobs", code, submitit.SlurmExecutor).submit(Collect(folder))
    except (submitit.core.utils.FailedJobError, OSError) as error:
        print(f"eutectic: slurm took no job that collects ({error}); `eutectic collect` does it.", file=sys.stderr)
    return jobs


def _collector(cluster: Cluster, array: str) -> Cluster:
    """The small job that runs when all of an array has ended, one way or the other."""
    options = {key: value for key, value in cluster.slurm.items() if key in PLACE}
    options |= {"dependency": f"afterany:{array}", "job_name": COLLECTOR}
    return Cluster("slurm", 1, "cpu", 1, COLLECT_HOURS, COLLECT_BYTES, options)


def scripts(cluster: Cluster, folder: Path) -> list[str]:
    """What `submit` would hand to sbatch for the sweep in a folder, also on a machine without Slurm: the array's, and
    that of the job that follows, where ARRAY stands for the id that the first would get."""
    code = snapshot.place(folder)
    found = []
    for of in (cluster, _collector(cluster, "ARRAY")):
        executor = _slurm(of, folder / "jobs", code, _Unsubmitted)
        if of.workers > 1:
            executor.parameters["map_count"] = of.workers
        found.append(executor._make_submission_file_text(executor._submitit_command_str, ""))
    return found


class _Unsubmitted(submitit.SlurmExecutor):
    """Of which only the script is wanted."""

    @classmethod
    def affinity(cls) -> int:
        return 1


@contextlib.contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """What is started within writes its stderr to a file: submitit's local controllers end in a traceback on Ctrl-C."""
    kept = os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _executor(cluster: Cluster, logs: Path, code: Path) -> Any:
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=cluster.name, local_python=_python(code))
        executor.update_parameters(**_needs(cluster))
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        raise UserError(f"cannot submit to {cluster.name}: {error}") from None
    return executor


def _slurm(cluster: Cluster, logs: Path, code: Path, kind: type[submitit.SlurmExecutor]) -> submitit.SlurmExecutor:
    """An executor with the user's options; what submitit does not know is an option of sbatch."""
    known = kind._valid_parameters()
    own: dict[str, Any] = {key: value for key, value in cluster.slurm.items() if key in known}
    # a site may have jobs not requeued unless they say so
    rest = {key: value for key, value in cluster.slurm.items() if key not in known}
    own["additional_parameters"] = rest if "no_requeue" in rest else {"requeue": True} | rest
    try:
        executor = kind(folder=logs, max_num_timeout=TIMEOUTS, python=_python(code))
        needs = executor._convert_parameters(_needs(cluster))
        if any(
            key.startswith("gpus") or (key == "gres" and "gpu" in str(value)) for key, value in cluster.slurm.items()
        ):
            del needs["gpus_per_node"]  # which sbatch would not take beside GPUs of a type
        executor.update_parameters(**needs | own)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"cannot submit to slurm: {error}") from None
    return executor


def _python(code: Path) -> str:
    """The command a job begins with, ahead of submitit's own words: `main` of a sweep's code.

    -P: else a folder where the job starts would come before that code. A signal that comes before there is anything to
    save would end the job, as one that failed, instead of having it requeued.
    """
    ignore, path = 'trap "" TERM USR2', f'{shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"'
    line = f'{ignore}; export PYTHONPATH={path}; exec "$0" "$@"'
    return f"sh -c {shlex.quote(line)} {shlex.quote(sys.executable)} -P -u -m eutectic.sweeps.submit"


def main() -> None:
    """What a job does first: refuse what another user may have put there for it to load, then leave it to submitit."""
    folder = Path(sys.argv[-1])
    files.keep_others_out()
    try:
        _own_sweep(folder.parent)
    except UserError as error:
        sys.exit(f"eutectic: {error}")
    process_job(folder)


def _own_sweep(folder: Path) -> None:
    """Refuse a sweep where others could write what its jobs load: code by its folders, and pickles."""
    for path in (folder, folder / "code", folder / "jobs"):
        files.own_folder(path)
    for path in (folder / "jobs").glob("*.pkl"):
        with contextlib.suppress(FileNotFoundError):  # one that submitit has renamed
            files.own(path)


def _needs(cluster: Cluster) -> dict[str, Any]:
    """Of a job, by submitit's names for all clusters."""
    return {
        "name": "eutectic",
        "timeout_min": math.ceil(60 * (UNLIMITED_HOURS if cluster.hours is None else cluster.hours)),
        "cpus_per_task": cluster.cpus,
        "mem_gb": math.ceil(cluster.memory * cluster.devices / 1e9),
        "tasks_per_node": cluster.devices,
        "gpus_per_node": _gpus(cluster),
    }


def _gpus(cluster: Cluster) -> int:
    """GPUs a job sees: its own on a cluster; here all of them, over which the workers spread."""
    if cluster.device == "cpu" or cluster.name == "slurm":
        return cluster.devices if cluster.device == "cuda" else 0
    import torch

    return torch.cuda.device_count()


def running(jobs: list[submitit.Job[None]]) -> Iterator[submitit.Job[None]]:
    """Those that have not ended; a `debug` job runs here and now, when it is asked."""
    for job in jobs:
        if isinstance(job, submitit.DebugJob):
            job.results()
        if not job.done():
            yield job


if __name__ == "__main__":
    main()
