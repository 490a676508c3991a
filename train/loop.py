"""Training one run, from its config to its row."""

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from eutectic import files
from eutectic.arch import flops
from eutectic.arch.model import build
from eutectic.config import RunConfig
from eutectic.train import checkpoint, log, preemption, starts
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


@dataclass(frozen=True)
class Hooks:
    """What a run asks of those who have it trained, and tells them.

    held: whether the run is still theirs, which is asked before anything is written. hopeless: whether it is to be
    given up for its validation losses until then. mirror: that is handed the curve as it grows.
    """

    held: Callable[[], bool] = lambda: True
    hopeless: Callable[[list[float]], bool] = lambda losses: False
    mirror: Mirror | None = None


def train(
    config: RunConfig,
    manifest: Manifest,
    folder: Path,
    device: str,
    hooks: Hooks = Hooks(),
    ranks: Ranks = ALONE,
    recompute: bool = False,
) -> log.Row:
    """Train a run, or go on from its checkpoint, and leave curve.parquet, weights and, last, run.parquet in its folder.

    Returns its row of `runs`: status `done`; `diverged` with the last finite training loss; or `pruned` with the last
    validation loss, where `hooks.hopeless` said so of the validation losses until then. On the CPU the result is the
    same to the bit however often it was interrupted. Raises LeaseLost where, about to write, `hooks.held` says that the
    run is another's, and Preempted once it is saved for a process that was told to go.

    Where the config names a start, that lies in the sweep's folder (train/starts.py), of which `folder` is a run's.

    Each of several ranks calls it alike, and it does the same on all: the same numbers to rounding as one alone. Only
    the first writes, but all read; what any of them is told or loses goes for all. recompute: blocks in the backward
    pass, for want of memory, which changes no number.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.set_stream(torch.cuda.Stream())  # the default one cannot be captured
    model = build(config.model, config.seed, config.optim.init_scale)
    behind = starts.begin(model, folder.parents[1], config.start) if config.start else {}
    training = _Training(config, manifest, folder, hooks, Stepper(model, config, device, ranks, recompute))
    training.run()
    training.require()
    outcome = _outcome(config, manifest, device, training.progress, ranks) | behind
    checkpoint.save_weights(folder / "weights.safetensors", outcome["config"], training.stepper.model, ranks)
    if ranks.first:
        _finish(folder, training.progress.curve, outcome)
    return outcome


class _Training:
    """A run between its checkpoint, or its start, and its end. progress: as of the last row of its curve."""

    def __init__(self, config: RunConfig, manifest: Manifest, folder: Path, hooks: Hooks, stepper: Stepper):
        self.config, self.folder, self.hooks, self.stepper = config, folder, hooks, stepper
        self.ranks, device = stepper.ranks, stepper.device
        self.mirror = hooks.mirror or Mirror(None, config, folder)
        self.path = folder / "checkpoint.safetensors"
        self.progress = checkpoint.load(self.path, config.run_id, stepper.model, stepper.optimizer, stepper.ranks)
        self.mirror.begin(self.progress.step)
        data = config.data
        self.batches = Batches(manifest, data.seq_len, config.batch_size, config.seed)
        self.held_out = torch.from_numpy(validation(manifest, data.seq_len, data.valid_sequences)).to(device)
        terms = flops.count(config.model, data.seq_len, config.conv_algorithm)
        self.per_sequence = terms.training_flops(config.convention, data.seq_len)
        self.log_steps, self.eval_steps = _log_steps(config), _eval_steps(config)
        self.total = torch.tensor(self.progress.total, device=device)  # of the losses since the last row
        self.started, self.saved = time.monotonic() - self.progress.seconds, time.monotonic()
        self.reported = 0.0

    def run(self) -> None:
        """Until the last step is taken, or the run diverges or is given up."""
        config = self.config
        for step in range(self.progress.step, config.steps):
            lr = lr_at(config.optim, step, config.steps)
            size = min(config.batch_size, config.sequences - step * config.batch_size)
            loss, grad_norm = self.stepper.step(torch.from_numpy(self.batches.batch(step, size)), lr)
            self.total += loss
            taken, now = step + 1, time.monotonic()
            if taken in self.log_steps:
                self._log(taken, lr, grad_norm)
                if self._is_over():
                    break
            self._save_if_asked(taken, now)
            self._report(taken, now)

    def require(self) -> None:
        """The run to be still theirs who have it trained."""
        if self.ranks.any(not self.hooks.held()):
            raise LeaseLost

    def _log(self, taken: int, lr: float, grad_norm: torch.Tensor) -> None:
        """Add a row to the curve, of the step that was the last."""
        curve, config = self.progress.curve, self.config
        mean = self.total.item() / (taken - (curve[-1]["step"] if curve else 0))
        self.total = torch.zeros_like(self.total)
        valid = self.stepper.validate(self.held_out) if taken in self.eval_steps else None
        sequences = min(taken * config.batch_size, config.sequences)
        row: log.Row = {
            "run_id": config.run_id,
            "step": taken,
            "tokens": sequences * config.data.seq_len,
            "flops": float(sequences * self.per_sequence),
            "train_loss": mean,
            "valid_loss": valid,
            "lr": lr,
            "grad_norm": grad_norm.item(),
            "seconds": time.monotonic() - self.started,
        }
        self.progress = checkpoint.Progress(taken, row["seconds"], [*curve, row])
        self.mirror.log(row)

    def _is_over(self) -> bool:
        """Whether the run has diverged, or is given up at a validation that is not its last."""
        row = self.progress.curve[-1]
        if not _is_finite(row):
            return True
        if row["valid_loss"] is None or row["step"] == self.config.steps:
            return False
        return self.ranks.any(self.hooks.hopeless(_validations(self.progress.curve)))

    def _save_if_asked(self, taken: int, now: float) -> None:
        """By a signal or the clock. Raises Preempted where the process is to go then."""
        due = {CLOCK} if now - self.saved > CHECKPOINT_SECONDS else set()
        asked = self.ranks.union(preemption.asked() | due)
        if asked:
            self.require()
            here = checkpoint.Progress(taken, now - self.started, self.progress.curve, self.total.item())
            checkpoint.save(self.path, self.config.run_id, self.stepper.model, self.stepper.optimizer, here, self.ranks)
            self.saved = now
        if signal.SIGUSR2 in asked:
            raise preemption.Preempted

    def _report(self, taken: int, now: float) -> None:
        """How far the run is, to a file for those who look on."""
        if self.ranks.first and now - self.reported > PROGRESS_SECONDS:
            self.reported = now
            progress = {"step": taken, "steps": self.config.steps, "loss": _last(self.progress)}
            files.write_json(self.folder / "progress.json", progress)


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
    if not _is_finite(curve[-1]):
        return "diverged"
    return "done" if curve[-1]["step"] == config.steps else "pruned"


def _is_finite(row: log.Row) -> bool:
    return math.isfinite(row["train_loss"] + (row["valid_loss"] or 0.0))


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
