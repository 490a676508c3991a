"""fit, predict, figures and findings."""

import os
from pathlib import Path
from typing import Any

from eutectic import files
from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.console import finite, one_sweep, out, sweep_folder, tuning_folder
from eutectic.errors import UserError
from eutectic.values import numbers

TABLE_COLUMNS = ("params", "tokens", "flops", "loss", "group", "ratio")
TABLE_OPTIONS = (*TABLE_COLUMNS, "lr", "batch", "law", "loss_fn", "delta", "bootstrap", "resample", "profile", "seed")


def fit(options: Options) -> int:
    if options.file is not None:
        return _fit_table(options)
    for name in TABLE_OPTIONS:
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} goes with a table; write `eutectic fit FILE`.")
    folder = one_sweep(options)
    if options.json:
        print_json(sweep_json(folder))
    else:
        show_sweep(folder)
    return 0


def show_sweep(folder: Path) -> None:
    """What a sweep's runs come to: of grafts a table for each parent, of others the laws."""
    from eutectic.display.graft import show_grafts
    from eutectic.display.report import show_report

    found, fitted = _come_to(folder)
    if found:
        show_grafts(out(), found)
    else:
        show_report(out(), fitted)


def sweep_json(folder: Path) -> Any:
    found, fitted = _come_to(folder)
    return finite([grafts.to_dict() for grafts in found] if found else fitted.to_dict())


def _come_to(folder: Path) -> tuple[list[Any], Any]:
    """A sweep's grafts, or where it has none its report."""
    from eutectic.analysis.graft import grafts
    from eutectic.analysis.load import read, with_curves
    from eutectic.analysis.report import report

    frame = read(folder)
    found = grafts(frame)
    return found, None if found else report(with_curves(folder, frame))


def _fit_hyper_table(options: Options) -> int:
    from eutectic.analysis import hyper_table, table

    for name in ("ratio", "loss_fn", "delta", "bootstrap", "resample", "profile", "seed"):
        if getattr(options, name) is not None:
            raise UserError(
                f"--{name.replace('_', '-')} is of laws of the loss; one of {options.law} is fitted by least squares, "
                "with Student's intervals."
            )
    named = {name: getattr(options, name) for name in (*TABLE_COLUMNS, "lr", "batch") if name != "ratio"}
    fitted = hyper_table.fit_hyper_table(table.tuned_columns(table.read(options.file), options.law, **named))
    if options.json:
        print_json({"file": str(options.file), **finite(fitted.to_dict())})
    else:
        from eutectic.display.hyper_table import show_hyper_table

        show_hyper_table(out(), fitted)
    return 0


def _fit_table(options: Options) -> int:
    from eutectic.analysis import hyper, losses, table, tablefit

    if options.law in hyper.LAWFUL:
        return _fit_hyper_table(options)
    for name in ("lr", "batch"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} names a column for --law lr or batch; leave it out, or choose one of these.")

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
        print_json({"file": str(options.file), **finite(fitted.to_dict())})
    else:
        from eutectic.display.table import show_table_fit

        show_table_fit(out(), fitted)
    return 0


def findings(options: Options) -> int:
    """Write FINDINGS.md of a campaign, or of a sweep as its main part alone, and the figures that it shows."""
    from eutectic.analysis.campaign import parts
    from eutectic.analysis.evidence import Evidence
    from eutectic.analysis.figures.campaign import draw_campaign
    from eutectic.analysis.findings import findings as find
    from eutectic.analysis.load import read, with_curves
    from eutectic.analysis.unfinished import of_parts
    from eutectic.display.findings import markdown
    from eutectic.sweeps import left_out

    folder = sweep_folder(options)
    paths = parts(folder)
    frames = {name: read(path) for name, path in paths.items()}
    evidence = Evidence({name: with_curves(paths[name], frame) for name, frame in frames.items()})
    found = find(evidence, frames, of_parts(paths, frames), {name: left_out.read(path) for name, path in paths.items()})
    written = draw_campaign(evidence, folder)
    page = folder / "FINDINGS.md"
    with files.replacing(page) as scratch:
        scratch.write_text(markdown(str(folder.relative_to(options.results)), found, [path.stem for path in written]))
    if options.json:
        print_json(finite(found.to_dict()))
    else:
        for path in (page, *written):
            out().print(str(path), soft_wrap=True)
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
    runs = load(one_sweep(options))
    compute, source = (amount, "") if options.device is None else compute_of(amount, options.device, runs)
    tuning = load(tuning_folder(options)) if options.settings else None
    found = answer(runs, compute, (rivals[0], rivals[1]) if rivals else None, tuning=tuning)
    if options.json:
        print_json(finite({"source": source, **found.to_dict()}))
    else:
        from eutectic.display.answer import show_answer

        show_answer(out(), found, source)
    return 0


def figures(options: Options) -> int:
    if options.name:
        folders = [sweep_folder(options)]
    else:
        folders = sorted(options.results.iterdir()) if options.results.is_dir() else []
    written = [path for folder in folders for path in _draw(folder, bool(options.name))]
    if not written:
        raise UserError(f"no sweep with a runs.parquet in {options.results}/; run `eutectic sweep` first.")
    if options.json:
        print_json([str(path) for path in written])
    else:
        for path in written:
            out().print(str(path), soft_wrap=True)
    return 0


def _draw(folder: Path, named: bool) -> list[Path]:
    """The figures of a sweep, or of a campaign's parts and of it as a whole; of what is neither, where it was named,
    raise what there is not."""
    from eutectic.analysis.campaign import load_parts
    from eutectic.analysis.evidence import Evidence
    from eutectic.analysis.figures.campaign import draw_campaign
    from eutectic.analysis.figures.draw import TABLES, draw

    def bears(folder: Path) -> bool:
        return any(os.path.exists(folder / f"{name}.parquet") for name in ("runs", *TABLES))

    parts = [] if bears(folder) else [part for part in sorted(folder.glob("*/")) if bears(part)]
    if any((part / "runs.parquet").exists() for part in parts):
        evidence = Evidence(load_parts(folder))
        written = draw_campaign(evidence, folder)
        for part in parts:
            own = evidence.optima(part.name) if part.name in evidence.parts else None
            written += draw(part, own, evidence.optima_by)
        return written
    written = [path for part in parts for path in draw(part)]
    return draw(folder) if bears(folder) or (named and not parts) else written
