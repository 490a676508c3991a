"""How much memory a computation holds at once."""

from itertools import accumulate
from typing import Any

import torch
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(seen: profile) -> int:
    """Of what was allocated on the CPU since the profile began, with profile_memory."""
    assert seen.profiler is not None and seen.profiler.kineto_results is not None
    changes = [(e.start_ns(), e.nbytes()) for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(n for _, n in sorted(changes)))


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made while it is on: `floats` of it, a complex number being two."""

    def __init__(self) -> None:
        super().__init__()
        self.floats = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().nbytes() >= leaf.nbytes:  # not a view of less
                self.floats = max(self.floats, leaf.numel() * (1 + leaf.is_complex()))
        return out
