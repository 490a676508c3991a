"""Jobs for the runs of a command, where its options place them."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from eutectic.arguments import Options
from eutectic.commands.console import err
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps.cost import AT_ONCE, Load, job_hours, job_memory
from eutectic.sweeps.ledger import Ledger

SHARDED = {None: None, "ddp": False, "fsdp2": True}
POLL_SECONDS = 0.5
Asked = TypeVar("Asked", bound=Load)


def check_place(options: Options) -> None:
    """Raises UserError for options of a place that is not asked for."""
    if options.slurm and options.cluster != "slurm":
        raise UserError(f"--slurm {' '.join(options.slurm)} is for jobs of Slurm; add --cluster slurm.")
    if getattr(options, "spread", None) and devices_of(options) == 1:
        raise UserError(f"--spread {options.spread} is for several devices that train a run; add --devices N.")


def to_submit(options: Options, ledger: Ledger, loads: Mapping[str, Asked]) -> dict[str, Asked]:
    """Of these runs those that are to be submitted, longest first: what is planned, and on Slurm what no job in its
    queue is to train, unless told to --continue. Says what is left to jobs."""
    longest_first = sorted(loads, key=lambda run_id: -loads[run_id].seconds)
    planned = {run_id: loads[run_id] for run_id in longest_first if ledger.status(run_id) == "planned"}
    if options.cluster != "slurm" or options.go_on:
        return planned
    return {run_id: planned[run_id] for run_id in uncovered(ledger, planned, "runs")}


def uncovered(kept: Any, planned: Iterable[str], what: str, way: str = "--continue or ") -> list[str]:
    """Of these runs or trials (what they are called) those that no job in Slurm's queue is to do; says which are left
    to jobs, and what else to do."""
    from eutectic.sweeps import queued

    queue = queued.look(kept.folder)
    covered = queued.covered(kept, queue, planned)
    if covered:
        say_covered(f"{len(covered)} {what}", queue, way)
    return [one for one in planned if one not in covered]


def submit_runs(options: Options, ledger: Ledger, device: str, workers: int, loads: Mapping[str, Load]) -> list[Any]:
    from eutectic.sweeps.submit import Work, submit
    from eutectic.train.shards import default_cache

    configs = [c for i in loads if (c := ledger.config(i))]
    job = Work(
        folder=ledger.folder.resolve(),
        device=device,
        cache=default_cache().resolve(),
        run_ids=list(loads),
        devices=options.devices,
        sharded=SHARDED[options.spread],
        tracker=options.track,
    )
    return submit(cluster_of_runs(options, device, workers, configs, loads.values()), job)


def cluster_of_runs(
    options: Options, device: str, workers: int, configs: Iterable[RunConfig], loads: Collection[Load]
) -> Any:
    """Where so many workers train these runs, or fewer where there are fewer runs."""
    return cluster_of(options, device, min(workers, len(loads)), job_memory(configs, device), loads)


def devices_of(options: Options) -> int:
    """Devices that train a run together, on all nodes of a job."""
    from eutectic.sweeps.slurm import options as slurm_options

    several = options.devices > 1 and options.cluster == "slurm"
    return int(options.devices * (slurm_options(options.slurm).get("nodes", 1) if several else 1))


def at_once(options: Options, device: str, workers: int) -> int:
    """Of so many workers those that are at it at the same time, on devices of their own: what Slurm is to run of an
    array, and here no more than GPUs have room for; further ones share them."""
    from eutectic.sweeps.slurm import options as slurm_options

    if options.cluster == "slurm":
        return min(workers, slurm_options(options.slurm).get("array_parallelism", workers))
    if device == "cpu":
        return workers
    import torch

    gpus = torch.cuda.device_count()  # none where it is planned for another machine
    return min(workers, max(1, gpus // options.devices)) if gpus else workers


def cluster_of(options: Options, device: str, workers: int, memory: float, loads: Collection[Load]) -> Any:
    """loads: of the runs, for the time limit of jobs where the user sets none; here they have none."""
    from eutectic.sweeps.slurm import options as slurm_options
    from eutectic.sweeps.submit import Cluster

    slurm, hours = slurm_options(options.slurm), options.hours
    if hours is None and options.cluster == "slurm":
        hours = job_hours(loads, at_once(options, device, workers))
    cpus = 1 if device == "cpu" else AT_ONCE
    return Cluster(options.cluster, workers, device, cpus, hours, memory, slurm, options.devices)


def say_covered(what: str, queue: Any, way: str = "--continue or ") -> None:
    """That so many runs or trials are those of jobs in Slurm's queue, and what else to do."""
    ids = " ".join(queue.ids)
    err().print(
        f"{what} are left to the jobs of {ids} ({queue}); for more workers, {way}`scancel {ids}` first.",
        soft_wrap=True,
    )


def wait(jobs: list[Any], look: Callable[[], Mapping[str, str]]) -> None:
    """Until our jobs have ended and nobody else is at what `look` gives the statuses of. On an interrupt the jobs are
    ended first."""
    from eutectic.sweeps.submit import running

    with ended_on_interrupt(jobs):
        while True:
            busy = list(running(jobs)) if jobs else []
            if "running" not in look().values() and not busy:
                return
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def ended_on_interrupt(jobs: list[Any]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        for job in jobs:
            job.cancel(check=False)
        raise
