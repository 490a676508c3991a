"""What a run will take, before it is submitted: memory, time on a device, and money where a rate is given."""

import math
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from eutectic.config import ModelConfig, RunConfig
from eutectic.errors import UserError

# float32 weight, gradient and two moments of AdamW
BYTES_PER_PARAM = 16
# floats kept for the backward pass, per token: this many widths a layer, and logits with their softmax and gradient;
# where logits are a chunk's, also the gradient of the head, before it is scaled and after. Blocks that are computed
# again keep their input, and one at a time the rest
ACTIVATION_WIDTHS, LOGIT_COPIES, HEAD_COPIES = 40, 3, 2
RUNTIME_BYTES, COMPILER_BYTES = 500e6, 16e9
# runs that a GPU's worker trains at once, at most: a process each, and a CPU for each of them
AT_ONCE = 8
# of a job's time limit: times the estimate, for slower machines, and seconds to start
TIME_MARGIN, SPARE_SECONDS = 2.0, 600.0


@dataclass(frozen=True)
class Speed:
    """Seconds of a run = startup + steps * step + tokens * layers * width * element + FLOPs / flops."""

    startup: float
    step: float
    element: float
    flops: float


# cpu: one thread of a two-core machine; cuda: a process on an H100 or H200. 12 runs of 3e14 and 1e15 FLOPs at once took
# 182 s with all compilation (results/bench/sweep_throughput.md)
SPEEDS = {"cpu": Speed(0.2, 0.014, 70e-9, 60e9), "cuda": Speed(20.0, 0.001, 0.0, 50e12)}
RECOMPUTING = 4 / 3  # of a step's arithmetic: a forward pass more, which is half of a backward pass
UTILIZATION = 0.4  # of the peak, in training that keeps a GPU busy; small models keep it less


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a run asks of a worker: seconds by itself, an estimate; busy, the share of them in which it keeps its device
    computing; at_once, how many runs a worker trains at once, at most."""

    seconds: float
    busy: float
    at_once: int

    @property
    def share(self) -> float:
        """Seconds of a worker that it takes where others fill what it leaves idle."""
        return self.seconds * max(self.busy, 1 / self.at_once)


@dataclass(frozen=True, kw_only=True)
class Cost(Load):
    """params and tokens; FLOPs by the run's convention; memory in bytes, an estimate; recompute: whether blocks are
    computed again in the backward pass, as too much would have to be kept for it otherwise."""

    params: int
    tokens: int
    flops: float
    memory: float
    recompute: bool = False


def estimate(run: RunConfig, device: str, devices: int = 1, available: float = math.inf) -> Cost:
    """devices: that train the run together, sharing its state and its batches; memory is of each. Such a run, or one on
    a CPU, has its worker to itself; a GPU's worker trains several at once. available: bytes that each device has; a run
    that needs more is recomputed, and may need more even so."""
    from eutectic.arch import flops  # with it torch, which PEAKS do not need

    model, length = run.model, run.data.seq_len
    counts = flops.count(model, length, run.conv_algorithm)
    total = float(counts.training_flops(run.convention, length) * run.sequences)
    kept, least = (4 * _activations(model, run.micro_batch * length, again) for again in (False, True))
    state = BYTES_PER_PARAM * counts.params / devices + RUNTIME_BYTES
    recompute = least < kept and state + kept > available
    work = RECOMPUTING if recompute else 1.0
    speed = SPEEDS[device]
    elements = work * run.tokens * model.n_layers * model.d_model
    computing = work * total / speed.flops / devices
    seconds = speed.startup + run.steps * speed.step + elements * speed.element / devices + computing
    return Cost(
        seconds=seconds,
        busy=computing / seconds,
        at_once=AT_ONCE if device == "cuda" and devices == 1 else 1,
        params=counts.params,
        tokens=run.tokens,
        flops=total,
        memory=state + (least if recompute else kept),
        recompute=recompute,
    )


def _activations(model: ModelConfig, tokens: int, recompute: bool) -> int:
    """Floats that are kept at once for the backward pass of a micro-batch, at most."""
    from eutectic.kernels.linear_cross_entropy import rows_at_once

    rows = rows_at_once(tokens, model.vocab_size)
    widths = ACTIVATION_WIDTHS + model.n_layers if recompute else ACTIVATION_WIDTHS * model.n_layers
    floats = tokens * widths * model.d_model + rows * LOGIT_COPIES * model.vocab_size
    return floats + (HEAD_COPIES * model.vocab_size * model.d_model if rows < tokens else 0)


def worker_seconds(loads: Collection[Load], workers: int) -> float:
    """Seconds that so many workers are at these runs, all added up. What takes longest: one run; all, as many at once
    as there can be; or all their computing, after each worker's first start, in which nothing computes yet."""
    starting = min(load.seconds * (1 - load.busy) for load in loads)
    computing = sum(load.seconds * load.busy for load in loads)
    return max(
        max(load.seconds for load in loads),
        sum(load.seconds / load.at_once for load in loads),
        min(workers, len(loads)) * starting + computing,
    )


def wall_seconds(loads: Collection[Load], workers: int) -> float:
    """Seconds until so many workers have trained these runs: a worker's part of it, and at least the longest run."""
    return max(max(load.seconds for load in loads), worker_seconds(loads, workers) / workers)


def job_memory(runs: Iterable[RunConfig], device: str) -> float:
    """Bytes of host memory to ask a cluster for: twice the estimate; beside a GPU, what torch and its compiler take."""
    return 2 * max(estimate(run, device).memory for run in runs) if device == "cpu" else COMPILER_BYTES


def job_hours(loads: Collection[Load], workers: int) -> float:
    """Time limit to ask a cluster for: of workers that share these runs, with a margin."""
    return (TIME_MARGIN * wall_seconds(loads, workers) + SPARE_SECONDS) / 3600


def refuse_too_large(runs: Iterable[RunConfig], device: str, available: float, devices: int = 1) -> None:
    """Raise UserError where a run needs more than the bytes that a worker has, on each of its devices, even if it is
    recomputed."""
    for run in runs:
        cost = estimate(run, device, devices, available)
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
