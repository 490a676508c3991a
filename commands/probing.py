"""context and filters: what trained models do with what stands far back, and what their convolutions have learnt."""

import dataclasses
from typing import TYPE_CHECKING

from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.console import err, finite, named, out
from eutectic.commands.loading import told_of_source, trained
from eutectic.errors import UserError
from eutectic.values import numbers

if TYPE_CHECKING:
    from eutectic.inference.load import Trained
    from eutectic.probes.context import Document


def context(options: Options) -> int:
    """Measure models after contexts of growing length, and keep the rows under a name."""
    import pandas as pd

    from eutectic import files
    from eutectic.analysis.context import summary
    from eutectic.display.context import context_table
    from eutectic.probes.context import SHORTEST, doubled, longest, probe
    from eutectic.train import log

    asked = numbers(options.contexts, int, "--contexts")
    kept = files.make_folder(named(options.results, options.name)) / "context.parquet" if options.name else None
    if kept is not None:
        log.read_rows(kept)  # where it is damaged, nothing is measured in vain
    found = []
    for checkpoint in options.checkpoint:
        name = (checkpoint if checkpoint.is_dir() else checkpoint.parent).resolve().name
        model = trained(checkpoint, options.device)
        least = options.targets + (min(asked) if asked else SHORTEST)
        documents = longest(_documents(model, name, options.source), least, options.documents)
        contexts = asked or doubled(documents, options.targets)
        rows = probe(model.model, model.tokenizer, documents, options.targets, contexts)
        about = {
            "model": name,
            "arch": model.run and model.run.model.layout,
            "seq_len": model.run and model.run.data.seq_len,
            "source": options.source or "validation",
            "targets": options.targets,
            "device": options.device,
        }
        own = [about | dataclasses.asdict(row) for row in rows]
        found += own
        if kept is not None:
            log.add_rows(kept, "context", own)
    means = summary(pd.DataFrame(found))
    if options.json:
        print_json(finite(means.to_dict("records")))
    else:
        out().print(context_table(means))
    return 0


def filters(options: Options) -> int:
    """Read the filters of models, say how far back they remember, and keep them and their poles under a name."""
    from eutectic import files
    from eutectic.display.filters import show_filters
    from eutectic.inference.filters import filter_rows, filters_of, pole_rows, summary
    from eutectic.train import log

    kept = {}
    if options.name:
        folder = files.make_folder(named(options.results, options.name))
        kept = {folder / "filters.parquet": filter_rows, folder / "poles.parquet": pole_rows}
    for path in kept:
        log.read_rows(path)  # where it is damaged, nothing is added to the other either
    found = []
    for checkpoint in options.checkpoint:
        name = (checkpoint if checkpoint.is_dir() else checkpoint.parent).resolve().name
        model = trained(checkpoint, "cpu")
        run = model.run
        layers = filters_of(model.model, run) if run else []
        if not layers:
            err().print(f"{name} ({model.shape.layout}) has no layer with a convolution to look at.", soft_wrap=True)
            continue
        about = {"model": name, "arch": run.model.layout, "seq_len": run.data.seq_len}
        found += [about | summary(layer) for layer in layers]
        for path, rows_of in kept.items():
            if rows := [about | row for layer in layers for row in rows_of(layer)]:
                log.add_rows(path, path.stem, rows)
    if options.json:
        print_json(finite(found))
    elif found:
        show_filters(out(), found)
    return 0 if found else 1


def _documents(model: "Trained", name: str, source: str | None) -> "list[Document]":
    """Held out, as far as can be known here."""
    from eutectic.probes.context import learnt, of_source, of_validation
    from eutectic.train.shards import default_cache

    if source is None:
        if model.run is None:
            raise UserError(f"nothing tells what {name} was trained on; give texts that it was not, by --source.")
        run = model.run
        return told_of_source(lambda: of_validation(run, model.tokenizer, default_cache()))
    documents = of_source(source, model.tokenizer)
    known = learnt(model.run, model.tokenizer, default_cache()) if model.run else None
    if known is None:
        err().print(f"nothing here tells which texts {name} was trained on: all of {source} are taken.", soft_wrap=True)
    return [document for document in documents if document.name not in (known or ())]
