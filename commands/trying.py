"""probe."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.console import err, finite, named, out
from eutectic.commands.placing import check_place, cluster_of, uncovered, wait
from eutectic.errors import UserError
from eutectic.values import numbers

STATE = 4096  # numbers that each layer keeps with --match state, as in Poli et al. (2024)


def probe(options: Options) -> int:
    """Do the trials that are not done, and show what all that are kept here come to."""
    from eutectic.sweeps import cost, queued
    from eutectic.sweeps.trials import Trials

    check_place(options)
    losses = {name: _losses(options, name) for part in options.against for name in part}
    asked = {trial.trial_id: trial for trial in _asked(options)}
    folder, device = named(options.results, options.name or "probe"), options.device or "cpu"
    trials = Trials(folder)
    if not options.dry:
        cost.available_memory(device, 1)
        trials.collect()
    _refuse_mixed(trials, asked.values())
    if options.dry:
        left = [trial for trial in asked.values() if trials.status(trial.trial_id) != "done"]
        return _show_plan(options, left, len(asked), device)
    trials.add(asked.values())
    left = _to_submit(options, trials, asked)
    jobs = _submitted(options, folder, device, [asked[trial_id] for trial_id in left]) if left else []
    if jobs and options.cluster == "slurm":
        queued.note(folder, jobs[0].job_id, left)
        if options.json:
            print_json({"jobs": [job.job_id for job in jobs], "trials": left})
        err().print(f"{len(jobs)} jobs submitted for {len(left)} trials; the same command shows what is done.")
        return 0
    if options.cluster != "slurm":
        _wait(jobs, trials, asked)
    trials.collect()
    return _conclude(options, trials, asked, losses)


def _refuse_mixed(trials: Any, asked: Iterable[Any]) -> None:
    """Before anything is trained: scores of those asked for that could not be shown beside those that are kept, or will
    be by others that are at it."""
    import pandas as pd

    from eutectic.analysis.load import read_table
    from eutectic.analysis.probe import refuse_mixed
    from eutectic.sweeps import queued
    from eutectic.sweeps.trials import about

    statuses = trials.uncollected()
    planned = [trial_id for trial_id, status in statuses.items() if status == "planned"]
    others = [trial_id for trial_id, status in statuses.items() if status in ("running", "done")]
    others += queued.covered(trials, queued.look(trials.folder), planned)
    kept = read_table(trials.folder, "trials")
    new = pd.DataFrame([about(trial) for trial in [*map(trials.read, others), *asked]])
    refuse_mixed(new if kept is None else pd.concat([kept, new]))


def _asked(options: Options) -> list[Any]:
    """Trials, longest first."""
    from eutectic.probes.tasks import MECHANISTIC, along
    from eutectic.sweeps.trials import Plan, load

    archs = dict.fromkeys(word for part in options.archs for word in part)
    if not archs:
        raise UserError("say which architectures: --archs attn hyena hyena+attn.")
    if options.state and options.match != "state":
        raise UserError(f"--state {options.state} is for --match state; add that.")
    if options.width % options.heads:
        raise UserError(f"--heads {options.heads} do not divide a --width of {options.width}; use heads that do.")
    words = [word for part in options.tasks for word in part] or MECHANISTIC
    seeds, rates = numbers(options.seeds, int, "seed"), numbers(options.rates, float, "rate")
    plan = Plan(
        n_layers=options.layers,
        d_model=options.width,
        n_heads=options.heads,
        match=options.match,
        state=options.state or STATE,
        seeds=tuple(dict.fromkeys(seeds)),
        rates=tuple(sorted(set(rates))),
        tokens=options.tokens,
        examples=tuple(dict.fromkeys(options.examples)),
        batch_tokens=options.batch,
        control=options.control,
    )
    found = plan.trials(archs, list(dict.fromkeys(task for word in words for task in along(word))))
    return sorted(found, key=lambda trial: -load(trial, "cpu").seconds)


def _to_submit(options: Options, trials: Any, asked: Iterable[str]) -> list[str]:
    """What is planned, and on Slurm what no job in its queue is to do; says what is left to those."""
    planned = [trial_id for trial_id in asked if trials.status(trial_id) == "planned"]
    if options.cluster != "slurm":
        return planned
    return uncovered(trials, planned, "trials", way="")


def _submitted(options: Options, folder: Any, device: str, left: list[Any]) -> list[Any]:
    from eutectic.sweeps.submit import Probing, submit
    from eutectic.sweeps.trials import load, memory
    from eutectic.train.shards import default_cache

    workers = min(options.workers or 1, len(left))
    loads = [load(trial, device) for trial in left]
    needed = (1e9 * options.memory) if options.memory else 2 * max(memory(trial) for trial in left)
    cluster = cluster_of(options, device, workers, needed, loads)
    ids = [trial.trial_id for trial in left]
    job = Probing(folder=folder.resolve(), device=device, cache=default_cache().resolve(), trial_ids=ids)
    return submit(cluster, job)


def _wait(jobs: list[Any], trials: Any, asked: dict[str, Any]) -> None:
    from eutectic.display.sweep import SweepProgress
    from eutectic.sweeps.trials import load

    shares = {trial_id: load(trial, "cpu").share for trial_id, trial in asked.items()}
    labels = {trial_id: f"{trial.arch} {trial.task.name}" for trial_id, trial in asked.items()}
    with SweepProgress(err(), shares, labels) as progress:

        def look() -> dict[str, str]:
            statuses = {trial_id: trials.status(trial_id) for trial_id in asked}
            progress.update(statuses, {})
            return statuses

        wait(jobs, look)


def _show_plan(options: Options, left: list[Any], asked: int, device: str) -> int:
    """What would be trained, of so many that were asked for; nothing is written."""
    from eutectic.display.tables import table_of
    from eutectic.display.words import duration, short
    from eutectic.probes.tasks import written
    from eutectic.sweeps.cost import worker_seconds
    from eutectic.sweeps.trials import counts_of, load

    rows = [(trial, counts_of(trial), load(trial, device)) for trial in left]
    if options.json:
        plan = [trial.to_dict() | {"params": counts.params, "state_dim": counts.state.dim} for trial, counts, _ in rows]
        print_json({"trials": plan})
        return 0
    if not left:
        out().print(f"all {asked} trials are done.")
        return 0
    total = duration(worker_seconds([one for _, _, one in rows], 1))
    models = sum(len(trial.seeds) * len(trial.rates) for trial in left)
    caption = f"{len(left)} trials, {models} models of every seed and learning rate; about {total} of a {device} in all"
    if done := asked - len(left):
        caption += f"; {done} more are done"
    table = table_of(
        "architecture", "task", "examples", "params", "state", "steps", left=("architecture", "task"), caption=caption
    )
    for trial, counts, _ in rows:
        size = short(counts.params), short(counts.state.dim), f"{trial.steps:,}"
        table.add_row(trial.model.layout, written(trial.task), f"{trial.examples:,}", *size)
    out().print(table)
    return 0


def _conclude(options: Options, trials: Any, asked: dict[str, Any], losses: dict[str, Any]) -> int:
    """Show the scores of all that are kept here, and how they go with the losses of sweeps, by name, which are kept
    beside them; then what is left of those asked for."""
    from eutectic.analysis.load import read_table
    from eutectic.analysis.probe import SETUP, scores
    from eutectic.analysis.rank import correlation
    from eutectic.display.probe import show_correlations, show_scores
    from eutectic.probes.tasks import written

    statuses = {trial_id: trials.status(trial_id) for trial_id in asked}
    failed = {trial_id: trials.failure(trial_id) for trial_id, status in statuses.items() if status == "failed"}
    table = read_table(trials.folder, "trials")
    found = None if table is None else scores(table)
    correlated = []
    if found is not None and losses:
        _keep(trials.folder / "losses.parquet", losses)
        cells = itertools.product(found.groupby(SETUP), losses.items())
        correlated = [(setup, sweep, correlation(rows, known)) for (setup, rows), (sweep, known) in cells]
    if options.json:
        told = {"statuses": statuses, "failed": failed, "scores": [] if found is None else found.to_dict("records")}
        tables = (
            one.table.assign(sweep=sweep, **dict(zip(SETUP, setup, strict=True))) for setup, sweep, one in correlated
        )
        rows = [row for one in tables for row in one.to_dict("records")]
        print_json(finite(told | {"correlations": rows}))
    elif found is not None:
        show_scores(out(), found)
        for setup, sweep, one in correlated:
            show_correlations(out(), one, sweep, *setup)
    for trial_id, error in failed.items():
        name = f"{asked[trial_id].arch} on {written(asked[trial_id].task)}"
        err().print(f"{name} failed ({trial_id}): {error}", soft_wrap=True)
    if left := sum(status != "done" for status in statuses.values()):
        err().print(f"{left} of {len(asked)} trials are not done; the same command tries them again.")
    return int(left > 0)


def _losses(options: Options, name: str) -> Any:
    """Compute-optimal ones of a sweep that scores are to be held against."""
    from eutectic.analysis.load import load
    from eutectic.analysis.rank import losses
    from eutectic.analysis.report import isoflop_optima

    return losses(isoflop_optima(load(named(options.results, name))))


def _keep(path: Path, losses: dict[str, Any]) -> None:
    """For figures; those of other sweeps stay."""
    from eutectic.train import log

    rows = [row for row in log.read_rows(path) if row["sweep"] not in losses]
    for sweep, known in losses.items():
        rows += [row | {"sweep": sweep} for row in finite(known.to_dict("records"))]
    log.write_rows(path, "losses", rows)
