"""A run's curve mirrored in wandb, trackio or TensorBoard as it trains. The parquet logs stay the record.

A run is one run of the tracker's too, by its run_id, however often it is interrupted. A tracker is never in the way: a
thread gives it what it is handed, and where it fails, that is said once and training goes on.
"""

import functools
import json
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from eutectic.config import RunConfig
from eutectic.train.log import Row, flat

START_SECONDS, LEAVE_SECONDS = 30.0, 10.0  # that wandb may take to begin, and that a process which is done waits

Numbers = dict[str, float]


class Sink(Protocol):
    """A tracker's run, made or gone on with by its class's call. folder: of the sweep, whose name is the project. step:
    what the run goes on from; the steps after it may come again, and are to be there once."""

    def __init__(self, config: RunConfig, folder: Path, step: int): ...

    def log(self, step: int, numbers: Numbers) -> None: ...

    def close(self, row: Row | None) -> None:
        """row: of `runs`, or None where the run has not ended."""


def _shown(config: RunConfig) -> dict[str, Any]:
    """Arguments that wandb's and trackio's init have in common."""
    return {"name": config.run_id, "group": config.model.layout, "config": config.to_dict(), "resume": "allow"}


class Wandb:
    """Into the account that wandb is logged in to, or offline (WANDB_MODE), into NAME/wandb/."""

    def __init__(self, config: RunConfig, folder: Path, step: int):
        import wandb

        # silent: else one who is not logged in would be asked for a key while the run trains
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        settings.init_timeout, settings.finish_timeout = START_SECONDS, LEAVE_SECONDS
        wandb.setup(settings)
        self.run = wandb.init(
            project=folder.name, dir=folder, id=config.run_id, reinit="finish_previous", **_shown(config)
        )
        # offline it does not know what it had before
        self.last = folder / "wandb" / f"{config.run_id}.last"
        self.next = self.run.step or (int(self.last.read_text()) + 1 if self.last.exists() else 0)

    def log(self, step: int, numbers: Numbers) -> None:
        if step >= self.next:
            self.run.log(numbers, step=step, commit=True)  # else the last would come after the summary
            self.last.write_text(str(step))

    def close(self, row: Row | None) -> None:
        self.run.summary.update(_numbers(row) if row else {})
        self.run.finish(exit_code=0 if row else 1)


class Trackio:
    """Into this user's own folder, or where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say."""

    def __init__(self, config: RunConfig, folder: Path, step: int):
        import trackio
        import trackio.run
        import trackio.utils

        for module in (trackio, trackio.run, trackio.utils):  # they talk on stdout, which is for results
            vars(module)["print"] = functools.partial(print, file=sys.stderr)
        self.config = config
        self.run = trackio.init(project=folder.name, embed=False, **_shown(config))
        self.next = self.run._next_step

    def log(self, step: int, numbers: Numbers) -> None:
        if step >= self.next:
            self.run.log(numbers, step=step)

    def close(self, row: Row | None) -> None:
        if row:
            self.run.log(_final(self.config, row), step=row["steps_done"])
        self.run.finish()


class TensorBoard:
    """Into NAME/tensorboard/RUN_ID/."""

    def __init__(self, config: RunConfig, folder: Path, step: int):
        from torch.utils.tensorboard import SummaryWriter

        self.config = config
        self.writer = SummaryWriter(folder / "tensorboard" / config.run_id, purge_step=step + 1 if step else 0)
        if not step:
            self.writer.add_text("config", f"```\n{json.dumps(config.to_dict(), indent=1)}\n```")

    def log(self, step: int, numbers: Numbers) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self, row: Row | None) -> None:
        if row:
            settings = {name: v for name, v in flat(self.config).items() if isinstance(v, str | int | float)}
            self.writer.add_hparams(settings, _final(self.config, row), run_name=".", global_step=row["steps_done"])
        self.writer.close()


SINKS: dict[str, type[Sink]] = {"wandb": Wandb, "trackio": Trackio, "tensorboard": TensorBoard}


@dataclass
class Mirror:
    """What a run hands its curve to, in a `with` that ends with it. Nothing here waits or raises.

    tracker: of SINKS, or None for none. folder: of the sweep.
    """

    tracker: str | None
    config: RunConfig
    folder: Path
    _sink: Sink | None = field(default=None, init=False)
    _ended: Row | None = field(default=None, init=False)

    def begin(self, step: int) -> None:
        """step: of the checkpoint that the run goes on from, or 0."""

        def make() -> None:
            self._sink = SINKS[self.tracker or ""](self.config, self.folder, step)

        self._hand_over(make)

    def log(self, row: Row) -> None:
        """A row of `curves`."""
        self._give(lambda sink: sink.log(row["step"], _numbers(row)))

    def end(self, row: Row) -> None:
        """The run's row of `runs`."""
        self._ended = row

    def __enter__(self) -> "Mirror":
        return self

    def __exit__(self, *_: object) -> None:
        self._give(lambda sink: sink.close(self._ended))

    def _give(self, call: Callable[[Sink], None]) -> None:
        self._hand_over(lambda: call(self._sink) if self._sink else None)

    def _hand_over(self, call: Callable[[], None]) -> None:
        if self.tracker:
            _start()
            _calls.put(functools.partial(self._try, call))

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # whatever a tracker or its network may come up with
            self._sink = None
            _say(f"{self.tracker} fails", error)


_calls: "queue.SimpleQueue[Callable[[], None] | None]" = queue.SimpleQueue()


@functools.cache
def _start() -> None:
    """Begin the thread that trackers work in, and one that sees it off when this process is to end."""
    worker = threading.Thread(target=_serve, daemon=True)
    worker.start()
    threading.Thread(target=_see_off, args=(worker,)).start()


def _serve() -> None:
    while call := _calls.get():
        call()


def _see_off(worker: threading.Thread) -> None:
    threading.main_thread().join()
    _calls.put(None)
    worker.join(LEAVE_SECONDS)
    while not _calls.empty():  # what it has not come to by then
        _calls.get()


_said: set[str] = set()


def _say(what: str, error: Exception) -> None:
    if what not in _said:
        _said.add(what)
        why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
        print(f"{what} ({why}); runs go on without it, and the parquet logs have all.", file=sys.stderr, flush=True)


def _numbers(row: Row) -> Numbers:
    return {name: value for name, value in row.items() if name != "step" and isinstance(value, int | float)}


def _final(config: RunConfig, row: Row) -> Numbers:
    """What a row of `runs` has beside the config, apart from what a curve has by the same name."""
    return {f"final/{name}": value for name, value in _numbers(row).items() if name not in flat(config)}
