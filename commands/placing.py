"""Jobs for the runs of a command, where its options place them."""

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

from eutectic.cli import Options
from eutectic.sweeps.ledger import Ledger

SHARDED = {None: None, "ddp": False, "fsdp2": True}
POLL_SECONDS = 0.5


def submit_runs(options: Options, ledger: Ledger, device: str, workers: int, seconds: dict[str, float]) -> list[Any]:
    from eutectic.sweeps.cost import job_memory
    from eutectic.sweeps.submit import Work, submit
    from eutectic.train.shards import default_cache

    memory = job_memory([c for i in seconds if (c := ledger.config(i))], device)
    job = Work(
        folder=ledger.folder.resolve(),
        device=device,
        cache=default_cache().resolve(),
        run_ids=list(seconds),
        devices=options.devices,
        sharded=SHARDED[options.spread],
    )
    return submit(cluster_of(options, device, min(workers, len(seconds)), memory, seconds.values()), job)


def cluster_of(options: Options, device: str, workers: int, memory: float, seconds: Collection[float]) -> Any:
    """seconds: of each run, for the time limit of jobs where the user sets none; here they have none."""
    from eutectic.sweeps.cost import job_hours
    from eutectic.sweeps.slurm import options as slurm_options
    from eutectic.sweeps.submit import Cluster

    slurm, hours = slurm_options(options.slurm), options.hours
    if hours is None and options.cluster == "slurm":
        hours = job_hours(seconds, min(workers, slurm.get("array_parallelism", workers)))
    # beside a GPU, a process for each of the runs that share it
    cpus = 1 if device == "cpu" else 8
    return Cluster(options.cluster, workers, device, cpus, hours, memory, slurm, options.devices)


@contextlib.contextmanager
def ended_on_interrupt(jobs: list[Any]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        for job in jobs:
            job.cancel(check=False)
        raise
