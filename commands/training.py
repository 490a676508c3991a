"""plan, sweep, run and retry."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.answering import show_sweep, sweep_json
from eutectic.commands.console import err, finite, one_sweep, out, say_failed, warn
from eutectic.commands.placing import (
    SHARDED,
    at_once,
    check_place,
    cluster_of_runs,
    devices_of,
    submit_runs,
    to_submit,
    wait,
)
from eutectic.commands.planning import go_on, memory_of, open_sweep, plan_of, say_refusals
from eutectic.errors import UserError
from eutectic.sweeps.cost import Load, estimate, refuse_too_large
from eutectic.sweeps.ledger import FINISHED, Ledger


def plan(options: Options) -> int:
    """Show what would be submitted now; nothing is written."""
    from eutectic.display import sweep as shown

    recipe, rows, folder, reasons, _ = plan_of(options, prepare=False)
    if rows:
        say_refusals(options, folder, recipe, rows)
    ledger, workers = Ledger(folder), options.workers or recipe.workers
    statuses = {run.run_id: ledger.status(run.run_id) for run, _ in rows}
    new = to_submit(options, ledger, {run.run_id: cost for run, cost in rows})
    warn(ledger)
    if counts := Counter(status for status in statuses.values() if status != "planned"):
        told = ", ".join(f"{n} {status}" for status, n in counts.items())
        err().print(f"of {len(rows)} runs {told}; what is planned is the rest.")
    left = [(run, cost) for run, cost in rows if run.run_id in new]
    busy = at_once(options, recipe.device, min(workers, len(left)))
    fleet = shown.Fleet(recipe.device, busy, devices_of(options), options.price)
    texts = list[str]()
    if left and options.cluster == "slurm":
        from eutectic.sweeps.submit import scripts

        cluster = cluster_of_runs(options, recipe.device, workers, [run for run, _ in left], new.values())
        texts = scripts(cluster, folder.resolve())
    if options.json:
        runs = [
            {"run_id": run.run_id, "status": statuses[run.run_id], "submitted": run.run_id in new}
            | dataclasses.asdict(cost)
            | {"config": run.to_dict()}
            | ({"reason": reasons[run.run_id]} if reasons else {})
            for run, cost in rows
        ]
        print_json({"runs": runs, **fleet.totals(new.values()), "scripts": texts})
    elif left:
        out().print(shown.plan_table(left, fleet))
        if texts:
            print("\n".join(texts))
    elif rows:
        err().print("nothing is left to submit.")
    return 0


def sweep(options: Options) -> int:
    if options.dry:
        return plan(options)
    from eutectic.sweeps import foreign

    recipe, rows, folder, _, too_often = plan_of(options, prepare=True)
    ledger = Ledger(folder)
    if not rows:
        return _conclude(options, ledger, [])
    open_sweep(options, folder, recipe, rows, too_often)
    foreign.keep(options.mixer_file, folder)
    loads = {run.run_id: cost for run, cost in rows}
    ledger.add([run for run, _ in rows], loads)
    warn(ledger)
    return train_runs(options, ledger, recipe.device, options.workers or recipe.workers, loads)


def run(options: Options) -> int:
    from eutectic.sweeps import provenance
    from eutectic.sweeps.cost import available_memory
    from eutectic.sweeps.worker import Place, work
    from eutectic.train.parallel import joined
    from eutectic.train.shards import default_cache, prepare_for

    ledger = Ledger(one_sweep(options))
    config = ledger.config(options.run_id)
    if config is None:
        raise UserError(
            f"no run {options.run_id!r} is planned in {ledger.folder}; `eutectic status --json` lists them."
        )
    available_memory(options.device, 1)
    go_on(options, ledger.folder, provenance.of_code())
    with joined(options.device, sharded=SHARDED[options.spread]) as ranks:
        with ranks.first_ahead():
            prepare_for(config.data, default_cache())
        place = Place(options.device, default_cache(), ranks, options.track)
        work(ledger.folder, [options.run_id], place)
    if not ranks.first:
        return 0
    ledger.collect()
    status = ledger.status(options.run_id)
    if options.json:
        print_json({"run_id": options.run_id, "status": status, "error": ledger.failure(options.run_id)})
    else:
        out().print(f"{options.run_id}: {status} {ledger.failure(options.run_id)}".rstrip())
    return int(status == "failed")


def retry(options: Options) -> int:
    from eutectic.sweeps import foreign, provenance, recipe_file

    check_place(options)
    ledger = Ledger(one_sweep(options))
    go_on(options, ledger.folder, provenance.of_code())
    failed = {i: ledger.failure(i) for i, status in ledger.statuses().items() if status == "failed"}
    if not failed:
        err().print(f"nothing in {ledger.folder} has failed.")
        if options.json:
            print_json({"statuses": {}, "failed": {}, "report": None})
        return 0
    configs = [c for i in failed if (c := ledger.config(i))]
    if not configs:
        raise UserError(f"the configs of what failed in {ledger.folder} are gone; submit the sweep again.")
    if gone := len(failed) - len(configs):
        err().print(f"{gone} that failed are left as they are, for their configs are gone; submit the sweep again.")
    for config in configs:
        foreign.load(config, ledger.folder)
    device = options.device or configs[0].device
    devices = devices_of(options)
    workers = options.workers or recipe_file.find(configs[0].recipe, ledger.folder).workers
    memory = memory_of(options, device, workers)
    refuse_too_large(configs, device, memory, devices)
    loads = {c.run_id: estimate(c, device, devices, memory) for c in configs}
    if _tunes(ledger):
        err().print("the studies are told of these runs by the next `eutectic tune`, which goes on with them.")
    ledger.retry(loads)  # before they are submitted, for workers leave alone what has failed
    try:
        return train_runs(options, ledger, device, workers, loads)
    except BaseException:  # an interrupt as well: the next retry is to find what nobody trains
        for run_id in loads:
            if ledger.status(run_id) == "planned":
                ledger.fail(run_id, failed[run_id])
        raise


def train_runs(options: Options, ledger: Ledger, device: str, workers: int, loads: Mapping[str, Load]) -> int:
    """Submit what is to be submitted of these runs, wait but on Slurm, collect and show what came of it."""
    from eutectic.display import sweep as shown

    ledger.collect()  # which also finds what was damaged
    planned = to_submit(options, ledger, loads)
    jobs = submit_runs(options, ledger, device, workers, planned) if planned else []
    if options.cluster == "slurm":
        _leave_to_slurm(options, ledger, jobs, planned)
        return 0
    labels = {}
    for run_id in loads:
        config = ledger.config(run_id)
        labels[run_id] = f"{config.model.layout} {config.model.d_model}" if config else run_id
    with shown.SweepProgress(err(), {i: load.share for i, load in loads.items()}, labels) as progress:

        def look() -> dict[str, str]:
            statuses = {i: ledger.status(i) for i in loads}
            flights = [i for i, s in statuses.items() if s == "running"]
            progress.update(statuses, {i: (p["step"], p["steps"]) for i in flights if (p := ledger.progress(i))})
            return statuses

        wait(jobs, look)
    for run_id in planned:
        if jobs and ledger.abandoned(run_id):
            ledger.fail(run_id, f"its worker ended without a word, perhaps out of memory; see {ledger.folder}/jobs.")
    ledger.collect()
    warn(ledger)
    return _conclude(options, ledger, list(loads))


def _leave_to_slurm(options: Options, ledger: Ledger, jobs: list[Any], submitted: Iterable[str]) -> None:
    """Write down which runs the jobs are to train, and say so."""
    from eutectic.sweeps import queued

    run_ids = list(submitted)
    if jobs:
        queued.note(ledger.folder, jobs[0].job_id, run_ids)
    if options.json:
        print_json({"jobs": [job.job_id for job in jobs], "runs": run_ids if jobs else []})
    text = f"{len(jobs)} jobs submitted for {len(run_ids)} runs" if jobs else "nothing is left to submit"
    err().print(f"{text}; watch with `eutectic status`, then `eutectic fit`.")


def _conclude(options: Options, ledger: Ledger, run_ids: list[str]) -> int:
    """Show what all that is collected comes to, then what failed and what has not ended."""
    statuses = {i: ledger.status(i) for i in run_ids}
    failed = {i: ledger.failure(i) for i, s in statuses.items() if s == "failed"}
    left = [i for i, s in statuses.items() if s not in FINISHED]
    if options.json:
        collected = (ledger.folder / "runs.parquet").exists()
        fitted = None
        if collected:
            fitted = finite(_tuned(ledger).to_dict()) if _tunes(ledger) else sweep_json(ledger.folder)
        print_json({"statuses": statuses, "failed": failed, "report": fitted})
    elif len(failed) + len(left) < len(run_ids):
        from eutectic.display.tune import show_tuned

        if _tunes(ledger):
            show_tuned(out(), _tuned(ledger))
        else:
            show_sweep(ledger.folder)
    say_failed(failed, len(run_ids))
    if left:
        err().print(f"{len(left)} of {len(run_ids)} runs have not ended; the same command goes on with them.")
    return int(bool(failed or left))


def _tuned(ledger: Ledger) -> Any:
    from eutectic.analysis.load import load
    from eutectic.analysis.tuned import tuned

    return tuned(load(ledger.folder))


def _tunes(ledger: Ledger) -> bool:
    return (ledger.folder / "tune").is_dir()
