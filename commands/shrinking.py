"""distill and prune: trained models that keep less of a sequence."""

from pathlib import Path
from typing import Any

from eutectic import files
from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.console import err, finite, named, out
from eutectic.commands.loading import told_of_source, trained
from eutectic.errors import UserError


def distill(options: Options) -> int:
    table = _checked(options, "distill")
    parent, run, text = _trained(options)
    from eutectic.display.shrink import distill_table
    from eutectic.inference.distill_model import distill_model, rows
    from eutectic.inference.score import token_losses

    made = distill_model(parent, run, options.order, options.tolerance)
    before, after = (token_losses(model, text) for model in (parent, made.model))
    found = rows(run, made, options.order, options.tolerance, before, after)
    _save(options.to, made)
    _show(options, table, found, distill_table)
    return 0


def prune(options: Options) -> int:
    """The budget is judged by the first half of the held-out windows, and perplexity reported of the second."""
    table = _checked(options, "prune")
    parent, run, text = _trained(options)
    from eutectic.display.shrink import prune_table
    from eutectic.inference.prune import row, search
    from eutectic.inference.score import token_losses

    judged, reported = text.chunk(2)
    unpruned = token_losses(parent, reported)
    rows, kept = [], None
    for found in search(parent, run, judged, options.budget):
        rows.append(row(run, found, reported, unpruned))
        if found.within:
            kept = found
    _save(options.to, kept)
    _show(options, table, rows, prune_table)
    return 0


def _checked(options: Options, table: str) -> Path | None:
    """The file of a table in the folder that --name names, if it does. Raises UserError where the rows or the model
    could not be written when all is done."""
    folder: Path = options.to
    if folder.exists():
        raise UserError(f"--to {folder} is there already; name a folder that is not.")
    if folder.resolve().parent.name == "runs":
        raise UserError(f"--to {folder} is where a sweep has its runs; name another, e.g. results/NAME/models/MODEL.")
    if not options.name:
        return None
    from eutectic.train.log import read_rows

    path: Path = named(options.results, options.name) / f"{table}.parquet"
    read_rows(path)
    return path


def _trained(options: Options) -> tuple[Any, Any, Any]:
    """A model in float32, its run, or what stands in for it, and held-out windows: of --source, or of the run's own."""
    from eutectic.inference.score import held_out
    from eutectic.sweeps import outside
    from eutectic.sweeps.recipe import find
    from eutectic.train.shards import default_cache, open_shards

    found = trained(options.checkpoint, options.device, exactly=True)
    if options.source:
        run, manifest = outside.run_of(found, options.source, find("quick"), default_cache())
    elif found.run is None:
        raise UserError(f"nothing tells what text {options.checkpoint} was trained on; give some by --source.")
    else:
        run = found.run
        manifest = told_of_source(lambda: open_shards(run.data, default_cache()))
    return found.model, run, held_out(run, manifest)


def _save(folder: Path, made: Any) -> None:
    from eutectic.config import canonical_json
    from eutectic.train.checkpoint import save_weights

    save_weights(files.make_folder(folder) / "weights.safetensors", canonical_json(made.run.to_dict()), made.model)


def _show(options: Options, table: Path | None, rows: list[dict[str, Any]], drawn: Any) -> None:
    """And add the rows to the table, where there is to be one."""
    if table:
        from eutectic.train.log import add_rows

        files.make_folder(table.parent)
        add_rows(table, table.stem, rows)
        err().print(f"rows added to {table}", soft_wrap=True)
    if options.json:
        print_json({"to": str(options.to), "rows": finite(rows)})
    else:
        out().print(drawn(rows))
