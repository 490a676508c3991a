"""The runs that a command's options ask for, each with its cost."""

import dataclasses
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from eutectic.arguments import Options
from eutectic.commands.console import aside, err, named, one_sweep, tuning_folder, warn
from eutectic.commands.placing import check_place, devices_of
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps import left_out
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.recipe import Recipe
from eutectic.values import numbers

# options of a plan, which a sweep that is extended has answered already
PLANNING = ("recipe", "budget", "archs", "seeds", "sizes", "channel", "match", "mixer_file", "source", "tokenizer")


class Planned(NamedTuple):
    """The recipe with the options' choices, its runs with their cost, and the sweep's folder. reasons: by run_id, where
    that sweep is extended; too_often: cells left out because their runs would read the text so."""

    recipe: Recipe
    rows: list[tuple[RunConfig, Any]]
    folder: Path
    reasons: dict[str, str]
    too_often: list[left_out.Cell]


def plan_of(options: Options, prepare: bool) -> Planned:
    check_place(options)
    if options.command != "tune" and options.extend:
        return _extended(options, prepare)
    from eutectic.arch import registry
    from eutectic.sweeps import cost
    from eutectic.sweeps import plan as planning
    from eutectic.train import shards

    for path in options.mixer_file:
        registry.load_file(path)
    recipe = _chosen(options)
    memory = memory_of(options, recipe.device, options.workers or recipe.workers)
    make = shards.prepare if prepare else shards.identify
    manifest = make(recipe.source, recipe.tokenizer, shards.default_cache())
    found, source, rules, tuned_run = _tuning(options, recipe)
    runs = planning.plan(recipe, manifest, 1 if recipe.device == "cpu" else 0, rules)
    too_often = list[left_out.Cell]()
    if options.command != "tune":
        runs, too_often = _within_epochs(recipe, manifest, runs)
    devices = devices_of(options)
    cost.refuse_too_large(runs, recipe.device, memory, devices)
    name = options.name or _default_name(options, recipe) + ("-tune" if options.command == "tune" else "")
    folder = named(options.results, name)
    if options.command != "tune" and (folder / "tune").is_dir():
        raise UserError(f"{folder} holds a tuning, whose fits the runs of a sweep would spoil; choose another --name.")
    if (folder / "starts").is_dir():
        raise UserError(f"{folder} holds grafts, beside which no laws are fitted; choose another --name.")
    rows = [(run, cost.estimate(run, recipe.device, devices, memory)) for run in runs]
    if found:
        _show_transfer(found, source, rows, tuned_run, recipe)
    return Planned(recipe, rows, folder, {}, too_often)


def _within_epochs(recipe: Recipe, manifest: Any, runs: list[RunConfig]) -> tuple[list[RunConfig], list[left_out.Cell]]:
    """Those that the recipe's epochs allow, and the cells of the others, which are named on stderr. Raises UserError
    where none is left."""
    from eutectic.sweeps import plan as planning
    from eutectic.train.data import windows_per_epoch

    kept, told = planning.within_epochs(recipe, manifest, runs)
    for words in told:
        err().print(f"left out: {words}, of which recipe {recipe.name} allows {recipe.max_epochs:g}", soft_wrap=True)
    if not kept:
        raise UserError(
            f"all {len(runs)} runs read the text over {recipe.max_epochs:g} times; give more text or lower budgets."
        )
    cells = {
        left_out.Cell(
            run.model.layout,
            run.model.n_layers,
            run.model.d_model,
            run.budget,
            run.sequences / windows_per_epoch(manifest.train_tokens, run.data.seq_len),
            recipe.max_epochs,
        )
        for run in set(runs) - set(kept)
    }
    return kept, sorted(cells)


def memory_of(options: Options, device: str, workers: int) -> float:
    """Bytes that a worker has, as --memory says or this machine. Raises UserError where its GPU is not here."""
    from eutectic.sweeps.cost import available_memory

    if options.memory:
        return float(options.memory * 1e9)
    return math.inf if options.cluster == "slurm" else available_memory(device, workers * options.devices)


def _extended(options: Options, prepare: bool) -> Planned:
    """As plan_of, of the runs that a sweep lacks, which are shown with their reasons on stderr."""
    from eutectic.analysis.extend import of_sweep
    from eutectic.display.extend import show_extension
    from eutectic.sweeps import cost, replan
    from eutectic.train import shards

    for option in ("name", *PLANNING, "settings", "device"):
        if getattr(options, option):
            raise UserError(
                f"--extend {options.extend} plans as that sweep was planned; leave out --{option.replace('_', '-')}."
            )
    options.name = options.extend
    ledger = Ledger(one_sweep(options))
    recipe, extension = of_sweep(ledger)
    warn(ledger)
    if extension.limits and not extension.proposals:
        raise UserError(f"{ledger.folder} cannot be extended: {'; '.join(extension.limits)}.")
    memory = memory_of(options, recipe.device, options.workers or recipe.workers)
    reasons = {run: proposal.reason for proposal in extension.proposals for run in proposal.runs}
    too_often = list[left_out.Cell]()
    if reasons and recipe.max_epochs:
        manifest = shards.identify(recipe.source, recipe.tokenizer, shards.default_cache())
        kept, too_often = _within_epochs(recipe, manifest, list(reasons))
        reasons = {run: reasons[run] for run in kept}
    if prepare and reasons:
        replan.prepare(list(reasons), shards.default_cache())
    devices = devices_of(options)
    cost.refuse_too_large(reasons, recipe.device, memory, devices)
    rows = [(run, cost.estimate(run, recipe.device, devices, memory)) for run in reasons]
    show_extension(aside(), extension, {run.run_id: cost for run, cost in rows})
    by_run = {run.run_id: reason for run, reason in reasons.items()}
    return Planned(recipe, rows, ledger.folder, by_run, too_often)


def _tuning(options: Options, recipe: Recipe) -> tuple[Any, str, dict[str, Any], Any]:
    """What the tuning named by --settings found, its name and version, its rules for the recipe, and a run of it."""
    if options.command == "tune" or not options.settings:
        return None, "", {}, None
    from eutectic.analysis import transfer
    from eutectic.analysis.load import load
    from eutectic.analysis.tuned import tuned

    runs = load(tuning_folder(options))
    found, source = tuned(runs), f"{options.settings}@{transfer.version(runs)}"
    run = RunConfig.from_dict(json.loads(runs.tried["config"].iloc[0]))
    return found, source, transfer.rules(found, recipe, source), run


def _show_transfer(
    found: Any, source: str, rows: list[tuple[RunConfig, Any]], tuned_run: RunConfig, recipe: Recipe
) -> None:
    """Raises UserError where these runs cannot go by the tuning's laws."""
    from eutectic.analysis.transfer import check_laws, transfers, unlike
    from eutectic.display.tune import transfer_table

    check_laws(found, recipe, (run.model.layout for run, _ in rows), source)
    if differences := unlike(found, tuned_run, rows[0][0]):
        err().print(f"the tuning {source} is of other runs than these: {', '.join(differences)}", soft_wrap=True)
    sizes: dict[str, list[tuple[int, int]]] = {}
    for run, cost in rows:
        sizes.setdefault(run.model.layout, []).append((cost.params, cost.tokens))
    aside().print(transfer_table(transfers(found, sizes, recipe.tuned_like), source))


def _chosen(options: Options) -> Recipe:
    from eutectic.sweeps import recipe_file

    recipe = recipe_file.named(options.recipe or "quick")
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
    if options.command != "tune" and (sizes := options.sizes):
        if sizes % 2 == 0:
            raise UserError(f"--sizes {sizes} has no middle to stand at the size expected best; give an odd number.")
        changed["sizes"] = sizes
    return dataclasses.replace(recipe, **{key: value for key, value in changed.items() if value})


def _default_name(options: Options, recipe: Recipe) -> str:
    """The recipe's name, and what it was changed to of that which keeps runs from being fitted together."""
    parts = [recipe.name]
    if options.source:
        parts.append(Path(options.source.replace(":", "-")).name)
    parts += [option for option in (options.tokenizer, options.channel, options.match) if option]
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-") for part in parts)


def open_sweep(
    options: Options,
    folder: Path,
    recipe: Recipe,
    rows: list[tuple[RunConfig, Any]],
    too_often: Iterable[left_out.Cell] = (),
) -> None:
    """Refuse a folder that other code, or another recipe than is now, has trained in, unless told to --continue. A
    recipe from a file is kept there, and what would read the text too often."""
    from eutectic.sweeps import recipe_file

    go_on(options, folder, _record(recipe, rows))
    recipe_file.keep(recipe, folder)
    left_out.keep(too_often, [run for run, _ in rows], folder)


def say_refusals(options: Options, folder: Path, recipe: Recipe, rows: list[tuple[RunConfig, Any]]) -> None:
    """Say for what open_sweep would refuse the folder, or despite what it would go on, and write nothing."""
    from eutectic.sweeps import provenance

    words = "going on although" if options.go_on else "to be refused without --continue, for"
    for line in provenance.refusals(folder, _record(recipe, rows)):
        err().print(f"{words} {line}", soft_wrap=True)


def _record(recipe: Recipe, rows: list[tuple[RunConfig, Any]]) -> dict[str, dict[str, Any]]:
    from eutectic.sweeps import provenance

    return provenance.of_code() | provenance.of_plan(recipe, [run for run, _ in rows])


def go_on(options: Options, folder: Path, now: dict[str, dict[str, Any]]) -> None:
    """Open a sweep by what `now` records, and say despite what, where --continue has it so."""
    from eutectic.sweeps import provenance

    for line in provenance.open_sweep(folder, now, options.go_on):
        err().print(f"going on although {line}", soft_wrap=True)
