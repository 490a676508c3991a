"""What a job does: train the runs of a list that nobody else trains, until none is left."""

import dataclasses
import gc
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import cost, pool
from eutectic.sweeps.claim import Claim
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.mps import shared_gpu
from eutectic.train.compiled import keep_compiled
from eutectic.train.parallel import ALONE, Ranks, lost_another

Hopeless = Callable[[list[float]], bool]


@dataclass(frozen=True)
class Place:
    """Where a process trains runs. cache: of tokens, and of compiled kernels. ranks: of the process among those that
    train each run together. tracker: that mirrors the curves, of train/track.py."""

    device: str
    cache: Path
    ranks: Ranks = ALONE
    tracker: str | None = None


def work(folder: Path, run_ids: list[str], place: Place, number: int = 0) -> None:
    """Claim and train every run of the list that is still planned, on the CPU or several devices one by one in order,
    on a GPU as many at once as keep it full. A run that raises is marked failed.

    number: of this worker among those of the machine; each has a GPU of its own as far as there are any.
    """
    ledger = Ledger(folder)
    if place.device == "cpu" or place.ranks.world > 1:
        if place.device == "cuda":
            keep_compiled(place.cache)
        for run_id in run_ids:
            _train_planned(ledger, run_id, place, alone=True)
        return
    fill_gpu(tasks(folder, run_ids, place), place.cache, number)


def tasks(folder: Path, run_ids: Sequence[str], place: Place) -> list[pool.Task]:
    """To train what is planned of a sweep's runs on a GPU, in their order."""
    ledger = Ledger(folder)
    return [
        task(config, partial(train_planned, folder, run_id, place), partial(_lost, folder, run_id))
        for run_id in run_ids
        if ledger.status(run_id) == "planned" and (config := ledger.config(run_id))
    ]


def task(config: RunConfig, call: pool.Call, lost: pool.Lost) -> pool.Task:
    """Of a GPU, which takes what the cost model says of a run."""
    needed = cost.estimate(config, "cuda")
    return pool.Task(call, lost, needed.memory, needed.busy)


def fill_gpu(tasks: Sequence[pool.Task], cache: Path, number: int) -> None:
    """Do the tasks on the GPU of this number. Compiled kernels are kept beside the tokens, for runs of equal shape."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    gpus = visible.split(",")
    gpu, cores = gpus[number % len(gpus)], len(os.sched_getaffinity(0))
    most = min(cores, len(tasks))
    keep_compiled(cache)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(cores // max(1, most)))
    memory = _memory(gpu)
    with shared_gpu(gpu) as together:
        say(f"{len(tasks)} tasks on GPU {gpu} of {memory / 1e9:.0f} GB, {'under MPS' if together else 'by turns'}")
        pool.run(tasks, memory, most)


def _memory(gpu: str) -> float:
    """Of a GPU, in bytes, asked by a process that leaves: what has a context there keeps an MPS daemon from ending."""
    ask = "import torch; print(torch.cuda.get_device_properties(0).total_memory)"
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": gpu}
    return float(subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, check=True).stdout)


def train_planned(folder: Path, run_id: str, place: Place, alone: bool) -> None:
    """Train a run unless somebody else does or has; alone as train_claimed has it."""
    _train_planned(Ledger(folder), run_id, place, alone)


def _train_planned(ledger: Ledger, run_id: str, place: Place, alone: bool) -> None:
    claim = ledger.claim(run_id) if place.ranks.first else None
    if place.ranks.any(claim is not None):
        train_claimed(ledger, run_id, claim, place, alone)


def _lost(folder: Path, run_id: str, why: str) -> None:
    ledger = Ledger(folder)
    if ledger.abandoned(run_id):
        ledger.fail(run_id, f"{why}; see {folder}/jobs.")


def train_claimed(
    ledger: Ledger,
    run_id: str,
    claim: Claim | None,
    place: Place,
    alone: bool,
    hopeless: Hopeless = lambda losses: False,
) -> None:
    """Train a run that is claimed, by the first of several ranks; mark it failed where it raises, and release it. It
    is given up where `hopeless` says so of its validation losses.

    Raises pool.MemoryTaken where the GPU has too little memory and the run is not alone there, and UserError on one of
    several ranks that fails, or has lost another: they cannot train the next run together. As with a worker that was
    killed, a run of which a rank was killed stays planned.
    """
    from eutectic.train.loop import LeaseLost

    try:
        status = _train(ledger, run_id, claim.held if claim else lambda: True, place, hopeless)
        if claim:
            ledger.finish(run_id, status)
    except LeaseLost:
        say(f"{run_id} was taken over by another worker")
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError" and not alone:
            raise pool.MemoryTaken from None
        traceback.print_exc()
        if (claim is None or claim.held()) and not lost_another(error):
            ledger.fail(run_id, f"{type(error).__name__}: {error}")
        if place.ranks.world > 1:
            raise UserError(
                f"rank {place.ranks.rank} of run {run_id} cannot go on; `eutectic status` says why."
            ) from None
    finally:
        if claim:
            claim.release()
        if place.device == "cuda":
            return_memory()


def _train(ledger: Ledger, run_id: str, held: Callable[[], bool], place: Place, hopeless: Hopeless) -> str:
    """The status that the run, of the ledger's config, came to."""
    from eutectic.sweeps import foreign
    from eutectic.train.loop import Hooks, train
    from eutectic.train.shards import open_shards
    from eutectic.train.track import Mirror

    config = ledger.config(run_id)
    if config is None:
        raise UserError(f"the config of run {run_id} is gone or damaged; submit the sweep again.")
    foreign.load(config, ledger.folder)
    manifest = open_shards(config.data, place.cache)
    say(f"{run_id} {config.model.layout} width {config.model.d_model} budget {config.budget:.3g}")
    ranks, recompute = _spread(config, place.device, place.ranks)
    with Mirror(place.tracker if ranks.first else None, config, ledger.folder) as mirror:
        hooks = Hooks(held, hopeless, mirror)
        row = train(config, manifest, ledger.runs / run_id, place.device, hooks, ranks, recompute)
        mirror.end(row)
    return str(row["status"])


def _spread(config: RunConfig, device: str, ranks: Ranks) -> tuple[Ranks, bool]:
    """The ranks, to share the model and its optimizer where a device cannot hold the run, unless told otherwise; and
    whether blocks are computed again in the backward pass, where a device cannot hold the run even so."""
    has = cost.available_memory(device, ranks.world if device == "cpu" else 1)
    if ranks.world > 1 and ranks.sharded is None:
        ranks = dataclasses.replace(ranks, sharded=cost.estimate(config, device).memory > has)
    needed = cost.estimate(config, device, ranks.world if ranks.sharded else 1, has)
    if needed.recompute:
        say(f"blocks are computed again in the backward pass, to need {needed.memory / 1e9:.1f} GB of {has / 1e9:.1f}")
    return ranks, needed.recompute


def return_memory() -> None:
    """What a run's graph and cache held is for the processes beside this one."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def say(text: str) -> None:
    """To the job's log; stdout is for results."""
    print(text, file=sys.stderr, flush=True)
