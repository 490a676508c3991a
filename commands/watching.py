"""status and collect."""

import contextlib
import time
from typing import Any

from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.console import err, one_sweep, out, page, sweep_folder, warn
from eutectic.errors import UserError
from eutectic.sweeps.ledger import FINISHED, Ledger, members, sweeps
from eutectic.sweeps.standing import Standing, look

WATCH_SECONDS = 5.0


def status(options: Options) -> int:
    if options.watch:
        return _watch(options)
    standings = _look(options)
    if options.json:
        print_json({one.name: _to_dict(one, options.price) for one in standings})
    else:
        _show(standings, options.price)
    _warn(standings)
    return 0


def _look(options: Options) -> list[Standing]:
    """At what is named, a campaign's sweeps, or at all that can be read. Raises UserError where there is none."""
    folders = members(sweep_folder(options)) if options.name else list(sweeps(options.results))
    if not folders:
        raise UserError(f"no sweep in {options.results}/; start one with `eutectic sweep`.")
    if options.name:
        return [look(folder, str(folder.relative_to(options.results))) for folder in folders]
    found = []
    for folder in folders:
        try:
            found.append(look(folder, str(folder.relative_to(options.results))))
        except OSError as error:
            err().print(f"warning: {folder} cannot be read ({error.strerror}: {error.filename}).", soft_wrap=True)
    return found


def _show(standings: list[Standing], price: float | None) -> None:
    from eutectic.display.status import show_status

    for one in standings:
        show_status(page(), one, price)


def _warn(standings: list[Standing]) -> None:
    for one in standings:
        warn(one.ledger)


def _watch(options: Options) -> int:
    """Look every few seconds until no run is planned or running, and draw what is seen: in its place on a terminal,
    elsewhere once more where a status has changed."""
    if options.json:
        raise UserError("--watch draws tables; leave out --json, or ask for it again and again.")
    from rich.live import Live

    from eutectic.display.status import status_group

    live = Live(console=page(), auto_refresh=False)
    shown: Any = None
    with contextlib.suppress(KeyboardInterrupt), live if live.console.is_terminal else contextlib.nullcontext():
        while True:
            standings = _look(options)
            seen = [(one.statuses, one.due, one.jobs, one.queue) for one in standings]
            if live.is_started:
                live.update(status_group(standings, options.price), refresh=True)
            elif seen != shown:
                _show(standings, options.price)
                shown = seen
            _warn(standings)
            if all(one.ended == one.total for one in standings):
                return 0
            time.sleep(WATCH_SECONDS)
    return 130


def _to_dict(standing: Standing, price: float | None) -> dict[str, Any]:
    """due: trials of a tuning that are yet to be asked. hours: of workers and of their devices, so far; cost of the
    latter."""
    ledger, pace = standing.ledger, standing.pace
    runs: dict[str, dict[str, Any]] = {}
    for run_id, status in standing.statuses.items():
        runs[run_id] = {"status": status, **({} if status in FINISHED else ledger.progress(run_id)), "error": ""}
        if status == "failed":
            log = ledger.log(run_id)
            runs[run_id] |= {"error": ledger.failure(run_id), "log": str(log) if log else None}
    hours = {
        "worker_hours": pace.worker_seconds and pace.worker_seconds / 3600,
        "device_hours": pace.device_seconds and pace.device_seconds / 3600,
    }
    cost = {} if price is None else {"cost": hours["device_hours"] and price * hours["device_hours"]}
    totals = {
        "ended": standing.ended,
        "due": standing.total - len(standing.statuses),
        "workers": pace.workers,
        "jobs_waiting": len(standing.queue.waiting),
        "jobs_running": len(standing.queue.running),
        **hours,
        **cost,
        "eta_seconds": pace.eta,
    }
    return {"runs": runs, **totals, "jobs": [job.to_dict() for job in standing.jobs]}


def collect(options: Options) -> int:
    ledger = Ledger(one_sweep(options))
    new = ledger.collect()
    warn(ledger)
    if options.json:
        print_json({"new": new})
    else:
        out().print(f"{new} new runs in {ledger.folder}/runs.parquet")
    return 0
