"""tune."""

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eutectic.cli import Options, numbers, print_json
from eutectic.commands.console import err, finite, out, say_failed, warn
from eutectic.commands.placing import POLL_SECONDS, at_once, cluster_of, ended_on_interrupt, say_covered
from eutectic.commands.planning import open_sweep, plan_of
from eutectic.errors import UserError
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.recipe import Recipe


def tune(options: Options) -> int:
    from eutectic.sweeps import foreign
    from eutectic.sweeps import tune as tuning
    from eutectic.sweeps.cells import cells as cells_of
    from eutectic.sweeps.submit import STORAGE

    (trials,), (sizes,) = numbers([[options.trials]], int, "--trials"), numbers([[options.sizes]], int, "--sizes")
    if trials == 0:
        raise UserError("--trials 0 asks for nothing; give the trials of each study, e.g. 24.")
    recipe, rows, folder, _ = plan_of(options, prepare=not options.dry)
    if (folder / "runs").is_dir() and not (folder / "tune").is_dir():
        raise UserError(
            f"{folder} holds a sweep, whose fits runs of other settings would spoil; choose another --name."
        )
    cells = cells_of(recipe, [run for run, _ in rows], options.sampler, _further(options), options.prune, sizes)
    if options.dry:
        return _plan_trials(options, recipe, cells, trials, folder)
    url = options.storage or os.environ.get(STORAGE)
    if url:
        tuning.open_database(url)  # or refuse it, before anything is written
    open_sweep(options, folder, recipe, rows)
    Ledger(folder).collect()
    studies = tuning.Studies(folder, cells, trials, url, recipe.device)
    studies.settle()
    foreign.keep(options.mixer_file, folder)
    if options.cluster == "slurm" and studies.left():
        _queue_up(options, studies, url, recipe)
        return 0
    _train_trials(options, studies, url, recipe)
    return _conclude_tuning(options, studies)


def _further(options: Options) -> tuple[str, ...]:
    from eutectic.sweeps.cells import FURTHER

    named = tuple(dict.fromkeys(word for part in options.also for word in part))
    for name in named:
        if name not in FURTHER:
            raise UserError(f"--also {name!r} is no setting to vary; choose of {', '.join(FURTHER)}.")
    return named


def _plan_trials(options: Options, recipe: Recipe, cells: Sequence[Any], trials: int, folder: Path) -> int:
    """Show what the trials of all studies cost, and on Slurm the scripts; nothing is written."""
    from eutectic.display.sweep import Fleet, trials_table
    from eutectic.sweeps.submit import scripts

    costs = [cell.cost(recipe.device) for cell in cells]
    if options.json:
        studies = zip(cells, costs, strict=True)
        print_json([{"study": cell.study, "trials": trials, **dataclasses.asdict(cost)} for cell, cost in studies])
        return 0
    workers = min(options.workers or recipe.workers, trials * len(cells))
    rows = [(cell.base, cost) for cell, cost in zip(cells, costs, strict=True) for _ in range(trials)]
    fleet = Fleet(recipe.device, at_once(options, recipe.device, workers), price=options.price)
    out().print(trials_table(rows, fleet))
    if options.cluster == "slurm":
        cluster = _cluster(options, cells, trials, recipe.device, workers)
        print("\n".join(scripts(cluster, folder.resolve())))
    return 0


def _cluster(options: Options, cells: Sequence[Any], trials: int, device: str, workers: int) -> Any:
    """Where so many workers train the cells' trials; its time limit allows for the smallest batches in all."""
    from eutectic.sweeps.cost import estimate, job_memory

    memory = job_memory([cell.trial(cell.lr[0], cell.doublings[1]) for cell in cells], device)
    longest = [estimate(cell.trial(cell.lr[0], cell.doublings[0]), device) for cell in cells]
    return cluster_of(options, device, workers, memory, longest * trials)


def _queue_up(options: Options, studies: Any, url: str | None, recipe: Recipe) -> None:
    """Submit to Slurm workers for the trials that no job in its queue is to ask, unless told to --continue."""
    from eutectic.sweeps import queued

    folder = studies.ledger.folder
    queue = queued.look(folder)
    left = studies.left_by_cell({} if options.go_on else queued.covered_trials(folder, queue))
    if covered := studies.left() - sum(left.values()):
        say_covered(f"{covered} trials", queue)
    if not left:
        text = "nothing is left to submit; when the jobs have ended, the same command shows what they found."
        err().print(text, soft_wrap=True)
        return
    jobs = _submit(options, studies, left, url, recipe)
    queued.note_trials(folder, jobs[0].job_id, {cell.study: studies.trials for cell in left})
    err().print(f"{len(jobs)} jobs submitted; when they have ended, the same command shows what they found.")


def _train_trials(options: Options, studies: Any, url: str | None, recipe: Recipe) -> None:
    """By workers here, which are waited for, and ended first on an interrupt."""
    from eutectic.sweeps.submit import running

    left = studies.left_by_cell({})
    if not left:
        return
    jobs = _submit(options, studies, left, url, recipe)
    with ended_on_interrupt(jobs), err().status("") as line:
        while list(running(jobs)):
            line.update(f"{studies.left()} trials left")
            time.sleep(POLL_SECONDS)


def _submit(options: Options, studies: Any, left: Mapping[Any, int], url: str | None, recipe: Recipe) -> list[Any]:
    """Workers that ask and train the trials that are left of cells. url: of the studies' database, where they are in
    one."""
    from eutectic.sweeps.submit import STORAGE, Tuning, submit
    from eutectic.train.shards import default_cache

    cells = list(left)
    work = Tuning(
        folder=studies.ledger.folder.resolve(),
        device=recipe.device,
        cache=default_cache().resolve(),
        tracker=options.track,
        cells=cells,
        trials=studies.trials,
        in_database=bool(url),
    )
    if url:
        os.environ[STORAGE] = url
    workers = min(options.workers or recipe.workers, sum(left.values()))
    return submit(_cluster(options, cells, studies.trials, recipe.device, workers), work)


def _conclude_tuning(options: Options, studies: Any) -> int:
    """Show the optima and laws of all that is collected, then what failed and what has not ended."""
    from eutectic.analysis.load import load
    from eutectic.analysis.tuned import tuned

    studies.settle()
    ledger = studies.ledger
    ledger.collect()
    warn(ledger)
    counts, unfinished, statuses = studies.counts(), studies.left(), ledger.statuses()
    failed = {i: ledger.failure(i) for i, s in statuses.items() if s == "failed"}
    found = tuned(load(ledger.folder)) if (ledger.folder / "runs.parquet").exists() else None
    if options.json:
        report = finite(found.to_dict()) if found else None
        print_json({"trials": counts, "failed": failed, "unfinished": unfinished, "report": report})
    elif found:
        from eutectic.display.tune import show_tuned

        show_tuned(out(), found, counts)
    say_failed(failed, len(statuses))
    if unfinished:
        err().print(f"{unfinished} trials have not ended; the same command goes on with those that nobody trains.")
    return int(bool(failed or unfinished))
