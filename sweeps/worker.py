"""What a job does: train the runs of a list that nobody else trains, until none is left."""

import gc
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import pool
from eutectic.sweeps.ledger import Claim, Ledger
from eutectic.sweeps.mps import shared_gpu


def work(folder: Path, run_ids: list[str], device: str, cache: Path, number: int = 0) -> None:
    """Claim and train every run of the list that is still planned, on the CPU one by one in order, on a GPU as many at
    once as keep it full. A run that raises is marked failed.

    number: of this worker among those of the machine; each has a GPU of its own as far as there are any.
    """
    ledger = Ledger(folder)
    if device == "cpu":
        for run_id in run_ids:
            train_planned(folder, run_id, device, cache, True)
        return
    tasks = [
        task(config, partial(train_planned, folder, run_id, device, cache), partial(_lost, folder, run_id))
        for run_id in run_ids
        if ledger.status(run_id) == "planned" and (config := ledger.config(run_id))
    ]
    fill_gpu(tasks, cache, number)


def task(config: RunConfig, call: pool.Call, lost: pool.Lost) -> pool.Task:
    """Of a GPU, which takes what the cost model says of a run."""
    from eutectic.sweeps.cost import estimate

    cost = estimate(config, "cuda")
    return pool.Task(call, lost, cost.memory, cost.busy)


def fill_gpu(tasks: Sequence[pool.Task], cache: Path, number: int) -> None:
    """Do the tasks on the GPU of this number. Compiled kernels are kept beside the tokens, for runs of equal shape."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    gpus = visible.split(",")
    gpu, cores = gpus[number % len(gpus)], len(os.sched_getaffinity(0))
    most = min(cores, len(tasks))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "compiled"))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(cores // max(1, most)))
    memory = _memory(gpu)
    with shared_gpu(gpu) as together:
        _say(f"{len(tasks)} tasks on GPU {gpu} of {memory / 1e9:.0f} GB, {'under MPS' if together else 'by turns'}")
        pool.run(tasks, memory, most)


def _memory(gpu: str) -> float:
    """Of a GPU, in bytes, asked by a process that leaves: what has a context there keeps an MPS daemon from ending."""
    ask = "import torch; print(torch.cuda.get_device_properties(0).total_memory)"
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": gpu}
    return float(subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, check=True).stdout)


def train_planned(folder: Path, run_id: str, device: str, cache: Path, alone: bool) -> None:
    """Train a run unless somebody else does or has; alone as train_claimed has it."""
    ledger = Ledger(folder)
    if claim := ledger.claim(run_id):
        train_claimed(ledger, run_id, claim, device, cache, alone)


def _lost(folder: Path, run_id: str, why: str) -> None:
    ledger = Ledger(folder)
    if ledger.abandoned(run_id):
        ledger.fail(run_id, f"{why}; see {folder}/jobs.")


def train_claimed(ledger: Ledger, run_id: str, claim: Claim, device: str, cache: Path, alone: bool = True) -> None:
    """Train a run that is claimed, mark it failed where it raises, and release the claim.

    Raises pool.MemoryTaken where the GPU has too little memory and the run is not alone there.
    """
    from eutectic.sweeps import foreign
    from eutectic.train.loop import LeaseLost, train
    from eutectic.train.shards import open_shards

    try:
        config = ledger.config(run_id)
        if config is None:
            raise UserError(f"the config of run {run_id} is gone or damaged; submit the sweep again.")
        foreign.load(config, ledger.folder)
        manifest = open_shards(cache, config.data.corpus_sha256, config.data.tokenizer_sha256)
        _say(f"{run_id} {config.model.layout} width {config.model.d_model} budget {config.budget:.3g}")
        train(config, manifest, ledger.runs / run_id, device, claim.held)
    except LeaseLost:
        _say(f"{run_id} was taken over by another worker")
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError" and not alone:
            raise pool.MemoryTaken from None
        traceback.print_exc()
        if claim.held():
            ledger.fail(run_id, f"{type(error).__name__}: {error}")
    finally:
        claim.release()
        if device == "cuda":
            _return_memory()


def _return_memory() -> None:
    """What a run's graph and cache held is for the processes beside this one."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def _say(text: str) -> None:
    """To the job's log; stdout is for results."""
    print(text, file=sys.stderr, flush=True)
