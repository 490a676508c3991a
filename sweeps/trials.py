"""Trials of synthetic tasks, planned, shared out and kept as a sweep's runs are (sweeps/ledger.py).

NAME/trials/TRIAL/config.json     planned
                  claim-K.json    running, while the newest claim is alive
                  failure.json    failed, until it is planned again
                  ablation.parquet, trial.parquet     done, in that order
NAME/ablation.parquet, trials.parquet   the rows of all that are done, collected; a trial in here is done everywhere
"""

import contextlib
import os
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eutectic import files
from eutectic.arch import flops, layout, registry
from eutectic.config import ModelConfig
from eutectic.kernels import choice
from eutectic.probes.task import Task
from eutectic.probes.tasks import written
from eutectic.probes.trial import Ablated, Score, Trial, run
from eutectic.sweeps import cost, match, pool
from eutectic.sweeps.claim import Claim, alone, is_alive, newest_claim
from eutectic.sweeps.recipe import Shape
from eutectic.sweeps.worker import Place, fill_gpu, return_memory, say
from eutectic.train import log

TABLES = {"ablation": "ablation", "trials": "trial"}  # and the file of each in a trial's folder


@dataclass(frozen=True)
class Plan:
    """What trials have in common beside architecture and task. match: `params` gives all as many parameters as pure
    attention has, `state` each layer `state` numbers to keep; examples: to learn from, a trial for each number of them,
    or none for the task's own; batch_tokens: of an optimizer step."""

    n_layers: int
    d_model: int
    n_heads: int
    match: str
    state: int
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    tokens: int
    examples: tuple[int, ...]
    batch_tokens: int
    control: bool

    def trials(self, archs: Iterable[str], tasks: Sequence[Task]) -> list[Trial]:
        """Raises UserError where an architecture does not fit the depth, or cannot be matched."""
        taught = {task: self.examples or (task.taught,) for task in tasks}
        return [self._trial(arch, task, examples) for arch in archs for task in tasks for examples in taught[task]]

    def _trial(self, arch: str, task: Task, examples: int) -> Trial:
        named = registry.canonical(registry.filled(arch, "max_length", task.length))
        layout.expand(layout.parse(named), self.n_layers)
        shape = Shape(self.n_layers, self.d_model, self.n_heads, self.n_heads)
        model = ModelConfig(named, **asdict(shape), d_ffn=shape.d_ffn, vocab_size=task.tokens)
        if self.match == "params":
            model = match.to_attention(model, lambda one: flops.count(one, task.length).params, "params")
        if self.match == "state":
            model = match.to_state(model, self.state, task.length)
        batch = max(1, self.batch_tokens // task.length)
        shared = {name: getattr(self, name) for name in ("seeds", "rates", "tokens", "control", "match")}
        return Trial(task, model, examples=examples, batch=batch, arch=registry.canonical(arch), **shared)


def load(trial: Trial, device: str) -> cost.Load:
    """What a trial asks of a worker, an estimate: its models' arithmetic, and steps, which a GPU replays."""
    speed, members = cost.SPEEDS[device], len(trial.seeds) * len(trial.rates)
    computing = 6 * counts_of(trial).params * trial.steps * trial.batch * trial.task.length * members
    # of a CPU each model's step costs its calls; of a GPU a replay of all costs as much as a few
    launches, busy, at_once = (4, 0.25, cost.AT_ONCE) if device == "cuda" else (members, 1.0, 1)
    seconds = speed.startup + trial.steps * speed.step * launches + computing / speed.flops
    return cost.Load(seconds=seconds, busy=busy, at_once=at_once)


def memory(trial: Trial) -> float:
    """Bytes, at most, as sweeps/cost.py counts: what all models keep of a step, and the seeds' examples."""
    members, model = len(trial.seeds) * len(trial.rates), trial.model
    kept = cost.ACTIVATION_WIDTHS * model.n_layers * model.d_model + cost.LOGIT_COPIES * model.vocab_size
    floats = members * (trial.batch * trial.task.length * kept + cost.BYTES_PER_PARAM / 4 * counts_of(trial).params)
    return cost.RUNTIME_BYTES + 4 * floats + 16 * len(trial.seeds) * trial.examples * trial.task.length


class Trials:
    """Those of a folder, as this process sees them."""

    def __init__(self, folder: Path):
        self.folder, self.trials = folder, folder / "trials"
        self._done = {row["trial"] for row in log.read_rows(folder / "trials.parquet")}

    def add(self, trials: Iterable[Trial]) -> None:
        """Plan those that are not done; one that has failed is to be tried again."""
        for trial in trials:
            folder = self.trials / trial.trial_id
            if self.status(trial.trial_id) in ("done", "running"):
                continue
            files.make_folder(folder)
            files.write_json(folder / "config.json", trial.to_dict())
            (folder / "failure.json").unlink(missing_ok=True)

    def status(self, trial_id: str) -> str:
        """planned, running, failed or done."""
        folder = self.trials / trial_id
        names = files.names(folder)
        if trial_id in self._done or "trial.parquet" in names:
            return "done"
        if "failure.json" in names:
            return "failed"
        return "running" if is_alive(newest_claim(folder, names)) else "planned"

    def uncollected(self) -> dict[str, str]:
        """The status of each that has no rows in the tables yet."""
        found = sorted(path.parent.name for path in self.trials.glob("*/config.json"))
        return {trial_id: self.status(trial_id) for trial_id in found if trial_id not in self._done}

    def abandoned(self, trial_id: str) -> bool:
        """Whether a trial was begun and its worker is gone."""
        folder = self.trials / trial_id
        return self.status(trial_id) == "planned" and newest_claim(folder, files.names(folder)) is not None

    def failure(self, trial_id: str) -> str:
        return str(files.read_object(self.trials / trial_id / "failure.json").get("error", ""))

    def claim(self, trial_id: str) -> Claim | None:
        """The right to do a planned trial, or None where another process has it."""
        if self.status(trial_id) != "planned":
            return None
        claim = Claim.take_if_free(self.trials / trial_id)
        if claim and self.status(trial_id) in ("done", "failed"):  # since that look
            claim.release()
            return None
        return claim

    def read(self, trial_id: str) -> Trial:
        return Trial.from_dict(files.read_object(self.trials / trial_id / "config.json"))

    def fail(self, trial_id: str, error: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # a folder that was deleted
            files.write_json(self.trials / trial_id / "failure.json", {"error": error})

    def keep(self, trial_id: str, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Rows of both tables; with those of `trials` it is done."""
        for table, name in TABLES.items():
            log.write_rows(self.trials / trial_id / f"{name}.parquet", table, rows[table])

    def collect(self) -> int:
        """Add what is done to the tables, one process at a time; returns how many trials were new."""
        with alone(files.make_folder(self.folder / "collect")):
            known = {row["trial"] for row in log.read_rows(self.folder / "trials.parquet")}
            ended = sorted(path.parent.name for path in self.trials.glob("*/trial.parquet"))
            new = [trial_id for trial_id in ended if trial_id not in known]
            for table, name in TABLES.items() if new else ():
                rows = [row for one in new for row in log.read_rows(self.trials / one / f"{name}.parquet")]
                log.add_rows(self.folder / f"{table}.parquet", table, rows)
        self._done = known | set(new)
        return len(new)


def work(folder: Path, trial_ids: Sequence[str], place: Place, number: int = 0) -> None:
    """Do every trial of the list that is still planned: on a CPU one by one, on a GPU several at once, each in a
    process of its own. One that raises is marked failed. number: as of sweeps/worker.work."""
    os.environ.setdefault(choice.VARIABLE, "torch")  # others cannot be vectorised over models
    if place.device == "cpu":
        for trial_id in trial_ids:
            do(folder, trial_id, place, alone=True)
        return
    trials = Trials(folder)
    tasks = [
        pool.Task(partial(do, folder, one, place), partial(_lost, folder, one), memory(trial), load(trial, "cuda").busy)
        for one in trial_ids
        if trials.status(one) == "planned" and (trial := trials.read(one))
    ]
    fill_gpu(tasks, place.cache, number)


def do(folder: Path, trial_id: str, place: Place, alone: bool) -> None:
    """Do a trial unless somebody else does or has. alone: as of pool.Task."""
    import torch

    trials = Trials(folder)
    claim = trials.claim(trial_id)
    if claim is None:
        return
    try:
        trial = trials.read(trial_id)
        say(f"{trial_id} {trial.arch} {written(trial.task)}")
        torch.set_float32_matmul_precision("high")
        began = time.perf_counter()
        scores, ablated = run(trial, place.device)
        rows = _rows(trial, scores, ablated, time.perf_counter() - began, place.device)
        if claim.held():
            trials.keep(trial_id, rows)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError" and not alone:
            raise pool.MemoryTaken from None
        traceback.print_exc()
        trials.fail(trial_id, f"{type(error).__name__}: {error}")
    finally:
        claim.release()
        if place.device == "cuda":
            return_memory()


def _lost(folder: Path, trial_id: str, why: str) -> None:
    Trials(folder).fail(trial_id, f"{why}; see {folder}/jobs.")


def counts_of(trial: Trial) -> flops.Counts:
    return flops.count(trial.model, trial.task.length)


def about(trial: Trial) -> dict[str, Any]:
    """The columns that tell its rows from those of others."""
    named = {"arch": trial.arch, "task": trial.task.name, "settings": written(trial.task)}
    shape = ("layout", "n_layers", "d_model", "n_heads", "n_modes", "d_ffn")
    taught = ("match", "tokens", "examples", "batch", "control")
    return (
        named | {name: getattr(trial.model, name) for name in shape} | {name: getattr(trial, name) for name in taught}
    )


def _rows(
    trial: Trial, scores: list[Score], ablated: list[Ablated], seconds: float, device: str
) -> dict[str, list[dict[str, Any]]]:
    model, task, counts = trial.model, trial.task, counts_of(trial)
    named = {"trial": trial.trial_id, "arch": trial.arch, "task": task.name, "settings": written(task)}
    size = {"params": counts.params, "state_dim": counts.state.dim, "length": task.length, "chance": task.chance}
    where = {k: v for k, v in log.outcome_columns(device).items() if k != "peak_memory"} | {"seconds": seconds}
    shared = named | about(trial) | size | where
    mixers = [str(layer) for layer in layout.expand(layout.parse(model.layout), model.n_layers)]
    return {
        "trials": [
            shared | asdict(one) | {"lr": one.rate, "test": None if one.test != one.test else one.test}
            for one in scores
        ],
        "ablation": [named | asdict(one) | {"lr": one.rate, "mixer": mixers[one.layer]} for one in ablated],
    }
