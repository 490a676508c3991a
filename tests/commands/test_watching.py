"""`eutectic status`, once and again, on a sweep that changes while nobody but a fake clock waits."""

import dataclasses
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rich.console

from eutectic import cli, files
from eutectic.commands import console, watching
from eutectic.config import RunConfig
from eutectic.sweeps import due, timesheet
from eutectic.sweeps.cost import Load
from eutectic.sweeps.due import Due
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.timesheet import Shift

HOUR = 3600.0
Steps = list[Callable[[], Any]]


@pytest.fixture
def ledger(tmp_path: Path, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """Three planned runs of half an hour each, in results/s, of a worker that has been at it for an hour and a half."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timesheet, "shifts", lambda sweep: [Shift(1.5 * HOUR, 1, True)])
    ledger = Ledger(Path("results/s"))
    runs = [dataclasses.replace(small_run, seed=seed) for seed in range(3)]
    ledger.add(runs, dict.fromkeys([run.run_id for run in runs], Load(seconds=HOUR / 2, busy=1.0, at_once=1)))
    yield ledger


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What happens whenever the watcher waits, and how often it may."""
    steps: Steps = []

    def sleep(seconds: float) -> None:
        assert seconds == watching.WATCH_SECONDS
        steps.pop(0)()

    monkeypatch.setattr(watching.time, "sleep", sleep)
    return steps


def end(ledger: Ledger, k: int, status: str = "done") -> None:
    run_id = sorted(ledger.run_ids())[k]
    (ledger.runs / run_id / "run.parquet").touch()
    ledger.finish(run_id, status)


def begin(ledger: Ledger, k: int, step: int) -> None:
    folder = ledger.runs / sorted(ledger.run_ids())[k]
    (folder / "claim-0.json").write_text('{"host": "elsewhere", "log": "7_0_log.err"}')
    files.write_json(folder / "progress.json", {"step": step, "steps": 10, "loss": 3.0})


def interrupt() -> None:
    raise KeyboardInterrupt


def tables(text: str) -> list[list[str]]:
    """Of each table that was printed, its one row; an empty cell is ''."""
    rows = [line for line in text.splitlines() if "hyena+attn " in line and "│" in line]
    return [[cell.strip() for cell in row.strip("│").split("│")][2:] for row in rows]


def test_hours_cost_time_left_and_reasons_in_a_line(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    end(ledger, 0)
    failed = ledger.run_ids()[1]
    begin(ledger, 1, 3)
    (files.make_folder(ledger.folder / "jobs") / "7_0_log.err").touch()
    ledger.fail(failed, "RuntimeError: no kernel\nimage" + " is here" * 60)
    assert cli.main(["status", "--price", "2.5"]) == 0
    out = capsys.readouterr().out
    assert tables(out) == [["1", "", "1", "1"]]
    # half an hour of the model took an hour and a half
    assert "2 of 3 runs ended, 1 worker is at it, ETA 1:30:00" in out.splitlines()
    assert "1.50 device hours so far (3.75 at 2.5 an hour)" in out.splitlines()
    (line,) = [line for line in out.splitlines() if line.startswith(failed)]
    assert line.startswith(f"{failed} hyena+attn at 1e08 failed: RuntimeError: no kernel image is here is")
    assert line.endswith(" ... (log: results/s/jobs/7_0_log.err)") and len(line) < 300


@pytest.mark.parametrize("watch", [[], ["--watch"]])
def test_it_fits_80_columns_and_cuts_no_name(
    watch: list[str],
    ledger: Ledger,
    small_run: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A long name at several budgets, with a run of every status, tens of thousands of hours and their cost."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(timesheet, "shifts", lambda sweep: [Shift(12345 * HOUR, 1, True)])
    monkeypatch.setattr(watching.time, "sleep", lambda seconds: interrupt())
    begin(ledger, 0, 3)
    ledger.fail(ledger.run_ids()[1], "ValueError: no")
    end(ledger, 2)
    arch = "gated_delta_net*3+attn@middle"
    for status, budget in (("diverged", 1.25e15), ("pruned", 1e18), ("planned", 1e20)):
        for name in ("hyena*3+attn", arch):
            model = dataclasses.replace(small_run.model, layout=name)
            run = dataclasses.replace(small_run, budget=budget, model=model)
            ledger.add([run], {run.run_id: Load(seconds=HOUR, busy=1.0, at_once=1)})
            if status != "planned":
                end(ledger, ledger.run_ids().index(run.run_id), status)
    cli.main(["status", "--price", "2.5", *watch])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert len(rows[0]) == 8
    assert "".join(row[1] for row in rows).count(arch) == 3


def test_json_has_the_same_figures(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    end(ledger, 0)
    ledger.fail(ledger.run_ids()[1], "ValueError: no")
    assert cli.main(["status", "--name", "s", "--json", "--price", "2"]) == 0
    found = json.loads(capsys.readouterr().out)["s"]
    done, failed, planned = (found["runs"][i] for i in ledger.run_ids())
    assert (done, planned) == ({"status": "done", "error": ""}, {"status": "planned", "error": ""})
    assert failed == {"status": "failed", "error": "ValueError: no", "log": None}
    totals = {key: value for key, value in found.items() if key not in ("runs", "jobs")}
    jobs = {"jobs_waiting": 0, "jobs_running": 0}
    hours = {"worker_hours": 1.5, "device_hours": 1.5, "cost": 3.0}
    assert totals == {"ended": 2, "due": 0, "workers": 1, **jobs, **hours, "eta_seconds": pytest.approx(1.5 * HOUR)}


def test_what_several_devices_cost_is_of_each(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timesheet, "shifts", lambda sweep: [Shift(1.5 * HOUR, 4, True)])
    assert cli.main(["status", "--price", "2"]) == 0
    assert "6.00 device hours so far (12.00 at 2 an hour)" in capsys.readouterr().out
    assert cli.main(["status", "--json", "--price", "2"]) == 0
    found = json.loads(capsys.readouterr().out)["s"]
    assert [found[key] for key in ("worker_hours", "device_hours", "cost")] == [1.5, 6.0, 12.0]


def test_a_sweep_of_unknown_workers_has_no_hours(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timesheet, "shifts", lambda sweep: [])
    assert cli.main(["status", "--price", "2"]) == 0
    assert "0 of 3 runs ended, no workers are at it" in capsys.readouterr().out
    assert cli.main(["status", "--json", "--price", "2"]) == 0
    found = json.loads(capsys.readouterr().out)["s"]
    assert [found[key] for key in ("worker_hours", "device_hours", "cost", "eta_seconds")] == [None] * 4


def test_watching_prints_what_changes_until_all_has_ended(
    ledger: Ledger, clock: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    clock += [
        lambda: begin(ledger, 0, 1),
        lambda: begin(ledger, 0, 5),  # a step is no change
        lambda: (end(ledger, 0), begin(ledger, 1, 1)),
        lambda: None,
        lambda: (end(ledger, 1, "diverged"), ledger.fail(ledger.run_ids()[2], "ValueError: no")),
    ]
    assert cli.main(["status", "--watch"]) == 0
    assert not clock
    assert tables(capsys.readouterr().out) == [
        ["3", "", ""],
        ["2", "1", ""],
        ["1", "1", "1"],
        ["", "", "1", "1", "1"],
    ]


def test_a_tuning_has_its_trials_to_come(
    ledger: Ledger, clock: Steps, small_run: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of the hour's half each, beside those three that were asked; watching waits for them."""
    files.make_folder(ledger.folder / "tune")

    def note(trials: int) -> None:
        load = Load(seconds=HOUR / 2, busy=1.0, at_once=1)
        due.note(ledger.folder, {"a": Due(small_run.budget, small_run.model.layout, trials, load)})

    note(2)
    for k in range(3):
        end(ledger, k)
    assert cli.main(["status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["s"]
    assert (found["ended"], found["due"], found["eta_seconds"]) == (3, 2, pytest.approx(HOUR))
    clock += [lambda: None, lambda: note(0)]
    assert cli.main(["status", "--watch"]) == 0
    assert not clock
    out = capsys.readouterr().out
    assert tables(out) == [["2", "", "3"], ["", "", "3"]]
    assert "3 of 5 runs ended, 1 worker is at it, ETA 1:00:00" in out.splitlines()


def test_an_interrupt_ends_watching_without_a_word(
    ledger: Ledger, clock: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    clock += [lambda: None, interrupt]
    assert cli.main(["status", "--watch", "--name", "s"]) == 130
    told = capsys.readouterr()
    assert (len(tables(told.out)), told.err) == (1, "")


def test_on_a_terminal_it_is_drawn_in_its_place(ledger: Ledger, clock: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()

    class Terminal(rich.console.Console):
        def __init__(self, **look: Any) -> None:
            super().__init__(file=screen, force_terminal=True, width=100, **look)

    monkeypatch.setattr(console, "Console", Terminal)
    clock += [lambda: begin(ledger, 0, 4), lambda: begin(ledger, 0, 5), lambda: [end(ledger, k) for k in range(3)]]
    assert cli.main(["status", "--watch"]) == 0
    drawn = screen.getvalue()
    assert tables(drawn)[:4] == [["3", "", ""], ["2", "1", ""], ["2", "1", ""], ["", "", "3"]]
    assert "step 4 of 10" in drawn and "step 5 of 10" in drawn
    assert "\x1b[1A\x1b[2K" in drawn, "what was there is wiped"
    assert "\x1b[?25h" in drawn, "the cursor is back"


def test_a_folder_that_one_may_not_read_is_told_and_the_others_are_shown(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files.make_folder(Path("results/closed"))
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and may(path, mode))

    def closed(folder: Path, name: str) -> Any:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied", str(folder / "plans"))
        return look(folder, name)

    look = watching.look
    monkeypatch.setattr(watching, "look", closed)
    assert cli.main(["status"]) == 0
    told = capsys.readouterr()
    assert tables(told.out) == [["3", "", ""]]
    assert told.err == "warning: results/closed cannot be read (Permission denied: results/closed/plans).\n"
    assert cli.main(["status", "--name", "closed"]) == 1
    assert "results/closed/plans: Permission denied" in capsys.readouterr().err


def test_watching_is_no_json(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--watch", "--json"]) == 1
    assert "leave out --json" in capsys.readouterr().err
