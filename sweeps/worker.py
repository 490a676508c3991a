"""What a job does: train the runs of a list that nobody else trains, until none is left."""

import sys
import traceback
from pathlib import Path

from eutectic.errors import UserError
from eutectic.sweeps.ledger import Claim, Ledger


def work(folder: Path, run_ids: list[str], device: str, cache: Path, number: int = 0) -> None:
    """Claim and train, in order, every run of the list that is still planned. A run that raises is marked failed.

    number: of this worker among those of the machine, which share its GPUs.
    """
    use(device, number)
    ledger = Ledger(folder)
    for run_id in run_ids:
        if claim := ledger.claim(run_id):
            train_claimed(ledger, run_id, claim, device, cache)


def use(device: str, number: int) -> None:
    """Make this process one of those that share the machine's GPUs."""
    import torch

    if device == "cuda":
        torch.cuda.set_device(number % torch.cuda.device_count())


def train_claimed(ledger: Ledger, run_id: str, claim: Claim, device: str, cache: Path) -> None:
    """Train a run that is claimed, mark it failed where it raises, and release the claim."""
    from eutectic.sweeps import foreign
    from eutectic.train.loop import LeaseLost, train
    from eutectic.train.shards import open_shards

    try:
        config = ledger.config(run_id)
        if config is None:
            raise UserError(f"the config of run {run_id} is gone or damaged; submit the sweep again.")
        foreign.load(config, ledger.folder)
        manifest = open_shards(cache, config.data.corpus_sha256, config.data.tokenizer_sha256)
        _say(f"{run_id} {config.model.layout} width {config.model.d_model} budget {config.budget:.3g}")
        train(config, manifest, ledger.runs / run_id, device, claim.held)
    except LeaseLost:
        _say(f"{run_id} was taken over by another worker")
    except Exception as error:
        traceback.print_exc()
        if claim.held():
            ledger.fail(run_id, f"{type(error).__name__}: {error}")
    finally:
        claim.release()


def _say(text: str) -> None:
    """To the job's log; stdout is for results."""
    print(text, file=sys.stderr, flush=True)
