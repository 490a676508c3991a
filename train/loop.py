"""Training one run, from its config to its row."""

import math
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch

from eutectic import files
from eutectic.arch import flops
from eutectic.arch.model import build
from eutectic.config import RunConfig
from eutectic.train import checkpoint, log, preemption
from eutectic.train.data import Batches, repeated_share, validation
from eutectic.train.optim import lr_at
from eutectic.train.parallel import ALONE, Ranks
from eutectic.train.peaks import utilization
from eutectic.train.shards import Manifest
from eutectic.train.step import Stepper
from eutectic.train.track import Mirror

ROWS = 100  # of a curve, about
CHECKPOINT_SECONDS = 60.0
PROGRESS_SECONDS = 1.0
CLOCK = 0  # asks to save as a signal does


class LeaseLost(Exception):
    """Another worker trains this run now; this one must write nothing more."""


def train(
    config: RunConfig,
    manifest: Manifest,
    folder: Path,
    device: str,
    held: Callable[[], bool] = lambda: True,
    ranks: Ranks = ALONE,
    mirror: Mirror | None = None,
    hopeless: Callable[[list[float]], bool] = lambda losses: False,
) -> log.Row:
    """Train a run, or go on from its checkpoint, and leave curve.parquet, weights and, last, run.parquet in its folder.

    Returns its row of `runs`: status `done`; `diverged` with the last finite training loss; or `pruned` with the last
    validation loss, where `hopeless` said so of the validation losses until then. On the CPU the result is
    the same to the bit however often it was interrupted. Raises LeaseLost where, about to
    write, `held` says that the run is another's, and Preempted once it is saved for a process that was told to go.

    Each of several ranks calls it alike, and it does the same on all: the same numbers to rounding as one alone. Only
    the first writes, but all read; what any of them is told or loses goes for all. `mirror` is handed the curve as it
    grows.
    """
    mirror = mirror or Mirror(None, config, folder)
    if config.threads:
        torch.set_num_threads(config.threads)
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.set_stream(torch.cuda.Stream())  # the default one cannot be captured
    stepper = Stepper(build(config.model, config.seed, config.optim.init_scale), config, device, ranks)
    path, model, optimizer = folder / "checkpoint.safetensors", stepper.model, stepper.optimizer
    progress = checkpoint.load(path, config.run_id, model, optimizer, ranks)
    mirror.begin(progress.step)
    batches = Batches(manifest, config.data.seq_len, config.batch_size, config.seed)
    held_out = torch.from_numpy(validation(manifest, config.data.seq_len, config.data.valid_sequences)).to(device)
    log_steps, eval_steps = _log_steps(config), _eval_steps(config)
    per_sequence = flops.count(config.model, config.data.seq_len, config.conv_algorithm).training_flops(
        config.convention, config.data.seq_len
    )

    started, saved, reported = time.monotonic() - progress.seconds, time.monotonic(), 0.0
    total, since = torch.tensor(progress.total, device=device), progress.curve[-1]["step"] if progress.curve else 0
    for step in range(progress.step, config.steps):
        lr = lr_at(config.optim, step, config.steps)
        size = min(config.batch_size, config.sequences - step * config.batch_size)
        loss, grad_norm = stepper.step(torch.from_numpy(batches.batch(step, size)), lr)
        total += loss

        taken, now = step + 1, time.monotonic()
        if taken in log_steps:
            mean = total.item() / (taken - since)
            total, since = torch.zeros((), device=device), taken
            valid = stepper.validate(held_out) if taken in eval_steps else None
            sequences = step * config.batch_size + size
            seconds = time.monotonic() - started
            row = {
                "run_id": config.run_id,
                "step": taken,
                "tokens": sequences * config.data.seq_len,
                "flops": float(sequences * per_sequence),
                "train_loss": mean,
                "valid_loss": valid,
                "lr": lr,
                "grad_norm": grad_norm.item(),
                "seconds": seconds,
            }
            progress = checkpoint.Progress(taken, seconds, [*progress.curve, row])
            mirror.log(row)
            if not math.isfinite(mean if valid is None else mean + valid):
                break
            if valid is not None and taken < config.steps and ranks.any(hopeless(_validations(progress.curve))):
                break
        asked = ranks.union(preemption.asked() | ({CLOCK} if now - saved > CHECKPOINT_SECONDS else set()))
        if asked:
            _require(held, ranks)
            here = checkpoint.Progress(taken, now - started, progress.curve, total.item())
            checkpoint.save(path, config.run_id, model, optimizer, here, ranks)
            saved = now
        if signal.SIGUSR2 in asked:
            raise preemption.Preempted
        if ranks.first and now - reported > PROGRESS_SECONDS:
            reported = now
            files.write_json(folder / "progress.json", {"step": taken, "steps": config.steps, "loss": _last(progress)})

    _require(held, ranks)
    outcome = _outcome(config, manifest, device, progress, ranks)
    checkpoint.save_weights(folder / "weights.safetensors", outcome["config"], model, ranks)
    if ranks.first:
        _finish(folder, progress.curve, outcome)
    return outcome


def _require(held: Callable[[], bool], ranks: Ranks) -> None:
    if ranks.any(not held()):
        raise LeaseLost


def _eval_steps(config: RunConfig) -> set[int]:
    return {max(1, round(config.steps * k / config.evals)) for k in range(1, config.evals + 1)}


def _log_steps(config: RunConfig) -> set[int]:
    every = -(-config.steps // ROWS)
    return {*range(every, config.steps + 1, every), *_eval_steps(config)}


def _validations(curve: list[log.Row]) -> list[float]:
    return [row["valid_loss"] for row in curve if row["valid_loss"] is not None]


def _last(progress: checkpoint.Progress) -> float | None:
    return progress.curve[-1]["train_loss"] if progress.curve else None


def _outcome(
    config: RunConfig, manifest: Manifest, device: str, progress: checkpoint.Progress, ranks: Ranks
) -> log.Row:
    curve = progress.curve
    status = _status(config, curve)
    done = status == "done"
    finite = [row["train_loss"] for row in curve if math.isfinite(row["train_loss"])]
    tail = [row for row in curve if row["step"] > 0.9 * config.steps]
    return log.planned_columns(config) | {
        "status": status,
        "loss": curve[-1]["valid_loss"] if status != "diverged" else finite[-1] if finite else None,
        "train_loss": _mean_loss(curve, tail) if done else None,
        "flops": curve[-1]["flops"],
        "tokens": curve[-1]["tokens"],
        "repeated_share": repeated_share(config.sequences, Batches(manifest, config.data.seq_len, 1, 0).windows),
        "bytes_per_token": manifest.valid_bytes_per_token,
        "source": manifest.source,
        "steps_done": progress.step,
        "seconds": progress.seconds,
        "tokens_per_second": curve[-1]["tokens"] / progress.seconds,
        "mfu": utilization(curve[-1]["flops"], progress.seconds, log.device_name(device), ranks.world),
        **log.outcome_columns(device, ranks.world),
    }


def _status(config: RunConfig, curve: list[log.Row]) -> str:
    last = curve[-1]
    if not math.isfinite(last["train_loss"] + (last["valid_loss"] or 0.0)):
        return "diverged"
    return "done" if last["step"] == config.steps else "pruned"


def _finish(folder: Path, curve: list[log.Row], row: log.Row) -> None:
    """Write the curve and, as the act that makes the run finished, its row; the weights are there."""
    log.write_rows(folder / "curve.parquet", "curves", curve)
    log.write_rows(folder / "run.parquet", "runs", [row])
    for name in ("checkpoint.safetensors", "progress.json"):
        (folder / name).unlink(missing_ok=True)


def _mean_loss(curve: list[log.Row], tail: list[log.Row]) -> float:
    """Mean training loss over the rows of `tail`, each a mean over the steps since the row before it."""
    ends = [0, *(row["step"] for row in curve)]
    steps = {end: end - before for before, end in pairwise(ends)}
    return sum(row["train_loss"] * steps[row["step"]] for row in tail) / sum(steps[row["step"]] for row in tail)
