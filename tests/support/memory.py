"""How much memory a computation holds at once."""

from itertools import accumulate

from torch.profiler import profile


def peak_bytes(seen: profile) -> int:
    """Of what was allocated on the CPU since the profile began, with profile_memory."""
    assert seen.profiler is not None and seen.profiler.kineto_results is not None
    changes = [(e.start_ns(), e.nbytes()) for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(n for _, n in sorted(changes)))
