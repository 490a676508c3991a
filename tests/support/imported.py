"""Comparison of a public model with ours of its weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from public import assert_same
from zoo import tokens

from eutectic.arch.importers import checkpoint
from eutectic.arch.model import Model


def assert_logits(convert: Callable[..., Any], theirs: Any, length: int = 90) -> Model:
    """Ours of their config and weights gives their logits, without caches: some fit published sizes alone."""
    shape, weights = convert(theirs.config.to_dict(), theirs.state_dict())
    ours = Model(shape)
    ours.load_state_dict(weights)
    read = tokens(2, length)
    with torch.no_grad():
        assert_same(ours(read), theirs(read, use_cache=False).logits)
    return ours


def assert_saved_logits(theirs: Any, folder: Path, **how: Any) -> None:
    """Written to a folder and read from it, it gives the same logits."""
    theirs.save_pretrained(folder, **how)
    with torch.no_grad():
        assert_same(checkpoint.load(folder)(tokens(2, 30)), theirs(tokens(2, 30), use_cache=False).logits)
