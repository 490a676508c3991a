"""Trained models, for the commands that use them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from eutectic.errors import UserError

Text = TypeVar("Text")


def trained(checkpoint: Path, device: str, exactly: bool = False) -> Any:
    """On the device, in bfloat16 on a GPU unless exactly. A run's mixers from files are those of its sweep."""
    import torch

    from eutectic.inference.load import load
    from eutectic.sweeps import foreign
    from eutectic.train.shards import default_cache

    if device == "cuda":
        from eutectic.sweeps.cost import available_memory
        from eutectic.train.compiled import keep_compiled

        available_memory("cuda", 1)  # which refuses where there is no GPU
        keep_compiled(default_cache())
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    found = load(checkpoint, default_cache(), lambda run: foreign.load(run, folder.resolve().parent.parent))
    rounded = device == "cuda" and not exactly
    model = found.model.to(device, torch.bfloat16 if rounded else torch.float32)
    return dataclasses.replace(found, model=model.eval())


def told_of_source(text: Callable[[], Text]) -> Text:
    """The text of a model's run. Raises UserError where it is not here, with the option that gives another."""
    try:
        return text()
    except UserError as error:
        raise UserError(f"{str(error).removesuffix('.')}, or give texts by --source.") from None
