"""What each command of the CLI does, in terms of the parts that do it."""

import argparse
import contextlib
import dataclasses
import math
import re
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from eutectic.cli import numbers, print_json
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import recipe as recipes
from eutectic.sweeps.ledger import FINISHED, Ledger, sweeps
from eutectic.sweeps.recipe import Recipe
from eutectic.sweeps.slurm import ended

Options = argparse.Namespace
POLL_SECONDS = 0.5
SHARDED = {None: None, "ddp": False, "fsdp2": True}
# options of a plan, which a sweep that is extended has answered already
PLANNING = ("recipe", "budget", "archs", "seeds", "channel", "match", "mixer_file", "source", "tokenizer")
TABLE_COLUMNS = ("params", "tokens", "flops", "loss", "group", "ratio")
TABLE_OPTIONS = (*TABLE_COLUMNS, "law", "loss_fn", "delta", "bootstrap", "resample", "profile", "seed")


def plan(options: Options) -> int:
    recipe, rows, folder, reasons = _plan(options, prepare=False)
    if options.json:
        print_json(
            [
                {"run_id": run.run_id, **dataclasses.asdict(cost), "config": run.to_dict()}
                | ({"reason": reasons[run.run_id]} if reasons else {})
                for run, cost in rows
            ]
        )
    if options.json or not rows:
        return 0
    from eutectic.display import sweep as shown

    workers = options.workers or recipe.workers
    _out().print(shown.plan_table(rows, recipe.device, workers, options.price))
    if options.cluster == "slurm":
        from eutectic.sweeps.cost import job_memory
        from eutectic.sweeps.submit import scripts

        memory = job_memory([run for run, _ in rows], recipe.device)
        seconds = [cost.seconds for _, cost in rows]
        cluster = _cluster(options, recipe.device, min(workers, len(rows)), memory, seconds)
        print("\n".join(scripts(cluster, folder.resolve())))
    return 0


def sweep(options: Options) -> int:
    if options.dry:
        return plan(options)
    from eutectic.sweeps import foreign

    recipe, rows, folder, _ = _plan(options, prepare=True)
    ledger = Ledger(folder)
    if not rows:
        return _conclude(options, ledger, [])
    _open(options, folder, recipe, rows)
    foreign.keep(options.mixer_file, folder)
    ledger.add(run for run, _ in rows)
    _warn(ledger)
    seconds = {run.run_id: cost.seconds for run, cost in rows}
    return _train(options, ledger, recipe.device, options.workers or recipe.workers, seconds)


def tune(options: Options) -> int:
    from eutectic.sweeps import foreign
    from eutectic.sweeps import tune as tuning

    (trials,) = numbers([[options.trials]], int, "--trials")
    if trials == 0:
        raise UserError("--trials 0 asks for nothing; give the trials of each study, e.g. 24.")
    recipe, rows, folder, _ = _plan(options, prepare=True)
    if (folder / "runs").is_dir() and not (folder / "tune").is_dir():
        raise UserError(
            f"{folder} holds a sweep, whose fits runs of other settings would spoil; choose another --name."
        )
    _open(options, folder, recipe, rows)
    Ledger(folder).collect()
    cells = tuning.cells(recipe, [run for run, _ in rows], options.sampler, _further(options), options.prune)
    studies = tuning.Studies(folder, cells, trials, options.storage)
    studies.settle()
    foreign.keep(options.mixer_file, folder)
    workers = min(options.workers or recipe.workers, studies.left())
    if workers:
        _train_trials(options, studies, recipe.device, workers)
        if options.cluster == "slurm":
            return 0
    return _conclude_tuning(options, studies)


def _further(options: Options) -> tuple[str, ...]:
    from eutectic.sweeps.tune import FURTHER

    named = tuple(dict.fromkeys(word for part in options.also for word in part))
    for name in named:
        if name not in FURTHER:
            raise UserError(f"--also {name!r} is no setting to vary; choose of {', '.join(FURTHER)}.")
    return named


def _open(options: Options, folder: Path, recipe: Recipe, rows: list[tuple[RunConfig, Any]]) -> None:
    """Refuse a folder that other code, or another recipe than is now, has trained in, unless told to --continue."""
    from eutectic.sweeps import provenance

    now = provenance.of_code() | provenance.of_plan(recipe, [run for run, _ in rows])
    provenance.open_sweep(folder, now, options.go_on)


def run(options: Options) -> int:
    from eutectic.sweeps import provenance
    from eutectic.sweeps.cost import available_memory
    from eutectic.sweeps.worker import work
    from eutectic.train.parallel import joined
    from eutectic.train.shards import default_cache, prepare

    ledger = Ledger(_folder(options))
    config = ledger.config(options.run_id)
    if config is None:
        raise UserError(
            f"no run {options.run_id!r} is planned in {ledger.folder}; `eutectic status --json` lists them."
        )
    available_memory(options.device, 1)
    provenance.open_sweep(ledger.folder, provenance.of_code(), options.go_on)
    with joined(options.device, sharded=SHARDED[options.spread]) as ranks:
        with ranks.first_ahead():
            prepare(config.data.source, config.data.tokenizer, default_cache())
        work(ledger.folder, [options.run_id], options.device, default_cache(), ranks=ranks)
    if not ranks.first:
        return 0
    ledger.collect()
    status = ledger.status(options.run_id)
    if options.json:
        print_json({"run_id": options.run_id, "status": status, "error": ledger.failure(options.run_id)})
    else:
        _out().print(f"{options.run_id}: {status} {ledger.failure(options.run_id)}".rstrip())
    return int(status == "failed")


def status(options: Options) -> int:
    folders = [_folder(options)] if options.name else list(sweeps(options.results))
    if not folders:
        raise UserError(f"no sweep in {options.results}/; start one with `eutectic sweep`.")
    from eutectic.display import sweep as shown

    found: dict[str, Any] = {}
    for folder in folders:
        ledger = Ledger(folder)
        statuses = ledger.statuses()
        # jobs that ended early are of interest while runs wait that they may have been meant to train
        jobs = ended(folder) if "planned" in statuses.values() else []
        if options.json:
            runs = {
                i: {"status": s, **({} if s in FINISHED else ledger.progress(i)), "error": ledger.failure(i)}
                for i, s in statuses.items()
            }
            found[folder.name] = {"runs": runs, "jobs": [job.to_dict() for job in jobs]}
        else:
            shown.show_status(_out(), folder.name, ledger, statuses, jobs)
        _warn(ledger)
    if options.json:
        print_json(found)
    return 0


def retry(options: Options) -> int:
    from eutectic.sweeps import provenance

    ledger = Ledger(_folder(options))
    provenance.open_sweep(ledger.folder, provenance.of_code(), options.go_on)
    failed = ledger.retry()
    if not failed:
        _err().print(f"nothing in {ledger.folder} has failed.")
        return 0
    configs = [c for i in failed if (c := ledger.config(i))]
    from eutectic.sweeps import foreign
    from eutectic.sweeps.cost import estimate

    for config in configs:
        foreign.load(config, ledger.folder)
    device = options.device or recipes.find(configs[0].recipe).device
    seconds = {c.run_id: estimate(c, device, options.devices).seconds for c in configs}
    return _train(options, ledger, device, options.workers or recipes.find(configs[0].recipe).workers, seconds)


def collect(options: Options) -> int:
    ledger = Ledger(_folder(options))
    new = ledger.collect()
    _warn(ledger)
    if options.json:
        print_json({"new": new})
    else:
        _out().print(f"{new} new runs in {ledger.folder}/runs.parquet")
    return 0


def fit(options: Options) -> int:
    if options.file is not None:
        return _fit_table(options)
    for name in TABLE_OPTIONS:
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} goes with a table; write `eutectic fit FILE`.")
    fitted = _report(_folder(options))
    if options.json:
        print_json(_finite(fitted.to_dict()))
    else:
        from eutectic.display.report import show_report

        show_report(_out(), fitted)
    return 0


def _report(folder: Path) -> Any:
    from eutectic.analysis.load import load
    from eutectic.analysis.report import report

    return report(load(folder))


def _fit_table(options: Options) -> int:
    from eutectic.analysis import losses, table, tablefit

    loss_fn = losses.find(options.loss_fn or "huber", losses.DELTA if options.delta is None else options.delta)
    if options.delta is not None and loss_fn.name != "huber":
        raise UserError(f"--delta is of the Huber loss; {loss_fn.name} has none.")
    named = {name: getattr(options, name) for name in TABLE_COLUMNS}
    kind = options.resample or "pairs"
    if kind not in tablefit.BY_ROW:
        named["cluster"], kind = kind, "cluster"
    rows = table.columns(
        table.read(options.file), options.law or ("hybrid-interior" if options.ratio else "chinchilla"), **named
    )
    resamples = tablefit.RESAMPLES if options.bootstrap is None else options.bootstrap
    fitted = tablefit.fit_table(rows, loss_fn, resamples, options.seed or 0, kind, bool(options.profile))
    if options.json:
        print_json({"file": str(options.file), **_finite(fitted.to_dict())})
    else:
        from eutectic.display.table import show_table_fit

        show_table_fit(_out(), fitted)
    return 0


def predict(options: Options) -> int:
    from eutectic.analysis.load import load
    from eutectic.analysis.predict import compute_of
    from eutectic.analysis.predict import predict as answer

    if (options.flops is None) == (options.gpu_hours is None):
        raise UserError("say how much compute: --flops 1e16, or --gpu-hours 100 --device h200.")
    if (options.gpu_hours is None) != (options.device is None):
        raise UserError("--gpu-hours and --device go together; write e.g. --gpu-hours 100 --device h200.")
    rivals = [word for part in options.compare for word in part]
    if rivals and (len(rivals) != 2 or rivals[0] == rivals[1]):
        raise UserError(f"--compare takes two architectures and was given {' '.join(rivals)}; write e.g. attn hyena.")
    amount = options.flops if options.gpu_hours is None else options.gpu_hours
    (amount,) = numbers([[amount]], float, "--flops" if options.gpu_hours is None else "--gpu-hours")
    runs = load(_folder(options))
    compute, source = (amount, "") if options.device is None else compute_of(amount, options.device, runs)
    tuning = load(_tuning_folder(options)) if options.settings else None
    found = answer(runs, compute, (rivals[0], rivals[1]) if rivals else None, tuning=tuning)
    if options.json:
        print_json(_finite({"source": source, **found.to_dict()}))
    else:
        from eutectic.display.answer import show_answer

        show_answer(_out(), found, source)
    return 0


def figures(options: Options) -> int:
    from eutectic.analysis.figures.draw import draw

    if options.name:
        folders = [_folder(options)]
    else:
        folders = [folder for folder in sweeps(options.results) if (folder / "runs.parquet").exists()]
    if not folders:
        raise UserError(f"no sweep with a runs.parquet in {options.results}/; run `eutectic sweep` first.")
    written = [path for folder in folders for path in draw(folder)]
    if options.json:
        print_json([str(path) for path in written])
    else:
        for path in written:
            _out().print(str(path), soft_wrap=True)
    return 0


def _plan(options: Options, prepare: bool) -> tuple[Recipe, list[tuple[RunConfig, Any]], Path, dict[str, str]]:
    """The recipe with the options' choices, its runs with their cost, the sweep's folder, and, where that sweep is
    extended, why by each run."""
    if options.command != "tune" and options.extend:
        return _extended(options, prepare)
    from eutectic.arch import registry
    from eutectic.sweeps import cost
    from eutectic.sweeps import plan as planning
    from eutectic.train import shards

    for path in options.mixer_file:
        registry.load_file(path)
    recipe = _chosen(options)
    memory = _memory(options, recipe)
    make = shards.prepare if prepare else shards.identify
    manifest = make(recipe.source, recipe.tokenizer, shards.default_cache())
    found, source, rules = _tuning(options, recipe)
    runs = planning.plan(recipe, manifest, 1 if recipe.device == "cpu" else 0, rules)
    cost.refuse_too_large(runs, recipe.device, memory, options.devices)
    name = options.name or _default_name(options, recipe) + ("-tune" if options.command == "tune" else "")
    rows = [(run, cost.estimate(run, recipe.device, options.devices)) for run in runs]
    if found:
        _show_transfer(found, source, rows)
    return recipe, rows, options.results / name, {}


def _memory(options: Options, recipe: Recipe) -> float:
    """Bytes that a worker has, as --memory says or this machine. Raises UserError where its GPU is not here."""
    from eutectic.sweeps.cost import available_memory

    if options.memory:
        return float(options.memory * 1e9)
    workers = options.workers or recipe.workers
    return math.inf if options.cluster == "slurm" else available_memory(recipe.device, workers * options.devices)


def _extended(options: Options, prepare: bool) -> tuple[Recipe, list[tuple[RunConfig, Any]], Path, dict[str, str]]:
    """As _plan, of the runs that a sweep lacks, which are shown with their reasons on stderr."""
    from eutectic.analysis.extend import of_sweep
    from eutectic.display.extend import show_extension
    from eutectic.sweeps import cost, replan
    from eutectic.train.shards import default_cache

    for option in ("name", *PLANNING, "settings", "device"):
        if getattr(options, option):
            raise UserError(
                f"--extend {options.extend} plans as that sweep was planned; leave out --{option.replace('_', '-')}."
            )
    options.name = options.extend
    ledger = Ledger(_folder(options))
    recipe, extension = of_sweep(ledger)
    _warn(ledger)
    if extension.limits and not extension.proposals:
        raise UserError(f"{ledger.folder} cannot be extended: {'; '.join(extension.limits)}.")
    memory = _memory(options, recipe)
    reasons = {run: proposal.reason for proposal in extension.proposals for run in proposal.runs}
    if prepare and reasons:
        replan.prepare(list(reasons), default_cache())
    cost.refuse_too_large(reasons, recipe.device, memory, options.devices)
    rows = [(run, cost.estimate(run, recipe.device, options.devices)) for run in reasons]
    show_extension(_err(), extension, {run.run_id: cost for run, cost in rows})
    return recipe, rows, ledger.folder, {run.run_id: reason for run, reason in reasons.items()}


def _tuning(options: Options, recipe: Recipe) -> tuple[Any, str, dict[str, Any]]:
    """What the tuning named by --settings found, its name and version, and its rules for the recipe."""
    if options.command == "tune" or not options.settings:
        return None, "", {}
    from eutectic.analysis import transfer
    from eutectic.analysis.load import load
    from eutectic.analysis.tuned import tuned

    runs = load(_tuning_folder(options))
    found, source = tuned(runs), f"{options.settings}@{transfer.version(runs)}"
    return found, source, transfer.rules(found, recipe, source)


def _tuning_folder(options: Options) -> Path:
    folder: Path = options.results / options.settings
    if not folder.is_dir():
        raise UserError(f"no tuning {folder}; make one with `eutectic tune --name {options.settings}`.")
    return folder


def _show_transfer(found: Any, source: str, rows: list[tuple[RunConfig, Any]]) -> None:
    from eutectic.analysis.transfer import transfers
    from eutectic.display.tune import transfer_table

    sizes: dict[str, list[tuple[int, int]]] = {}
    for run, cost in rows:
        sizes.setdefault(run.model.layout, []).append((cost.params, cost.tokens))
    _err().print(transfer_table(transfers(found, sizes), source))


def _chosen(options: Options) -> Recipe:
    recipe = recipes.find(options.recipe or "quick")
    changed: dict[str, Any] = {
        "budgets": tuple(numbers(options.budget, float, "budget")),
        "archs": tuple(word for part in options.archs for word in part),
        "seeds": tuple(numbers(options.seeds, int, "seed")),
        "channel": options.channel,
        "match": options.match,
        "source": options.source,
        "tokenizer": options.tokenizer,
        "device": options.device,
    }
    return dataclasses.replace(recipe, **{key: value for key, value in changed.items() if value})


def _default_name(options: Options, recipe: Recipe) -> str:
    """The recipe's name, and what it was changed to of that which keeps runs from being fitted together."""
    parts = [recipe.name]
    if options.source:
        parts.append(Path(options.source.replace(":", "-")).name)
    parts += [option for option in (options.tokenizer, options.channel, options.match) if option]
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-") for part in parts)


def _train(options: Options, ledger: Ledger, device: str, workers: int, seconds: dict[str, float]) -> int:
    """Submit what is planned among these runs, longest first, wait, collect and show what came of it."""
    from eutectic.display import sweep as shown

    ledger.collect()  # which also finds what was damaged
    planned = [i for i in sorted(seconds, key=lambda i: -seconds[i]) if ledger.status(i) == "planned"]
    jobs = _submit(options, ledger, device, workers, {i: seconds[i] for i in planned}) if planned else []
    if options.cluster == "slurm":
        text = f"{len(jobs)} jobs submitted for {len(planned)} runs" if jobs else "nothing is left to submit"
        _err().print(f"{text}; watch with `eutectic status`, then `eutectic fit`.")
        return 0
    labels = {}
    for run_id in seconds:
        config = ledger.config(run_id)
        labels[run_id] = f"{config.model.layout} {config.model.d_model}" if config else run_id
    with shown.SweepProgress(_err(), seconds, labels) as progress:
        _wait(jobs, ledger, list(seconds), progress)
    for run_id in planned:
        if jobs and ledger.abandoned(run_id):
            ledger.fail(run_id, f"its worker ended without a word, perhaps out of memory; see {ledger.folder}/jobs.")
    ledger.collect()
    _warn(ledger)
    return _conclude(options, ledger, list(seconds))


def _submit(options: Options, ledger: Ledger, device: str, workers: int, seconds: dict[str, float]) -> list[Any]:
    from eutectic.sweeps.cost import job_memory
    from eutectic.sweeps.submit import Work, submit
    from eutectic.train.shards import default_cache

    memory = job_memory([c for i in seconds if (c := ledger.config(i))], device)
    job = Work(
        folder=ledger.folder.resolve(),
        device=device,
        cache=default_cache().resolve(),
        run_ids=list(seconds),
        devices=options.devices,
        sharded=SHARDED[options.spread],
    )
    return submit(_cluster(options, device, min(workers, len(seconds)), memory, seconds.values()), job)


def _cluster(options: Options, device: str, workers: int, memory: float, seconds: Collection[float]) -> Any:
    """seconds: of each run, for the time limit of jobs where the user sets none; here they have none."""
    from eutectic.sweeps.cost import job_hours
    from eutectic.sweeps.slurm import options as slurm_options
    from eutectic.sweeps.submit import Cluster

    slurm, hours = slurm_options(options.slurm), options.hours
    if hours is None and options.cluster == "slurm":
        hours = job_hours(seconds, min(workers, slurm.get("array_parallelism", workers)))
    # beside a GPU, a process for each of the runs that share it
    cpus = 1 if device == "cpu" else 8
    return Cluster(options.cluster, workers, device, cpus, hours, memory, slurm, options.devices)


def _wait(jobs: list[Any], ledger: Ledger, run_ids: list[str], progress: Any) -> None:
    """Until our jobs have ended and nobody else is at one of the runs. On an interrupt the jobs are ended first."""
    from eutectic.sweeps.submit import running

    with _ended_on_interrupt(jobs):
        while True:
            busy = list(running(jobs)) if jobs else []
            statuses = {i: ledger.status(i) for i in run_ids}
            flights = [i for i, s in statuses.items() if s == "running"]
            steps = {i: (p["step"], p["steps"]) for i in flights if (p := ledger.progress(i))}
            progress.update(statuses, steps)
            if not busy and not flights:
                return
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _ended_on_interrupt(jobs: list[Any]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        for job in jobs:
            job.cancel(check=False)
        raise


def _train_trials(options: Options, studies: Any, device: str, workers: int) -> None:
    """Submit workers that ask and train; those here are waited for, and ended first on an interrupt."""
    from eutectic.sweeps.cost import estimate, job_memory
    from eutectic.sweeps.submit import Tuning, running, submit
    from eutectic.train.shards import default_cache

    folder, cache, cells = studies.ledger.folder.resolve(), default_cache().resolve(), list(studies.studies)
    work = Tuning(folder=folder, device=device, cache=cache, cells=cells, trials=studies.trials, url=options.storage)
    memory = job_memory([cell.trial(cell.lr[0], cell.doublings[1]) for cell in cells], device)
    longest = [estimate(cell.trial(cell.lr[0], cell.doublings[0]), device).seconds for cell in cells]
    jobs = submit(_cluster(options, device, workers, memory, longest * studies.trials), work)
    if options.cluster == "slurm":
        _err().print(f"{len(jobs)} jobs submitted; when they have ended, the same command shows what they found.")
        return
    with _ended_on_interrupt(jobs), _err().status("") as line:
        while list(running(jobs)):
            line.update(f"{studies.left()} trials left")
            time.sleep(POLL_SECONDS)


def _conclude_tuning(options: Options, studies: Any) -> int:
    """Show the optima and laws of all that is collected, then what failed and what has not ended."""
    from eutectic.analysis.load import load
    from eutectic.analysis.tuned import tuned

    studies.settle()
    ledger = studies.ledger
    ledger.collect()
    _warn(ledger)
    counts, unfinished, statuses = studies.counts(), studies.left(), ledger.statuses()
    failed = {i: ledger.failure(i) for i, s in statuses.items() if s == "failed"}
    found = tuned(load(ledger.folder)) if (ledger.folder / "runs.parquet").exists() else None
    if options.json:
        report = _finite(found.to_dict()) if found else None
        print_json({"trials": counts, "failed": failed, "unfinished": unfinished, "report": report})
    elif found:
        from eutectic.display.tune import show_tuned

        show_tuned(_out(), found, counts)
    _say_failed(failed, len(statuses))
    if unfinished:
        _err().print(f"{unfinished} trials have not ended; the same command goes on with those that nobody trains.")
    return int(bool(failed or unfinished))


def _conclude(options: Options, ledger: Ledger, run_ids: list[str]) -> int:
    """Show the optima of all that is collected, then what failed and what has not ended."""
    statuses = {i: ledger.status(i) for i in run_ids}
    failed = {i: ledger.failure(i) for i, s in statuses.items() if s == "failed"}
    left = [i for i, s in statuses.items() if s not in FINISHED]
    if options.json:
        collected = (ledger.folder / "runs.parquet").exists()
        fitted = _finite(_report(ledger.folder).to_dict()) if collected else None
        print_json({"statuses": statuses, "failed": failed, "report": fitted})
    elif len(failed) + len(left) < len(run_ids):
        from eutectic.display.report import show_report

        show_report(_out(), _report(ledger.folder))
    _say_failed(failed, len(run_ids))
    if left:
        _err().print(f"{len(left)} of {len(run_ids)} runs have not ended; the same command goes on with them.")
    return int(bool(failed or left))


def _say_failed(failed: dict[str, str], total: int) -> None:
    for run_id, error in failed.items():
        _err().print(f"{run_id} failed: {error}", soft_wrap=True)
    if failed:
        _err().print(f"{len(failed)} of {total} runs failed; `eutectic retry` trains those again.")


def _folder(options: Options) -> Path:
    folder: Path = options.results / (options.name or "quick")
    if not folder.is_dir():
        there = ", ".join(f.name for f in sweeps(options.results)) or "none"
        raise UserError(f"no sweep {folder}; those in {options.results}/ are: {there}. Choose with --name.")
    return folder


def _finite(value: Any) -> Any:
    """The value with NaN and infinities as None, which JSON can say."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _warn(ledger: Ledger) -> None:
    while ledger.set_aside:
        _err().print(f"warning: {ledger.set_aside.pop()}", soft_wrap=True)


def _out() -> Console:
    # a table in a pipe or a log is laid out for a wide page, not for 80 columns
    # and brackets are those of layouts and intervals, not rich's markup
    return Console(width=max(120, shutil.get_terminal_size().columns), highlight=False, markup=False)


def _err() -> Console:
    return Console(stderr=True, highlight=False, markup=False)
