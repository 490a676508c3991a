"""What a run will take, before it is submitted: memory, time on a device, and money where a rate is given."""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from eutectic.config import RunConfig
from eutectic.errors import UserError

# float32 weight, gradient and two moments of AdamW
BYTES_PER_PARAM = 16
# floats kept for the backward pass, per token: this many widths a layer, and logits with their softmax and gradient
ACTIVATION_WIDTHS, LOGIT_COPIES = 40, 3
RUNTIME_BYTES, COMPILER_BYTES = 500e6, 16e9
# of a job's time limit: times the estimate, for slower machines, and seconds to start
TIME_MARGIN, SPARE_SECONDS = 2.0, 600.0


@dataclass(frozen=True)
class Speed:
    """Seconds of a run = startup + steps * step + tokens * layers * width * element + FLOPs / flops."""

    startup: float
    step: float
    element: float
    flops: float


# cpu: one thread of a two-core machine; cuda: a process on an H100 or H200
SPEEDS = {"cpu": Speed(0.2, 0.014, 70e-9, 60e9), "cuda": Speed(20.0, 0.001, 0.0, 60e12)}
UTILIZATION = 0.4  # of the peak, in training that keeps a GPU busy; small models keep it less


@dataclass(frozen=True)
class Cost:
    """params and tokens; memory in bytes and seconds of one worker, both estimates. busy: share of the seconds in which
    the run by itself would keep its device computing."""

    params: int
    tokens: int
    flops: float
    memory: float
    seconds: float
    busy: float


def estimate(run: RunConfig, device: str, devices: int = 1) -> Cost:
    """devices: that train the run together, sharing its state and its batches; memory is of each."""
    from eutectic.arch import flops  # with it torch, which PEAKS do not need

    model, length = run.model, run.data.seq_len
    counts = flops.count(model, length, run.conv_algorithm)
    total = float(counts.training_flops(run.convention, length) * run.sequences)
    per_token = ACTIVATION_WIDTHS * model.n_layers * model.d_model + LOGIT_COPIES * model.vocab_size
    memory = BYTES_PER_PARAM * counts.params / devices + 4 * per_token * run.micro_batch * length + RUNTIME_BYTES
    speed = SPEEDS[device]
    elements = run.tokens * model.n_layers * model.d_model
    computing = total / speed.flops / devices
    seconds = speed.startup + run.steps * speed.step + elements * speed.element / devices + computing
    return Cost(counts.params, run.tokens, total, memory, seconds, computing / seconds)


def job_memory(runs: Iterable[RunConfig], device: str) -> float:
    """Bytes of host memory to ask a cluster for: twice the estimate; beside a GPU, what torch and its compiler take."""
    return 2 * max(estimate(run, device).memory for run in runs) if device == "cpu" else COMPILER_BYTES


def job_hours(seconds: Collection[float], workers: int) -> float:
    """Time limit to ask a cluster for: the longest run or a worker's share of all, of these seconds each, with a
    margin."""
    return (TIME_MARGIN * max(max(seconds), sum(seconds) / workers) + SPARE_SECONDS) / 3600


def refuse_too_large(runs: Iterable[RunConfig], device: str, available: float, devices: int = 1) -> None:
    """Raise UserError where a run needs more than the bytes that a worker has, on each of its devices."""
    for run in runs:
        cost = estimate(run, device, devices)
        if cost.memory > available:
            raise UserError(
                f"{run.model.layout} of width {run.model.d_model} needs about {cost.memory / 1e9:.1f} GB at budget "
                f"{run.budget:.3g} and a worker has {available / 1e9:.1f} GB; use fewer workers, a larger device, or "
                "several (--devices)."
            )


def available_memory(device: str, workers: int) -> float:
    """Bytes a worker has on this machine. Raises UserError where the GPU asked for is not there."""
    if device == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / workers
    import torch

    if not torch.cuda.is_available():
        raise UserError("device cuda was asked for and torch finds no GPU here; use --device cpu or --cluster slurm.")
    gpus = torch.cuda.device_count()
    return torch.cuda.get_device_properties(0).total_memory * min(1.0, gpus / workers)
