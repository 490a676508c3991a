"""Runs trained by several processes at once, as torchrun would start them."""

import os
import signal
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import CONTEXT

from eutectic.config import OptimConfig, RunConfig
from eutectic.train.shards import Manifest


def together(world: int, call: Callable[..., Any], *args: Any) -> list[Any]:
    """What call(*args) returned on each rank, in a process of its own, None where that was killed. Raises where one of
    them raised."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pipes = [CONTEXT.Pipe(duplex=False) for _ in range(world)]
    processes = [
        CONTEXT.Process(target=_rank, args=(rank, world, port, pipes[rank][1], call, args)) for rank in range(world)
    ]
    for process, (_, end) in zip(processes, pipes, strict=True):
        process.start()
        end.close()
    outcomes = [_outcome(pipe) for pipe, _ in pipes]
    for process in processes:
        process.join(10)
        process.kill()
    errors = [f"rank {rank}: {o}" for rank, o in enumerate(outcomes) if isinstance(o, str)]
    assert not errors, "\n".join(errors)
    return [outcome[0] for outcome in outcomes]


def _outcome(pipe: Any) -> Any:
    """A tuple of what was returned; else a string, an error."""
    try:
        return pipe.recv() if pipe.poll(60) else "said nothing for a minute"
    except EOFError:
        return (None,)


def _rank(rank: int, world: int, port: int, pipe: Any, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        pipe.send((call(*args),))
    except BaseException:
        pipe.send(traceback.format_exc())


def train(
    config: RunConfig,
    manifest: Manifest,
    folder: Path,
    sharded: bool = False,
    stop: int | None = None,
    lost: bool = False,
    device: str = "cpu",
    recompute: bool = False,
) -> Any:
    """The run's row as this rank has it, or the name of the exception that ended it. stop: the step in which the last
    rank, and no other, gets SIGUSR2. lost: whether the first rank, and no other, has lost its lease."""
    from eutectic.train import loop, parallel, preemption

    preemption.install()
    lr_at = loop.lr_at

    def signalled(optim: OptimConfig, step: int, steps: int) -> float:
        if step + 1 == stop and os.environ["RANK"] == str(int(os.environ["WORLD_SIZE"]) - 1):
            os.kill(os.getpid(), signal.SIGUSR2)
        return lr_at(optim, step, steps)

    loop.lr_at = signalled  # type: ignore[attr-defined]
    try:
        with parallel.joined(device, sharded=sharded) as ranks:
            hooks = loop.Hooks(held=lambda: not (lost and ranks.first))
            return loop.train(config, manifest, folder, device, hooks, ranks, recompute)
    except (preemption.Preempted, loop.LeaseLost) as ended:
        return type(ended).__name__


def fail(folder: Path, run_id: str, cache: Path, killed: bool) -> str:
    """What the worker raised on this rank of a run whose last rank raises in its third step, or is killed in it."""
    from eutectic.errors import UserError
    from eutectic.sweeps import worker
    from eutectic.train import loop, parallel

    lr_at = loop.lr_at

    def failing(optim: OptimConfig, step: int, steps: int) -> float:
        if step == 2 and int(os.environ["RANK"]) + 1 == int(os.environ["WORLD_SIZE"]):
            if killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise MemoryError("none is left")
        return lr_at(optim, step, steps)

    loop.lr_at = failing  # type: ignore[attr-defined]
    try:
        with parallel.joined("cpu") as ranks:
            worker.work(folder, [run_id], worker.Place("cpu", cache, ranks))
    except UserError as error:
        return str(error)
    return ""
