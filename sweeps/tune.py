"""Studies of learning rate and batch, one for each architecture, budget and size; their trials are runs like any other.

    NAME/tune/journal.log   every study of the folder, unless they are in a database
              ask.lock      held while a trial is asked, claimed or told
              due.json      how many are yet to be asked (sweeps/due.py)
              database.json what the studies of the folder are named by in a database, which others may share

A trial is running in its study until its run has ended in the ledger, whoever trained it. As trials are asked, claimed
and told under one lock, the ledger alone says who is at work: a trial whose worker died is a running trial whose run
nobody holds, and goes to the next worker that asks.
"""

import contextlib
import os
import secrets
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from eutectic import files
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.sweeps.cells import FURTHER, Cell
from eutectic.sweeps.claim import Claim
from eutectic.sweeps.cost import estimate
from eutectic.sweeps.due import Due, note
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.prune import hopeless
from eutectic.sweeps.worker import Place, fill_gpu, task, train_claimed

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, constant_liar=True),
    "gp": lambda seed: GPSampler(seed=seed),  # takes trials that run for what it expects of them
}
# what a told trial's run came to; a diverged run's loss is no loss of its setting, but the sampler is to shun it
STATES = {
    "done": TrialState.COMPLETE,
    "diverged": TrialState.PRUNED,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
RENEWS = "renews"  # of a trial's attributes the number of the failed one that it stands for

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Studies:
    """The studies of some cells, each to have `trials` trials, as this process sees them."""

    def __init__(self, folder: Path, cells: Sequence[Cell], trials: int, url: str | None = None, device: str = "cpu"):
        self.ledger, self.trials, self.device = Ledger(folder), trials, device
        self._loads = {cell: cell.load(device) for cell in cells}
        own = files.make_folder(folder / "tune")
        self._lock = JournalFileOpenLock(str(own / "ask"))
        storage = open_database(url) if url else _journal(own / "journal.log")
        with self._locked():
            prefix = f"{_name_in_database(folder)}: " if url else ""
            self.studies = {
                cell: optuna.create_study(storage=storage, study_name=prefix + cell.study, load_if_exists=True)
                for cell in cells
            }
            self._note_due(cells)

    def take(self) -> tuple[str, Claim] | None:
        """A run to train, which is ours, or None where all trials have been asked and none is abandoned."""
        with self._locked():
            self._settle()
            for asked, trial in self._running():
                self._plan(asked.trial(**trial.params))  # where its folder was deleted
                if claim := self.ledger.claim(trial.user_attrs["run_id"]):
                    return trial.user_attrs["run_id"], claim
            while (cell := self._next_cell()) is not None:
                run_id = self._ask(cell)
                if claim := self.ledger.claim(run_id):
                    return run_id, claim
                self._settle()  # this setting was asked before: its loss is known, or another worker's to find
            return None

    def settle(self) -> None:
        """Tell the studies of every run that has ended."""
        with self._locked():
            self._settle()

    def counts(self) -> dict[str, Counter[str]]:
        """By study, its trials: complete, diverged, pruned, fail or running."""

        def state(trial: FrozenTrial) -> str:
            ended = trial.state == TrialState.PRUNED
            return self.ledger.status(trial.user_attrs["run_id"]) if ended else trial.state.name.lower()

        return {cell.study: Counter(map(state, _asked(study))) for cell, study in self.studies.items()}

    def hopeless(self, run_id: str, losses: Sequence[float]) -> bool:
        """Whether a run with these validation losses is to be given up for what its study's finished runs came to."""
        for cell, study in self.studies.items():
            trials = _asked(study)
            if cell.prune and any(trial.user_attrs["run_id"] == run_id for trial in trials):
                done = [t.user_attrs["run_id"] for t in trials if t.state == TrialState.COMPLETE]
                return hopeless([finished for i in done if (finished := self.ledger.validations(i))], losses)
        return False

    def left(self) -> int:
        """Trials that are to be asked, or were and have not ended."""
        return sum(self.left_by_cell({}).values())

    def left_by_cell(self, covered: Mapping[str, int]) -> dict[Cell, int]:
        """Of the cells that have any, but for those of jobs that bring studies, by name, to so many trials."""
        counts, found = self.counts(), dict[Cell, int]()
        for cell in self.studies:
            count, theirs = counts[cell.study], covered.get(cell.study, 0)
            left = max(0, self.trials - max(count.total(), theirs)) + (0 if theirs else count["running"])
            if left:
                found[cell] = left
        return found

    def _settle(self) -> None:
        self._renew()
        for cell, trial in self._running():
            study, run_id = self.studies[cell], trial.user_attrs.get("run_id")
            if run_id is None:  # its worker died while it held the lock
                study.tell(trial.number, state=TrialState.FAIL)
            elif (status := self.ledger.status(run_id)) == "done":
                study.tell(trial.number, self.ledger.loss(run_id))
            elif status in STATES:
                study.tell(trial.number, state=STATES[status])

    def _renew(self) -> None:
        """Add a running trial for every failed one whose run is retried: what was told of a trial stays as it is."""
        for study in self.studies.values():
            for trial in _asked(study):
                if trial.state == TrialState.FAIL and self.ledger.status(trial.user_attrs["run_id"]) != "failed":
                    study.add_trial(
                        optuna.trial.create_trial(
                            state=TrialState.RUNNING,
                            params=trial.params,
                            distributions=trial.distributions,
                            user_attrs={"run_id": trial.user_attrs["run_id"], RENEWS: trial.number},
                        )
                    )

    def _running(self) -> list[tuple[Cell, FrozenTrial]]:
        states = (TrialState.RUNNING,)
        return [
            (cell, t) for cell, study in self.studies.items() for t in study.get_trials(deepcopy=False, states=states)
        ]

    def _next_cell(self) -> Cell | None:
        """The first of those with trials left that has the fewest in flight: samplers learn from what has ended."""
        counts = self.counts()
        due = [cell for cell in self.studies if counts[cell.study].total() < self.trials]
        return min(due, key=lambda cell: counts[cell.study]["running"], default=None)

    def _ask(self, cell: Cell) -> str:
        """The run of a new trial, which is in the ledger."""
        study = self.studies[cell]
        # seeded by what the study holds: workers with one seed would all begin with the same settings
        seed = zlib.crc32(f"{cell.study} {len(_asked(study))}".encode())
        study.sampler = SAMPLERS[cell.sampler](seed)
        if cell.sampler == "gp":
            study.enqueue_trial(_ask_shunning(study, cell))
        trial = study.ask()
        run = cell.trial(**_settings(trial, cell))
        self._plan(run)
        trial.set_user_attr("run_id", run.run_id)
        self._note_due([cell])
        return run.run_id

    def _plan(self, run: RunConfig) -> None:
        self.ledger.add([run], {run.run_id: estimate(run, self.device)})

    def _note_due(self, cells: Iterable[Cell]) -> None:
        dues = {}
        for cell in cells:
            trials = max(0, self.trials - len(_asked(self.studies[cell])))
            dues[cell.study] = Due(cell.base.budget, cell.base.model.layout, trials, self._loads[cell])
        note(self.ledger.folder, dues)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()


def _settings(trial: optuna.Trial, cell: Cell) -> dict[str, Any]:
    """Arguments of cell.trial."""
    return {
        "lr": trial.suggest_float("lr", *cell.lr, log=True),
        "doublings": trial.suggest_int("doublings", *cell.doublings),
        **{name: _within(trial, name, getattr(cell.base.optim, name)) for name in cell.further},
    }


def _within(trial: optuna.Trial, name: str, middle: float) -> float:
    return trial.suggest_float(name, middle / FURTHER[name], middle * FURTHER[name], log=True)


def _ask_shunning(study: optuna.Study, cell: Cell) -> dict[str, Any]:
    """What the study's sampler asks of a copy in which runs that diverged or were pruned are as bad as the worst done.

    A Gaussian process is fitted to complete trials alone: it would ask for what diverged again and again.
    """
    trials = _asked(study)
    worst = max((trial.value for trial in trials if trial.value is not None), default=0.0)
    copy = optuna.create_study(sampler=study.sampler)
    copy.add_trials(
        optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=worst)
        if trial.state == TrialState.PRUNED
        else trial
        for trial in trials
    )
    return _settings(copy.ask(), cell)


def _asked(study: optuna.Study) -> list[FrozenTrial]:
    """Its trials, but for those without a run and those that another stands for."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if "run_id" in trial.user_attrs]
    renewed = {trial.user_attrs.get(RENEWS) for trial in trials}
    return [trial for trial in trials if trial.number not in renewed]


def foresee(folder: Path, cells: Sequence[Cell], trials: int, url: str | None, scratch: Path) -> Studies:
    """The studies as a submission would find them, copied into an empty folder: where they are nothing is written.
    Arguments as of Studies."""
    copy, own = files.make_folder(scratch / "tune") / "journal.log", folder / "tune"
    if url and (own / "database.json").exists():
        database, prefix = open_database(url), f"{_name_in_database(folder)}: "
        for name in {prefix + cell.study for cell in cells} & set(optuna.get_all_study_names(database)):
            optuna.copy_study(
                from_study_name=name,
                from_storage=database,
                to_storage=_journal(copy),
                to_study_name=name.removeprefix(prefix),
            )
    elif not url and (own / "journal.log").exists():
        shutil.copy(own / "journal.log", copy)
    studies = Studies(scratch, cells, trials)
    studies.ledger = Ledger(folder)
    studies.settle()
    return studies


def _name_in_database(folder: Path) -> str:
    """The sweep's name and, as others may have one of that name, eight digits that stay in its folder."""
    path = folder / "tune" / "database.json"
    if not path.exists():
        files.write_json(path, {"name": f"{folder.name}-{secrets.token_hex(4)}"})
    return str(files.read_object(path)["name"])


def _journal(path: Path) -> BaseStorage:
    # a link by O_EXCL, as the ledger's claims: right on NFS 3 and later
    return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))


def open_database(url: str) -> BaseStorage:
    """Raises UserError where it cannot be opened, which names no part of the URL: that may hold a password."""
    try:
        return RDBStorage(url)
    except ImportError as error:
        raise UserError(
            f"the database of --storage or EUTECTIC_STORAGE needs a driver that cannot be loaded here "
            f"({error.__cause__ or error}); install the package that has it, or name another driver in the URL, e.g. "
            "postgresql+pg8000://."
        ) from None
    except Exception as error:  # each driver has its own
        raise UserError(
            f"the database of --storage or EUTECTIC_STORAGE cannot be opened ({type(error).__name__}); "
            "give an SQLAlchemy URL of a database, e.g. sqlite:///tune.db, or leave it out."
        ) from None


def work(folder: Path, cells: Sequence[Cell], trials: int, url: str | None, place: Place, number: int = 0) -> None:
    """Ask, train and tell until every study has its trials. Arguments as of worker.work and Studies."""
    ask = partial(_ask_and_train, folder, cells, trials, url, place)
    if place.device == "cpu":
        ask(alone=True)
        return
    widest = [cell.trial(cell.lr[0], cell.doublings[1]) for cell in cells]
    largest = max(widest, key=lambda run: estimate(run, place.device).memory)
    asker = task(largest, ask, lambda why: None)  # its trial goes to the next that asks
    fill_gpu([asker] * min(len(os.sched_getaffinity(0)), len(cells) * trials), place.cache, number)


def _ask_and_train(
    folder: Path, cells: Sequence[Cell], trials: int, url: str | None, place: Place, alone: bool
) -> None:
    studies = Studies(folder, cells, trials, url, place.device)
    while taken := studies.take():
        run_id, claim = taken
        train_claimed(studies.ledger, run_id, claim, place, alone, partial(studies.hopeless, run_id))
