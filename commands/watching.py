"""status and collect."""

from typing import Any

from eutectic.cli import Options, print_json
from eutectic.commands.console import out, sweep_folder, warn
from eutectic.errors import UserError
from eutectic.sweeps.ledger import FINISHED, Ledger, sweeps
from eutectic.sweeps.slurm import ended


def status(options: Options) -> int:
    folders = [sweep_folder(options)] if options.name else list(sweeps(options.results))
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
            shown.show_status(out(), folder.name, ledger, statuses, jobs)
        warn(ledger)
    if options.json:
        print_json(found)
    return 0


def collect(options: Options) -> int:
    ledger = Ledger(sweep_folder(options))
    new = ledger.collect()
    warn(ledger)
    if options.json:
        print_json({"new": new})
    else:
        out().print(f"{new} new runs in {ledger.folder}/runs.parquet")
    return 0
