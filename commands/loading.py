"""Trained models, for the commands that use them."""

import dataclasses
from pathlib import Path
from typing import Any


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
    found = load(checkpoint, default_cache(), lambda run: foreign.load(run, folder.resolve().parents[1]))
    rounded = device == "cuda" and not exactly
    model = found.model.to(device, torch.bfloat16 if rounded else torch.float32)
    return dataclasses.replace(found, model=model.eval())
