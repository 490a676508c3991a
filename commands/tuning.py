"""tune."""

import dataclasses
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.console import err, finite, out, say_failed, warn
from eutectic.commands.placing import POLL_SECONDS, at_once, cluster_of, ended_on_interrupt, say_covered
from eutectic.commands.planning import open_sweep, plan_of, say_refusals
from eutectic.errors import UserError
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.recipe import Recipe
from eutectic.values import numbers


def tune(options: Options) -> int:
    from eutectic.sweeps import foreign
    from eutectic.sweeps import tune as tuning
    from eutectic.sweeps.cells import cells as cells_of
    from eutectic.sweeps.submit import STORAGE

    (trials,), (sizes,) = numbers([[options.trials]], int, "--trials"), numbers([[options.sizes]], int, "--sizes")
    if trials == 0:
        raise UserError("--trials 0 asks for nothing; give the trials of each study, e.g. 24.")
    recipe, rows, folder, *_ = plan_of(options, prepare=not options.dry)
    if (folder / "runs").is_dir() and not (folder / "tune").is_dir():
        raise UserError(
            f"{folder} holds a sweep, whose fits runs of other settings would spoil; choose another --name."
        )
    cells = cells_of(recipe, [run for run, _ in rows], options.sampler, _further(options), options.prune, sizes)
    url = options.storage or os.environ.get(STORAGE)
    if options.dry:
        say_refusals(options, folder, recipe, rows)
        return _plan_trials(options, recipe, cells, trials, url, folder)
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


def _plan_trials(
    options: Options, recipe: Recipe, cells: Sequence[Any], trials: int, url: str | None, folder: Path
) -> int:
    """Show what the trials cost that would be submitted now, and on Slurm the scripts; nothing is written."""
    from eutectic.display.sweep import Fleet, trials_table
    from eutectic.sweeps import tune as tuning
    from eutectic.sweeps.submit import scripts

    with tempfile.TemporaryDirectory() as scratch:
        left = _to_submit(options, tuning.foresee(folder, cells, trials, url, Path(scratch)))
    costs = {cell: cell.cost(recipe.device) for cell in cells}
    rows = [(cell.base, costs[cell]) for cell, n in left.items() for _ in range(n)]
    busy = at_once(options, recipe.device, min(options.workers or recipe.workers, len(rows)))
    fleet = Fleet(recipe.device, busy, price=options.price)
    on_slurm = left and options.cluster == "slurm"
    texts = scripts(_cluster(options, left, trials, recipe), folder.resolve()) if on_slurm else []
    if options.json:
        studies = [
            {"study": cell.study, "trials": left.get(cell, 0), **dataclasses.asdict(cost)}
            for cell, cost in costs.items()
        ]
        print_json({"studies": studies, **fleet.totals([cost for _, cost in rows]), "scripts": texts})
    elif rows:
        out().print(trials_table(rows, fleet))
        if texts:
            print("\n".join(texts))
    else:
        err().print("nothing is left to submit.")
    return 0


def _to_submit(options: Options, studies: Any) -> dict[Any, int]:
    """Of the cells that have any, how many trials are to be submitted: on Slurm those that no job in its queue is to
    ask, unless told to --continue. Says what is left to jobs."""
    from eutectic.sweeps import queued

    if options.cluster != "slurm" or options.go_on:
        return dict(studies.left_by_cell({}))
    folder = studies.ledger.folder
    queue = queued.look(folder)
    left = studies.left_by_cell(queued.covered_trials(folder, queue))
    if covered := studies.left() - sum(left.values()):
        say_covered(f"{covered} trials", queue)
    return dict(left)


def _cluster(options: Options, left: Mapping[Any, int], trials: int, recipe: Recipe) -> Any:
    """Where workers train what is left of cells, no more than there are trials; its time limit allows for the smallest
    batches in all that the cells are to have."""
    from eutectic.sweeps.cost import estimate, job_memory

    device, workers = recipe.device, min(options.workers or recipe.workers, sum(left.values()))
    memory = job_memory([cell.trial(cell.lr[0], cell.doublings[1]) for cell in left], device)
    longest = [estimate(cell.trial(cell.lr[0], cell.doublings[0]), device) for cell in left]
    return cluster_of(options, device, workers, memory, longest * trials)


def _queue_up(options: Options, studies: Any, url: str | None, recipe: Recipe) -> None:
    """Submit workers to Slurm, and write down what they are to ask."""
    from eutectic.sweeps import queued

    left = _to_submit(options, studies)
    if not left:
        text = "nothing is left to submit; when the jobs have ended, the same command shows what they found."
        err().print(text, soft_wrap=True)
        if options.json:
            print_json({"jobs": [], "trials": {}})
        return
    jobs = _submit(options, studies, left, url, recipe)
    trials = {cell.study: studies.trials for cell in left}
    queued.note_trials(studies.ledger.folder, jobs[0].job_id, trials)
    if options.json:
        print_json({"jobs": [job.job_id for job in jobs], "trials": trials})
    err().print(f"{len(jobs)} jobs submitted; when they have ended, the same command shows what they found.")


def _train_trials(options: Options, studies: Any, url: str | None, recipe: Recipe) -> None:
    """By workers here, which are waited for, and ended first on an interrupt."""
    from eutectic.sweeps.submit import running

    left = _to_submit(options, studies)
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

    work = Tuning(
        folder=studies.ledger.folder.resolve(),
        device=recipe.device,
        cache=default_cache().resolve(),
        tracker=options.track,
        cells=list(left),
        trials=studies.trials,
        in_database=bool(url),
    )
    if url:
        os.environ[STORAGE] = url
    return submit(_cluster(options, left, studies.trials, recipe), work)


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
