"""graft."""

import dataclasses
from pathlib import Path
from typing import Any

from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.console import err, finite, named, out
from eutectic.commands.loading import told_of_source
from eutectic.commands.placing import at_once, check_place, devices_of
from eutectic.commands.planning import memory_of, open_sweep, say_refusals
from eutectic.commands.training import train_runs
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.values import numbers


def graft(options: Options) -> int:
    if options.scan != bool(options.to_mixer):
        raise UserError("--scan and --to-mixer go together; write e.g. --scan --to-mixer hyena.")
    if not options.scan and not (options.archs and options.budget):
        raise UserError("say which layouts and how much further: --archs 'hyena*3+attn' --budget 1e14, or --scan.")
    from eutectic.sweeps import recipe_file
    from eutectic.sweeps.graft import Choice, parent_of
    from eutectic.train.shards import default_cache

    check_place(options)
    recipe = recipe_file.named(options.recipe) if options.recipe else None
    choice = Choice(options.source, recipe, options.device)
    parent = parent_of(options.checkpoint, default_cache(), choice, dry=options.dry and not options.scan)
    tokens = options.tokens or parent.taught
    folder = named(options.results, options.name or f"{parent.name}-graft")
    return _scan(options, parent, tokens, folder) if options.scan else _sweep(options, parent, tokens, folder)


def _scan(options: Options, parent: Any, tokens: int, folder: Path) -> int:
    """Replace each layer alone, show what that costs and keep it beside the sweep of grafts."""
    from eutectic import files
    from eutectic.arch import layout
    from eutectic.display.graft import show_scan
    from eutectic.inference import graft as grafting
    from eutectic.inference.score import held_out
    from eutectic.sweeps.graft import canonical
    from eutectic.train import log

    run, term = parent.run, canonical(parent.run, options.to_mixer)
    if len(layout.parse(term).block) > 1:
        raise UserError(f"--to-mixer {options.to_mixer} is a layout of several layers; name one mixer, e.g. hyena.")
    if not grafting.steps_of(run, term, tokens):
        raise UserError(f"each layer of run {run.run_id} is {term}; scan for another mixer.")
    manifest = _prepared(parent)
    found = grafting.scan(parent.model, run, term, manifest, tokens, held_out(run, manifest))
    shared = {
        "parent": run.run_id,
        "layers": layout.stack(layout.expand(layout.parse(run.model.layout), run.model.n_layers)),
        "sequences": run.data.valid_sequences,
        "tokens": grafting.steps_of(run, term, tokens) * run.micro_batch * run.data.seq_len,
        "flops": grafting.flops(run, term, tokens),
        "convention": run.convention,
        "seed": run.seed,
        "device": log.device_name(parent.model.embedding.weight.device.type),
        "commit": log.commit(),
    }
    rows = [shared | _row(one) for one in found]
    log.add_rows(files.make_folder(folder) / "sensitivity.parquet", "sensitivity", rows)
    layouts = {k: grafting.least_sensitive(run, found, k) for k in range(1, len(found))}
    if options.json:
        print_json(finite({"layers": rows, "layouts": layouts}))
    else:
        show_scan(out(), found, layouts)
    return 0


def _row(one: Any) -> dict[str, Any]:
    """What `sensitivity` has of one layer alone."""
    layer = one.replaced
    errors = {"error_before": layer.before, "error_after": layer.after}
    replaced = {"layer": layer.layer, "old": layer.old, "new": layer.new}
    return replaced | errors | {"loss": one.loss, "rise": one.rise, "rise_error": one.error}


def _sweep(options: Options, parent: Any, tokens: int, folder: Path) -> int:
    """Graft, and train on with the parent beside it, and the same from scratch where that is asked for."""
    from eutectic.sweeps import cost
    from eutectic.sweeps import graft as grafts
    from eutectic.sweeps.ledger import Ledger

    if (folder / "runs").is_dir() and not (folder / "starts").is_dir():
        raise UserError(f"{folder} holds another sweep, whose runs are not grafts; choose another --name.")
    run, recipe = parent.run, parent.recipe
    archs = [run.model.layout, *(grafts.canonical(run, word) for part in options.archs for word in part)]
    budgets = sorted(set(numbers(options.budget, float, "budget")))
    seeds = list(dict.fromkeys(numbers(options.seeds, int, "seed"))) or [run.seed + 1]
    grafted = grafts.plan(parent, dict.fromkeys(archs), budgets, seeds)
    scratch = grafts.from_scratch(parent, grafted, tokens) if options.scratch else []
    memory, devices = memory_of(options, recipe.device, options.workers or recipe.workers), devices_of(options)
    cost.refuse_too_large([*grafted, *scratch], recipe.device, memory, devices)

    def rows(runs: list[RunConfig]) -> list[tuple[RunConfig, Any]]:
        return [(one, cost.estimate(one, recipe.device, devices, memory)) for one in runs]

    if options.dry:
        return _show_plan(options, recipe, rows([*grafted, *scratch]), folder)
    open_sweep(options, folder, recipe, rows(grafted))
    begun = [*_begun(parent, grafted, tokens, folder), *scratch]
    ledger, loads = Ledger(folder), {one.run_id: load for one, load in rows(begun)}
    ledger.add(begun, loads)
    return train_runs(options, ledger, recipe.device, options.workers or recipe.workers, loads)


def _begun(parent: Any, grafted: list[RunConfig], tokens: int, folder: Path) -> list[RunConfig]:
    """The runs with their starts, which are made where they are not there."""
    from eutectic.sweeps import foreign
    from eutectic.sweeps.graft import measured, start_of

    manifest = _prepared(parent)
    parent = measured(parent, manifest)
    if parent.run.mixers:
        foreign.keep(parent.mixers.glob("*.py"), folder)
    starts = {}
    for arch in dict.fromkeys(run.model.layout for run in grafted):
        starts[arch], start = start_of(parent, arch, manifest, tokens, folder)
        errors = " ".join(f"{layer['layer']}: {layer['after']:.3f}" for layer in start.layers)
        text = f"relative errors by layer {errors}; " if errors else ""
        err().print(f"{arch}: {text}loss {start.start_loss:.4f}, the parent's {parent.loss:.4f}", soft_wrap=True)
    return [dataclasses.replace(run, start=starts[run.model.layout]) for run in grafted]


def _prepared(parent: Any) -> Any:
    """The parent's tokens, and its model on the device that is here."""
    import torch

    from eutectic.sweeps import replan
    from eutectic.train.shards import default_cache, open_shards

    run = parent.run
    told_of_source(lambda: replan.prepare([run], default_cache()))
    if run.threads:
        torch.set_num_threads(run.threads)
    parent.model.to("cuda" if run.device == "cuda" and torch.cuda.is_available() else "cpu")
    return open_shards(run.data, default_cache())


def _show_plan(options: Options, recipe: Any, rows: list[tuple[RunConfig, Any]], folder: Path) -> int:
    """What would be trained and what it costs; nothing is regressed, and nothing written."""
    from eutectic.display.sweep import Fleet, plan_table

    say_refusals(options, folder, recipe, rows)
    busy = at_once(options, recipe.device, min(options.workers or recipe.workers, len(rows)))
    fleet = Fleet(recipe.device, busy, devices_of(options), options.price)
    if options.json:
        runs = [dataclasses.asdict(load) | {"config": run.to_dict()} for run, load in rows]
        print_json({"runs": runs, **fleet.totals([load for _, load in rows])})
    else:
        out().print(plan_table(rows, fleet))
    return 0
